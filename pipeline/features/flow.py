"""The feature ``flow``: how the picture moves at the sample's time.

Dense optical flow of Farneback (2003), which HTF and FlowGrad compute with OpenCV. It compares the
frame shown at the sample's time with the one shown ``1 / fps`` later (FlowGrad: 8 fps). A longer
context combines several such pairs (FlowGrad's future work). Values are signed, x then y, in pixels
of the native frame per pair of frames, whatever the stored size.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from earshot.errors import MediaError
from pipeline.base.parameters import IS_NEW
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.float16 import to_float16
from pipeline.features.frames import count_gpu_frames, describe_decoder
from pipeline.features.resize import fit_short_side, resize_stored
from pipeline.kernels.farneback import compute_farneback, load_refine_level
from pipeline.media.pictures.frame import VideoFrame
from pipeline.media.pictures.gpu import Decoder
from pipeline.media.reader import MediaInfo

VERSION = 3  # 2, 3: damaged and odd files are read otherwise (docs/lab/media.md)
# A moment that is closer to the end of the clip may have no next frame. Then the pair before is
# used, so its first frame is decoded as well.
_END_SECONDS = 0.25
_PAIR_TOLERANCE = 1e-6  # times are multiples of 1 / fps; a rounding error must not cost a pair
_CONTEXT_TOLERANCE = 0.01  # 0.33 for a third of a second is meant as that
# OpenCV does not check Farneback's own numbers. Larger ones take hours and terabytes, and for a
# poly_sigma of nearly 0 it takes another one without a word.
_RANGES: dict[str, tuple[float, float]] = {
    **{"fps": (0.1, 240), "num_levels": (1, 100), "window_size": (1, 1000)},
    **{"num_iterations": (1, 1000), "poly_n": (1, 100), "poly_sigma": (0.001, 1000)},
}


@dataclass(frozen=True)
class Parameters:
    """Section ``flow`` of params.yaml. Farneback's own parameters are as published."""

    fps: float = 8.0  # the frames of a pair are 1 / fps seconds apart
    context_seconds: float = 0.125  # duration of all pairs together, around the sample
    # How several pairs are combined; max: the longest vector of each pixel; stack: all, in order.
    aggregation: Literal["mean", "max", "stack"] = "mean"
    components: Literal["xy", "magnitude"] = "xy"
    # jpeg8: what the published codes save, an 8-bit JPEG in which negative components become 0
    # (HTF with xy, FlowGrad with magnitude).
    encoding: Literal["float16", "float32", "jpeg8"] = "float16"
    short_side: int = 123  # of the stored array, which is never enlarged; 0 is the native size
    # Of the frames that are compared; 0 is the native size, as published.
    computed_short_side: int = 0
    pyramid_scale: float = 0.5
    num_levels: int = 3
    window_size: int = 15
    num_iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.2
    flags: int = 0  # or cv2.OPTFLOW_FARNEBACK_GAUSSIAN
    # What decodes the video; cuda: an NVIDIA GPU where it can. Its arrays have other keys.
    decoder: Decoder = field(default="cpu", metadata=IS_NEW)

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}, expected {least} to {most}")
        seconds = self.context_seconds
        if not 0 < seconds <= 60:
            raise ValueError(f"context_seconds is {seconds}, expected more than 0, at most 60")
        for name in ("short_side", "computed_short_side"):
            size = getattr(self, name)
            if size != 0 and not 16 <= size <= 4096:
                raise ValueError(f"{name} is {size}, expected 16 to 4096, or 0 for the native size")

        if not 0 < self.pyramid_scale < 1:
            raise ValueError(f"pyramid_scale is {self.pyramid_scale}, expected between 0 and 1")
        known = (0, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)
        if self.flags not in known:
            raise ValueError(f"flags is {self.flags}, expected 0, or {known[1]} for Gaussians")

    @property
    def num_pairs(self) -> int:
        """How many pairs of frames the context holds."""
        return max(1, round(self.context_seconds * self.fps))

    def find_idle(self) -> dict[str, str]:
        """Return the settings that change nothing beside the others -> why."""
        why = f"context_seconds ({self.context_seconds:g}) holds one pair at {self.fps:g} fps"
        return {"aggregation": why} if self.num_pairs == 1 else {}

    def list_notes(self) -> list[str]:
        """Return sentences about values that are not taken as they are written."""
        seconds, given = self.num_pairs / self.fps, self.context_seconds
        note = (
            f"context_seconds {given:g} is no whole number of pairs at {self.fps:g} fps, so "
            f"{self.num_pairs} of {seconds:.3g} seconds together are taken"
        )
        return [] if math.isclose(seconds, given, rel_tol=_CONTEXT_TOLERANCE) else [note]


class ComputePair(Protocol):
    """Compute the flow of two frames, uint8 ``(H, W, 3)``: float32 ``(H, W, 2)`` in pixels."""

    def __call__(self, previous: np.ndarray, following: np.ndarray, /) -> np.ndarray: ...


def compute_flow(
    previous: np.ndarray, following: np.ndarray, *, parameters: Parameters
) -> np.ndarray:
    """Compute the Farneback flow of two grey frames: bit for bit that of OpenCV.

    Args:
        previous: uint8 ``(H, W)``.
        following: uint8 ``(H, W)``.
        parameters: Only Farneback's own parameters matter here.

    Returns:
        float32 ``(H, W, 2)`` in pixels, x to the right and y downwards.
    """
    return compute_farneback(
        previous,
        following,
        pyramid_scale=parameters.pyramid_scale,
        num_levels=parameters.num_levels,
        window_size=parameters.window_size,
        num_iterations=parameters.num_iterations,
        poly_n=parameters.poly_n,
        poly_sigma=parameters.poly_sigma,
        flags=parameters.flags,
    )


def encode_jpeg8(plane: np.ndarray) -> np.ndarray:
    """Return what an 8-bit JPEG of OpenCV's default quality keeps of a float plane.

    HTF's and FlowGrad's preprocessing write float planes with ``cv2.imwrite("*.jpg")``. Values are
    rounded and clipped to 0..255, so negative ones are lost.

    Args:
        plane: float ``(H, W)``.

    Returns:
        uint8 ``(H, W)``.
    """
    rounded = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    decoded = cv2.imdecode(cv2.imencode(".jpg", rounded)[1], cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return decoded


def aggregate(flows: np.ndarray, *, aggregation: str) -> np.ndarray:
    """Combine the flows of several pairs.

    Args:
        flows: float32 ``(num_pairs, channels, h, w)``.
        aggregation: ``mean``, ``max`` or ``stack``.

    Returns:
        float32 ``(channels, h, w)``, for ``stack`` ``(num_pairs * channels, h, w)``.
    """
    if aggregation == "stack":
        return flows.reshape(-1, *flows.shape[2:])

    if aggregation == "mean":
        if len(flows) == 1:
            return flows[0] + np.float32(0)  # a mean has no negative zeros
        return flows.mean(axis=0, dtype=np.float32)

    # max: for each pixel, the pair with the longest vector.
    longest = np.argmax(np.square(flows, dtype=np.float32).sum(axis=1), axis=0)
    # The index (1, 1, h, w) takes x and y of a pixel from the same pair.
    return np.take_along_axis(flows, longest[None, None], axis=0)[0]


def find_pair_times(
    time_seconds: float, *, parameters: Parameters, duration_seconds: float
) -> tuple[float, ...]:
    """Find the times of the frames of all pairs around a sample.

    A single pair begins at the sample's time, in the last ``1 / fps`` of the clip it ends there. A
    longer context is moved inside the clip. A clip that is shorter than its context has fewer
    pairs.

    Args:
        time_seconds: The sample's time on the clip's timeline.
        parameters: ``fps`` and ``context_seconds`` matter.
        duration_seconds: Of the clip.

    Returns:
        ``num_pairs + 1`` ascending times in seconds, ``1 / fps`` apart.
    """
    step = 1 / parameters.fps
    num_pairs = parameters.num_pairs
    if num_pairs == 1:
        # Behind the end the last frame is shown, which follows sooner than 1 / fps.
        is_beyond = time_seconds + step > duration_seconds + _PAIR_TOLERANCE
        first = time_seconds - step if is_beyond and time_seconds >= step else time_seconds
        return (first, first + step)

    num_pairs = max(1, min(num_pairs, int(duration_seconds / step + _PAIR_TOLERANCE)))
    # How many whole pairs fit before the sample, and after it.
    num_room = int(max(time_seconds, 0) / step + _PAIR_TOLERANCE)
    num_room_after = int(max(duration_seconds - time_seconds, 0) / step + _PAIR_TOLERANCE)

    # Half of the pairs lie before the sample, unless the clip has no room for them there or behind.
    num_before = (num_pairs - 1) // 2
    num_before = max(min(num_before, num_room), min(num_pairs - num_room_after, num_room), 0)
    return tuple(time_seconds + (index - num_before) * step for index in range(num_pairs + 1))


def make_feature(parameters: Parameters, *, compute_pair: ComputePair | None = None) -> Feature:
    """Make the feature; arrays ``(channels, height, width)`` in the aspect of the frame.

    Args:
        parameters: Which pairs are compared, how, and how the result is stored.
        compute_pair: Computes the flow of two frames instead of Farneback. A feature with it needs
            parameters and a version of its own.

    Returns:
        The feature, which can compute.
    """
    channels = "x, y" if parameters.components == "xy" else "magnitude"
    if parameters.aggregation == "stack":
        channels += ", of each pair in turn"

    return Feature(
        name="flow",
        kind="motion",
        version=VERSION,
        parameters=parameters,
        attributes={
            "layout": f"channel ({channels}), height, width",
            "units": "pixels of the native frame per pair of frames",
            "seconds_per_pair": 1 / parameters.fps,
            "attribute_native_height": "pixels of the upright video frame",
            "attribute_native_width": "pixels of the upright video frame",
            "attribute_start_seconds": "time of the first frame used, on the clip's timeline",
            "attribute_num_pairs": "pairs of frames aggregated",
            **describe_decoder(parameters.decoder),
        },
        needs=functools.partial(_find_needs, parameters),
        compute=functools.partial(_compute, parameters, compute_pair),
        prepare=load_refine_level if compute_pair is None else None,
        fps=parameters.fps,
        decoder=parameters.decoder,
    )


def _find_needs(parameters: Parameters, moment: Moment, info: MediaInfo) -> Needs:
    # Sound can begin before the picture, and end after it. All pairs must lie where pictures
    # follow each other.
    end_seconds = info.moving_seconds
    time_seconds = info.move_into_picture(moment.time_in(info.duration_seconds))
    times = find_pair_times(time_seconds, parameters=parameters, duration_seconds=end_seconds)
    # After the last frame of a clip there is none. The pair before is then used.
    if times[-1] > end_seconds - _END_SECONDS:
        # The spare frame comes last although it is the earliest: _choose_frames finds it by that.
        times = (*times, times[0] - 1 / parameters.fps)
    return Needs(frame_times=times)


def _compute(
    parameters: Parameters, compute_pair: ComputePair | None, moment: Moment, decoded: Decoded
) -> Extracted:
    frames = _choose_frames(parameters, decoded)
    pairs = [
        _compute_stored(parameters, compute_pair, previous, following, decoded.memo)
        for previous, following in itertools.pairwise(frames)
    ]
    # Most contexts are one pair, which needs no copy.
    flows = np.stack(pairs) if len(pairs) > 1 else pairs[0][None]

    # All stacks have one shape: in a clip that is too short the last pair is repeated.
    if parameters.aggregation == "stack" and len(flows) < parameters.num_pairs:
        num_missing = parameters.num_pairs - len(flows)
        flows = np.concatenate([flows, np.repeat(flows[-1:], num_missing, axis=0)])

    array = _encode(aggregate(flows, aggregation=parameters.aggregation), parameters.encoding)

    # `start_seconds` tells readers where the pair before was used at the end of a clip.
    attributes = {
        "native_height": frames[0].height,
        "native_width": frames[0].width,
        "start_seconds": float(frames[0].time_seconds),
        "num_pairs": len(frames) - 1,
        **count_gpu_frames(parameters.decoder, frames),
    }
    return Extracted(np.ascontiguousarray(array), attributes)


def _encode(flow: np.ndarray, encoding: str) -> np.ndarray:
    if encoding == "jpeg8":
        return np.clip(np.rint(flow), 0, 255).astype(np.uint8)
    return to_float16(flow) if encoding == "float16" else flow.astype(np.float32)


def _choose_frames(parameters: Parameters, decoded: Decoded) -> list[VideoFrame]:
    """Return the frames of the pairs, or of the pair before where no next frame is."""
    frames, times = list(decoded.frames), decoded.times
    # Times ascend unless `_find_needs` has put a spare frame at the end.
    if times[-1] > times[0]:
        return frames

    *frames, spare = frames
    # All wanted times show one picture: the clip has no frame after it.
    if len({frame.time_seconds for frame in frames}) == 1:
        frames = [spare, frames[0]]
        # Near the beginning this is a clip of one frame. Later, a picture that stands still longer
        # than a pair has zero flow.
        if spare.time_seconds == frames[1].time_seconds < 1 / parameters.fps:
            raise MediaError("too_short", f"no two frames to compare at {times[0]:.3f} s")
    return frames


def _compute_stored(
    parameters: Parameters,
    compute_pair: ComputePair | None,
    previous: VideoFrame,
    following: VideoFrame,
    memo: dict[Any, np.ndarray],
) -> np.ndarray:
    """Compute the flow of one pair in the stored size: float32 ``(channels, h, w)``.

    Overlapping contexts of a clip find a shared pair in ``memo``.
    """
    key = (previous.time_seconds, following.time_seconds)
    if key in memo:
        return memo[key]

    flow = _compute_native(parameters, compute_pair, previous, following)
    if parameters.components == "magnitude":
        flow = cv2.magnitude(flow[..., 0], flow[..., 1])[..., None]
    # The published codes save their JPEG at native size, so encode before resizing.
    if parameters.encoding == "jpeg8":
        planes = [encode_jpeg8(flow[..., index]) for index in range(flow.shape[2])]
        flow = np.stack(planes, axis=2).astype(np.float32)

    height, width = _find_stored_size(parameters, previous)
    stored = resize_stored(flow, height=height, width=width)
    # OpenCV drops an axis of one channel when it resizes. Restore it, then put channels first.
    stored = np.ascontiguousarray(stored.reshape(height, width, -1).transpose(2, 0, 1))

    # Moments come in order of time, so only the pairs of one context can be wanted again.
    while len(memo) > parameters.num_pairs:
        memo.pop(next(iter(memo)))
    memo[key] = stored
    return stored


def _find_stored_size(parameters: Parameters, frame: VideoFrame) -> tuple[int, int]:
    native_short_side = min(frame.height, frame.width)
    # Flow is never enlarged: a small video keeps its native size.
    return fit_short_side(
        frame.height,
        frame.width,
        short_side=min(parameters.short_side or native_short_side, native_short_side),
        pixel_aspect=frame.pixel_aspect,
    )


def _compute_native(
    parameters: Parameters,
    compute_pair: ComputePair | None,
    previous: VideoFrame,
    following: VideoFrame,
) -> np.ndarray:
    """Compute the flow of one pair in pixels of the native frame: float32 ``(h, w, 2)``."""
    sizes: Sequence[tuple[int, int]] = [(f.height, f.width) for f in (previous, following)]
    if sizes[0] != sizes[1]:
        raise MediaError("corrupt", f"the picture's size changes at {following.time_seconds:.3f} s")

    # The same picture twice. Farneback would give rounding errors instead of zeros.
    if previous.time_seconds == following.time_seconds:
        return np.zeros((*sizes[0], 2), np.float32)

    # A network reads colours, Farneback grey levels.
    if compute_pair is not None:
        return compute_pair(previous.rgb, following.rgb)
    if not parameters.computed_short_side:
        return compute_flow(previous.gray, following.gray, parameters=parameters)

    # Flow of smaller frames is scaled back, so that its unit stays the pixel of the native frame.
    height, width = fit_short_side(*sizes[0], short_side=parameters.computed_short_side)
    flow = compute_flow(
        resize_stored(previous.gray, height=height, width=width),
        resize_stored(following.gray, height=height, width=width),
        parameters=parameters,
    )
    scale = np.array([previous.width / width, previous.height / height], np.float32)
    return flow * scale
