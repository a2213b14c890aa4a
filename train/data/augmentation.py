"""From arrays as they are cached to what a network reads: batched, on the device where the batch lies.

A batch holds ``frames`` (uint8) and ``flow`` (float16) as stored, in groups of equal shape (``ShapeGroup``); here they
are brought to the network's size (aspect kept for a random crop, squashed otherwise), cropped, flipped and normalized.
Frames and flow of a sample get the same crop and flip, and a flip negates the flow's x component.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from train.models.localizer import InputFormat

_INT16_FULL_SCALE = 32768


class ShapeGroup(NamedTuple):
    """Samples of a batch whose arrays have one shape: their places in the batch (k,) and the arrays (k, ...)."""

    places: torch.Tensor
    arrays: torch.Tensor


def prepare_inputs(
    batch: dict,
    input_format: InputFormat,
    *,
    is_channels_last: bool = False,
    dtype: torch.dtype | None = None,
) -> dict[str, torch.Tensor]:
    """A batch of ``train/data/batches.py`` to the tensors that a model reads.

    ``batch["crop"]`` (n, 3): where the crop lies, as fractions (y, x) of what is left over, and whether it is flipped
    (1). Without it the whole frame is squashed to the square (test and validation). ``dtype``: of the result; torch's
    default one, which is float64 while Lightning trains in double precision.
    """
    crop = batch.get("crop")
    dtype = dtype or torch.get_default_dtype()
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    inputs = {}
    if "frames" in batch:
        frames = _assemble(batch["frames"], crop, input_format, _shrink_frames)
        mean = _constant(input_format.image_mean, frames.device, dtype) * 255
        std = _constant(input_format.image_std, frames.device, dtype) * 255
        inputs["frames"] = ((frames.to(dtype) - mean) / std).contiguous(memory_format=layout)
    if "flow" in batch:
        flow = _assemble(batch["flow"], crop, input_format, _shrink_flow).to(dtype)
        if crop is not None and flow.shape[1] % 2 == 0:
            flow[:, 0::2] *= (1 - 2 * crop[:, 2]).to(dtype)[:, None, None, None]
        inputs["flow"] = encode_flow(flow, batch["native_height"], input_format).contiguous(
            memory_format=layout
        )
    if "spectrograms" in batch:
        spectrograms = batch["spectrograms"][:, None].to(dtype)
        if input_format.spectrogram_pooling > 1:
            spectrograms = F.avg_pool2d(spectrograms, input_format.spectrogram_pooling)
        inputs["spectrograms"] = (
            spectrograms - input_format.spectrogram_mean
        ) / input_format.spectrogram_std
    if "waveforms" in batch:
        waveforms = batch["waveforms"]
        scale = 1 / _INT16_FULL_SCALE if waveforms.dtype == torch.int16 else 1.0
        inputs["waveforms"] = waveforms.to(dtype) * scale
    return inputs


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """One value a channel (c, 1, 1); made once, since copying it to a GPU waits for all that the GPU has to do."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)[:, None, None]


def encode_flow(
    flow: torch.Tensor, native_height: torch.Tensor, input_format: InputFormat
) -> torch.Tensor:
    """Flow (n, 2, h, w) in native pixels as ``input_format`` wants it, float32 (n, 1 or 2, h, w)."""
    if input_format.flow_encoding == "jpeg":
        flow = flow.clamp(0, 255).round()
    elif input_format.flow_encoding == "magnitude":
        flow = flow.square().sum(1, keepdim=True).sqrt()
    if input_format.flow_unit == "frame":
        flow = flow / native_height.to(flow)[:, None, None, None]
    return (flow + input_format.flow_offset) * input_format.flow_scale


def shrink(
    arrays: torch.Tensor, *, feature: str, input_format: InputFormat, is_squashed: bool
) -> torch.Tensor:
    """Stored arrays of one shape (k, ...) to the working size, dtype kept: what is done once for data kept in memory.

    Squashed: a square of ``image_size``. Otherwise the aspect is kept and a random crop of ``image_size`` follows:
    the short side becomes ``short_side`` (flow that is stored smaller is enlarged by the crop itself).
    """
    function = _shrink_frames if feature == "frames" else _shrink_flow
    return function(arrays, input_format, is_squashed)


def _shrink_frames(
    frames: torch.Tensor, input_format: InputFormat, is_squashed: bool
) -> torch.Tensor:
    """uint8 (k, h, w, 3) -> uint8 (k, h', w', 3), bicubic, antialiased."""
    size = _target_size(frames.shape[1:3], input_format, is_squashed)
    if size == tuple(frames.shape[1:3]):
        return frames
    planes = frames.permute(0, 3, 1, 2).float()
    planes = F.interpolate(planes, size=size, mode="bicubic", antialias=True, align_corners=False)
    return planes.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _shrink_flow(flow: torch.Tensor, input_format: InputFormat, is_squashed: bool) -> torch.Tensor:
    """(k, c, h, w) -> (k, c, h', w'), same dtype, values kept (native pixels), bilinear, antialiased."""
    size = _target_size(flow.shape[2:], input_format, is_squashed)
    if size == tuple(flow.shape[2:]) or (not is_squashed and size[0] >= flow.shape[2]):
        return flow
    return F.interpolate(
        flow.float(), size=size, mode="bilinear", antialias=True, align_corners=False
    ).to(flow.dtype)


def _target_size(
    stored: Sequence[int], input_format: InputFormat, is_squashed: bool
) -> tuple[int, int]:
    if is_squashed:
        return (input_format.image_size, input_format.image_size)
    height, width = stored
    scale = input_format.short_side / min(height, width)
    return (
        max(input_format.short_side, round(height * scale)),
        max(input_format.short_side, round(width * scale)),
    )


def _assemble(
    groups: Sequence[ShapeGroup], crop, input_format: InputFormat, shrink_function
) -> torch.Tensor:
    """All samples of a batch as (n, c, s, s), in batch order."""
    parts = []
    for group in groups:
        arrays = shrink_function(group.arrays, input_format, crop is None)
        if arrays.dtype == torch.uint8 and arrays.shape[-1] == 3:
            arrays = arrays.permute(0, 3, 1, 2)
        if crop is not None:
            arrays = _crop(arrays, crop[group.places], input_format)
        parts.append(arrays)
    if len(parts) == 1:
        return parts[0]
    # flow that was stored smaller is sampled in float32, the rest taken as stored
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    result = parts[0].new_empty(
        (sum(len(part) for part in parts), *parts[0].shape[1:]), dtype=dtype
    )
    for group, part in zip(groups, parts, strict=True):
        result[group.places] = part.to(dtype)
    return result


def _crop(arrays: torch.Tensor, crop: torch.Tensor, input_format: InputFormat) -> torch.Tensor:
    """Crop (and flip) each of (k, c, h, w) at its own place: (k, c, s, s).

    Where the array has the working size, pixels are taken as they are; a smaller flow is sampled bilinearly at the
    same places of the frame.
    """
    size, height, width = input_format.image_size, arrays.shape[2], arrays.shape[3]
    if min(height, width) == input_format.short_side:
        steps = torch.arange(size, device=arrays.device)
        top, left = _corner(crop[:, 0], height - size), _corner(crop[:, 1], width - size)
        columns = torch.where(crop[:, 2:] > 0, size - 1 - steps, steps) + left[:, None]
        rows = steps + top[:, None]
        samples = torch.arange(len(arrays), device=arrays.device)[:, None, None]
        taken = arrays.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
        return taken.permute(0, 3, 1, 2)
    # The frame's working size is that of its crop; in its pixels, the window is [corner, corner + size).
    frame_height, frame_width = _target_size((height, width), input_format, False)
    centres = torch.arange(size, device=arrays.device, dtype=torch.float32) + 0.5
    top, left = _corner(crop[:, 0], frame_height - size), _corner(crop[:, 1], frame_width - size)
    across = torch.where(crop[:, 2:] > 0, size - centres, centres)
    y = (centres + top[:, None]) / frame_height * 2 - 1
    x = (across + left[:, None]) / frame_width * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(
        arrays.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _corner(fraction: torch.Tensor, left_over: int) -> torch.Tensor:
    """Whole-pixel corner in [0, left_over] at a fraction in [0, 1)."""
    return (fraction * (left_over + 1)).long().clamp_(0, left_over)
