"""Turn a batch of arrays as they are cached into what a network reads, on the batch's device.

Frames (uint8) and flow (float16) come in their stored size. They are resized to the network's size
(with their aspect for a random crop, otherwise squashed), cropped, flipped and normalized. Frames
and flow of a sample get the same crop and flip; a flip also negates the x component of flow. Flow
that is stored as 8-bit pictures has no signs, and Hear The Flow mirrors its pictures as they are.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from earshot.torch import resize_flow, resize_frames
from train.data.collate import VALUES, Batch, ShapeGroup
from train.models.localizer import InputFormat

_INT16_FULL_SCALE = 32768
_MAX_LEVEL = 255  # of an 8-bit picture


def prepare_inputs(
    batch: Batch,
    input_format: InputFormat,
    *,
    is_channels_last: bool = False,
    dtype: torch.dtype | None = None,
) -> dict[str, torch.Tensor]:
    """Turn a batch into the tensors that a model reads.

    Args:
        batch: from ``train.data.collate``. ``batch["crop"]`` (n, 3) says where each sample is
            cropped: y and x as fractions of what the crop leaves over, and 1 for a flip. Without
            ``crop`` the whole frame is squashed to the network's square (validation and test).
        input_format: what the network reads.
        is_channels_last: memory layout of frames and flow.
        dtype: of the result. Default: torch's, which is float64 while Lightning trains in double
            precision.

    Returns:
        ``frames`` (n, 3, s, s), ``sequences`` (n, 3, times, s, s), ``flow`` (n, 1, 2 or 4, s, s),
        ``spectrograms`` (n, 1, bins, times), ``waveforms`` (n, samples) and the tensors of
        ``VALUES``, of these the ones that the batch has. With ``neighbours`` also their tensors,
        with ``neighbour_`` before the name; with ``second_crop`` also ``second_frames``.
    """
    crop = batch.get("crop")
    dtype = dtype or torch.get_default_dtype()
    layout = torch.channels_last if is_channels_last else torch.contiguous_format

    inputs: dict[str, torch.Tensor] = {}
    if "frames" in batch:
        frames = _assemble(batch["frames"], crop, input_format, "frames")
        frames = _normalize_frames(frames, input_format, dtype)
        inputs["frames"] = frames.contiguous(memory_format=layout)
        if "second_crop" in batch:
            frames = _assemble(batch["frames"], batch["second_crop"], input_format, "frames")
            frames = _normalize_frames(frames, input_format, dtype)
            inputs["second_frames"] = frames.contiguous(memory_format=layout)

    if "sequences" in batch:
        inputs["sequences"] = _prepare_sequences(batch["sequences"], crop, input_format, dtype)

    if "flow" in batch:
        flow = _assemble(batch["flow"], crop, input_format, "flow").to(dtype)
        # A mirrored motion goes the other way in x.
        if crop is not None and _has_signs(batch["flow"], input_format):
            flow[:, 0::2] *= (1 - 2 * crop[:, 2]).to(dtype)[:, None, None, None]
        flow = encode_flow(flow, batch["native_height"], input_format)
        inputs["flow"] = flow.contiguous(memory_format=layout)

    if "spectrograms" in batch:
        inputs["spectrograms"] = _normalize_spectrograms(
            batch["spectrograms"][:, None].to(dtype), input_format
        )

    if "waveforms" in batch:
        # Waveforms may be cached as int16; networks read -1 to 1.
        waveforms = batch["waveforms"]
        scale = 1 / _INT16_FULL_SCALE if waveforms.dtype == torch.int16 else 1.0
        inputs["waveforms"] = waveforms.to(dtype) * scale

    for name in VALUES:
        if name in batch:
            inputs[name] = batch[name].to(dtype)

    if "neighbours" in batch:
        others = prepare_inputs(
            batch["neighbours"], input_format, is_channels_last=is_channels_last, dtype=dtype
        )
        inputs |= {f"neighbour_{name}": values for name, values in others.items()}
    return inputs


def _prepare_sequences(
    sequences: torch.Tensor,
    crop: torch.Tensor | None,
    input_format: InputFormat,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Turn uint8 (n, t, h, w, 3) into (n, 3, t, s, s) of 0..255; flip them, but do not crop."""
    size = (input_format.image_size, input_format.image_size)
    # (n, t, 3, h, w). The frames of all samples are then resized as one batch.
    planes = sequences.permute(0, 1, 4, 2, 3)
    frames = resize_frames(planes.flatten(0, 1), size).unflatten(0, planes.shape[:2])
    if crop is not None:
        is_mirrored = crop[:, 2].bool()[:, None, None, None, None]
        frames = torch.where(is_mirrored, frames.flip(4), frames)
    return frames.transpose(1, 2).to(dtype)


def _has_signs(groups: Sequence[ShapeGroup], input_format: InputFormat) -> bool:
    """Return whether negative values of flow reach the network."""
    # A magnitude has one channel. What is stored as 8-bit pictures has lost its negative values.
    is_signed = all(
        group.arrays.shape[1] % 2 == 0 and group.arrays.dtype != torch.uint8 for group in groups
    )
    return is_signed and input_format.flow_encoding != "jpeg"


def encode_flow(
    flow: torch.Tensor, native_height: torch.Tensor, input_format: InputFormat
) -> torch.Tensor:
    """Encode flow as ``input_format`` says.

    Args:
        flow: (n, 2, h, w), x then y, in pixels of the native frame.
        native_height: (n,) height of the native frames in pixels.
        input_format: encoding, unit, offset and scale.

    Returns:
        (n, 2, h, w); (n, 1, h, w) for magnitudes; (n, 4, h, w) for signs.
    """
    if input_format.flow_encoding == "jpeg":
        # What 8-bit pictures keep: whole numbers, none negative.
        flow = flow.clamp(0, _MAX_LEVEL).round()
    elif input_format.flow_encoding == "magnitude":
        flow = flow.square().sum(1, keepdim=True).sqrt()

    if input_format.flow_unit == "frame":
        flow = flow / native_height.to(flow)[:, None, None, None]
    flow = (flow + input_format.flow_offset) * input_format.flow_scale
    if input_format.flow_encoding == "signs":
        flow = torch.cat([flow.clamp(min=0), flow.neg().clamp(min=0)], 1)
    return flow


def shrink(
    group: ShapeGroup, *, feature: str, input_format: InputFormat, is_squashed: bool
) -> torch.Tensor:
    """Shrink stored images of one shape to the working size; the dtype stays.

    Data that are kept in memory are shrunk once, when they are loaded.

    Args:
        group: (k, h, w, 3) frames or (k, c, h, w) flow.
        feature: ``frames``; anything else is treated as flow.
        input_format: the size of the network's input.
        is_squashed: True gives squares of ``image_size``. False keeps the aspect of the frame and
            makes its short side ``short_side``, from which ``image_size`` is cropped later. Flow
            that is stored smaller than that stays as it is: the crop enlarges it.
    """
    size = _find_target_size(group, input_format, is_squashed)
    if feature == "frames":
        return _resize_frames(group.arrays, size)

    stored = _find_size(group.arrays)
    is_small = stored[0] <= size[0] and stored[1] <= size[1]
    # Flow that is stored smaller stays small. `_crop_smaller` samples it when it is cropped.
    return group.arrays if is_small and not is_squashed else resize_flow(group.arrays, size)


def _resize_frames(arrays: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize uint8 (k, h, w, 3) to uint8 (k, h', w', 3)."""
    planes = resize_frames(arrays.permute(0, 3, 1, 2), size)
    return planes.permute(0, 2, 3, 1).contiguous()


def _find_size(arrays: torch.Tensor) -> tuple[int, int]:
    """Return height and width of frames (k, h, w, 3) or flow (k, c, h, w)."""
    height, width = arrays.shape[1:3] if arrays.shape[-1] == 3 else arrays.shape[2:]
    return height, width


def _find_target_size(
    group: ShapeGroup, input_format: InputFormat, is_squashed: bool
) -> tuple[int, int]:
    """Return the working size: of flow, that of the frames, so that both get the same crop."""
    if is_squashed:
        return (input_format.image_size, input_format.image_size)
    height, width = group.frame_size or _find_size(group.arrays)
    short_side = input_format.short_side
    scale = short_side / min(height, width)
    # Rounding must not make a side shorter than the crop.
    return (max(short_side, round(height * scale)), max(short_side, round(width * scale)))


def _normalize_frames(
    frames: torch.Tensor, input_format: InputFormat, dtype: torch.dtype
) -> torch.Tensor:
    mean = _make_constant(input_format.image_mean, frames.device, dtype) * _MAX_LEVEL
    std = _make_constant(input_format.image_std, frames.device, dtype) * _MAX_LEVEL
    return (frames.to(dtype) - mean) / std


@functools.cache
def _make_constant(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Make a tensor (c, 1, 1) of one value for each channel.

    It is made once: copying it to a GPU waits until the GPU has finished all its work.
    """
    # Training could not use a constant that was first made in inference mode.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)[:, None, None]


def _normalize_spectrograms(spectrograms: torch.Tensor, input_format: InputFormat) -> torch.Tensor:
    if input_format.spectrogram_pooling > 1:
        spectrograms = F.avg_pool2d(spectrograms, input_format.spectrogram_pooling)
    return (spectrograms - input_format.spectrogram_mean) / input_format.spectrogram_std


def _assemble(
    groups: Sequence[ShapeGroup],
    crop: torch.Tensor | None,
    input_format: InputFormat,
    feature: str,
) -> torch.Tensor:
    """Bring all samples to the network's square: (n, c, s, s), in batch order."""
    parts = []
    for group in groups:
        arrays = shrink(group, feature=feature, input_format=input_format, is_squashed=crop is None)
        # Frames are cached with their channels last, flow with its channels first.
        if feature == "frames":
            arrays = arrays.permute(0, 3, 1, 2)
        if crop is not None:
            size = _find_target_size(group, input_format, False)
            arrays = _crop(arrays, crop[group.places], input_format, size)
        parts.append(arrays)
    if len(parts) == 1:
        return parts[0]

    # Flow that was stored smaller is float32 after sampling; the rest has its stored dtype.
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    num_samples = sum(len(part) for part in parts)
    result = parts[0].new_empty((num_samples, *parts[0].shape[1:]), dtype=dtype)
    for group, part in zip(groups, parts, strict=True):
        result[group.places] = part.to(dtype)
    return result


def _crop(
    arrays: torch.Tensor, crop: torch.Tensor, input_format: InputFormat, size: tuple[int, int]
) -> torch.Tensor:
    """Crop (and flip) each of (k, c, h, w) at its own place of a frame of ``size``."""
    if tuple(arrays.shape[2:]) == size:
        return _crop_pixels(arrays, crop, input_format.image_size)
    return _crop_smaller(arrays, crop, input_format.image_size, size)


def _crop_pixels(arrays: torch.Tensor, crop: torch.Tensor, size: int) -> torch.Tensor:
    """Crop arrays of the working size: take the pixels as they are."""
    height, width = arrays.shape[2:]
    steps = torch.arange(size, device=arrays.device)
    top, left = _find_corner(crop[:, 0], height - size), _find_corner(crop[:, 1], width - size)
    # The columns of a flipped sample run from right to left.
    columns = torch.where(crop[:, 2:] > 0, size - 1 - steps, steps) + left[:, None]
    rows = steps + top[:, None]

    samples = torch.arange(len(arrays), device=arrays.device)[:, None, None]
    # The three indices are (k, 1, 1), (k, s, 1) and (k, 1, s), so this is (k, s, s, c).
    taken = arrays.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2)


def _crop_smaller(
    arrays: torch.Tensor, crop: torch.Tensor, size: int, frame_size: tuple[int, int]
) -> torch.Tensor:
    """Crop flow that is stored smaller: sample it bilinearly at the same places of the frame."""
    # The crop window in pixels of the resized frame is [corner, corner + size).
    frame_height, frame_width = frame_size
    top = _find_corner(crop[:, 0], frame_height - size)
    left = _find_corner(crop[:, 1], frame_width - size)

    # Centres of the window's pixels, then in grid_sample's coordinates: -1 to 1 over the frame.
    centres = torch.arange(size, device=arrays.device, dtype=torch.float32) + 0.5
    across = torch.where(crop[:, 2:] > 0, size - centres, centres)
    y = (centres + top[:, None]) / frame_height * 2 - 1
    x = (across + left[:, None]) / frame_width * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(
        arrays.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _find_corner(fraction: torch.Tensor, num_left_over: int) -> torch.Tensor:
    """Return the corner in whole pixels, 0 to num_left_over, for a fraction in [0, 1)."""
    return (fraction * (num_left_over + 1)).long().clamp_(0, num_left_over)
