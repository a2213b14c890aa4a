"""The feature ``flow``: how the picture moves at the sample's time.

Dense optical flow of Farneback (2003), as HTF and FlowGrad compute it with OpenCV, between the frame shown at the
sample's time and the one shown ``1 / fps`` later (FlowGrad: 8 fps); longer contexts aggregate several such pairs
(FlowGrad's future work). Values are signed, x then y, in pixels of the native frame per pair, whatever the stored
size.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np

from earshot.errors import MediaError
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.float16 import to_float16
from pipeline.features.resize import fit_short_side, resize
from pipeline.kernels.farneback import compute_farneback
from pipeline.media.reader import MediaInfo

VERSION = 1
_END_SECONDS = 0.25  # this near to the end of a clip the pair before is decoded too, in case there is no next frame


@dataclass(frozen=True)
class FlowParameters:
    """``fps``: pairs lie ``1 / fps`` seconds apart. ``context_seconds``: how long the pairs together last, around the
    sample.

    ``aggregation``: of several pairs: ``mean``, ``max`` (the longest vector) or ``stack`` (all, in order).
    ``components``: ``xy`` or ``magnitude``. ``encoding``: ``float16``, ``float32``, or ``jpeg8``, the published
    codes' detour through an 8-bit JPEG, in which negative components become 0 (HTF with ``xy``, FlowGrad with
    ``magnitude``). ``short_side``: of the stored array (never enlarged); 0 stores the native size.
    ``computed_short_side``: size at which flow is computed; 0 is native, as published. The rest are Farneback's own
    parameters, as published.
    """

    fps: float = 8.0
    context_seconds: float = 0.125
    aggregation: Literal["mean", "max", "stack"] = "mean"
    components: Literal["xy", "magnitude"] = "xy"
    encoding: Literal["float16", "float32", "jpeg8"] = "float16"
    short_side: int = 123
    computed_short_side: int = 0
    pyramid_scale: float = 0.5
    num_levels: int = 3
    window_size: int = 15
    num_iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.2
    flags: int = 0

    def __post_init__(self):
        if not 0.1 <= self.fps <= 240:
            raise ValueError(f"fps is {self.fps}, expected 0.1 to 240")
        if not 0 < self.context_seconds <= 60:
            raise ValueError(
                f"context_seconds is {self.context_seconds}, expected more than 0, at most 60"
            )
        for name in ("short_side", "computed_short_side"):
            value = getattr(self, name)
            if value != 0 and not 16 <= value <= 4096:
                raise ValueError(
                    f"{name} is {value}, expected 16 to 4096, or 0 for the native size"
                )
        if not 0 < self.pyramid_scale < 1:
            raise ValueError(f"pyramid_scale is {self.pyramid_scale}, expected between 0 and 1")
        for name in ("num_levels", "window_size", "num_iterations", "poly_n"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.poly_sigma < math.inf:
            raise ValueError(f"poly_sigma is {self.poly_sigma}, expected a positive number")
        if self.flags not in (0, cv2.OPTFLOW_FARNEBACK_GAUSSIAN):
            raise ValueError(
                f"flags is {self.flags}, expected 0, or {cv2.OPTFLOW_FARNEBACK_GAUSSIAN} for Gaussian windows"
            )

    @property
    def num_pairs(self) -> int:
        """How many pairs of frames the context holds."""
        return max(1, round(self.context_seconds * self.fps))


def compute_flow(
    previous: np.ndarray, following: np.ndarray, *, parameters: FlowParameters
) -> np.ndarray:
    """Farneback flow of two uint8 grey frames ``(H, W)``: float32 ``(H, W, 2)``, pixels, x right and y down.

    Bit for bit that of ``cv2.calcOpticalFlowFarneback``.
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
    """What an 8-bit JPEG at OpenCV's default quality makes of a float plane: uint8 ``(H, W)``, negative values gone.

    HTF's and FlowGrad's preprocessing write float planes with ``cv2.imwrite("*.jpg")``: rounded, clipped to 0..255.
    """
    rounded = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", rounded)[1], cv2.IMREAD_GRAYSCALE)


def aggregate(flows: np.ndarray, *, aggregation: str) -> np.ndarray:
    """``(num_pairs, channels, h, w)`` to ``(channels, h, w)``, or ``(num_pairs * channels, h, w)`` for ``stack``."""
    if aggregation == "stack":
        return flows.reshape(-1, *flows.shape[2:])
    if aggregation == "mean" and len(flows) == 1:
        return flows[0] + np.float32(0)  # no negative zeros, as of a mean
    if aggregation == "mean":
        return flows.mean(axis=0, dtype=np.float32)
    longest = np.argmax(np.square(flows, dtype=np.float32).sum(axis=1), axis=0)
    return np.take_along_axis(flows, longest[None, None], axis=0)[0]


def find_pair_times(
    time_seconds: float, *, parameters: FlowParameters, duration_seconds: float
) -> tuple[float, ...]:
    """Times of the frames of all pairs, ascending: ``num_pairs + 1`` of them, ``1 / fps`` apart, around the sample.

    A single pair begins at the sample's time. Longer contexts are shifted to lie inside the clip; a clip shorter than
    its context gives fewer pairs.
    """
    step = 1 / parameters.fps
    num_pairs = parameters.num_pairs
    if num_pairs == 1:
        return (time_seconds, time_seconds + step)
    num_pairs = max(1, min(num_pairs, int(duration_seconds / step + 1e-6)))
    num_before = (num_pairs - 1) // 2
    num_room = int(max(time_seconds, 0) / step + 1e-6)
    num_room_after = int(max(duration_seconds - time_seconds, 0) / step + 1e-6)
    num_before = max(min(num_before, num_room), min(num_pairs - num_room_after, num_room), 0)
    return tuple(time_seconds + (index - num_before) * step for index in range(num_pairs + 1))


def make_feature(parameters: FlowParameters) -> Feature:
    """The feature for ``pipeline.features.extract``; arrays ``(channels, height, width)`` in the aspect of the frame."""
    channels = "x, y" if parameters.components == "xy" else "magnitude"
    if parameters.aggregation == "stack":
        channels += ", of each pair in turn"
    return Feature(
        name="flow",
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
        },
        needs=functools.partial(_find_needs, parameters),
        compute=functools.partial(_compute, parameters),
    )


def _find_needs(parameters: FlowParameters, moment: Moment, info: MediaInfo) -> Needs:
    time_seconds = moment.time_in(info.duration_seconds)
    times = find_pair_times(
        time_seconds, parameters=parameters, duration_seconds=info.duration_seconds
    )
    if times[-1] > info.duration_seconds - _END_SECONDS:
        times = (*times, times[0] - 1 / parameters.fps)  # last, by which _choose_frames knows it
    return Needs(frame_times=times)


def _compute(parameters: FlowParameters, moment: Moment, decoded: Decoded) -> Extracted:
    frames, times = _choose_frames(parameters, decoded)
    pairs = [
        _compute_stored(parameters, previous, following, decoded.memo)
        for previous, following in itertools.pairwise(frames)
    ]
    flows = np.stack(pairs) if len(pairs) > 1 else pairs[0][None]
    if parameters.aggregation == "stack" and len(flows) < parameters.num_pairs:
        flows = np.concatenate(
            [flows, np.repeat(flows[-1:], parameters.num_pairs - len(flows), axis=0)]
        )
    array = aggregate(flows, aggregation=parameters.aggregation)
    if parameters.encoding == "jpeg8":
        array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    else:
        array = to_float16(array) if parameters.encoding == "float16" else array.astype(np.float32)
    attributes = {
        "native_height": frames[0].height,
        "native_width": frames[0].width,
        "start_seconds": float(times[0]),
        "num_pairs": len(frames) - 1,
    }
    return Extracted(np.ascontiguousarray(array), attributes)


def _choose_frames(parameters: FlowParameters, decoded: Decoded):
    """Frames and times of the pairs; where the clip has no next frame, the pair before stands in (``_find_needs``)."""
    frames, times = list(decoded.frames), list(decoded.times)
    if times[-1] > times[0]:
        return frames, times
    *frames, spare = frames
    *times, spare_time = times
    if len({frame.time_seconds for frame in frames}) == 1:
        frames, times = [spare, frames[0]], [spare_time, times[0]]
        if spare.time_seconds == frames[1].time_seconds < 1 / parameters.fps:
            raise MediaError("too_short", f"no two frames to compare at {times[1]:.3f} s")
    return frames, times


def _compute_stored(parameters: FlowParameters, previous, following, memo: dict) -> np.ndarray:
    """Flow of one pair in the stored geometry, float32 ``(channels, h, w)``; overlapping contexts share it by
    ``memo``.
    """
    key = (previous.time_seconds, following.time_seconds)
    if key in memo:
        return memo[key]
    flow = _compute_native(parameters, previous, following)
    if parameters.components == "magnitude":
        flow = cv2.magnitude(flow[..., 0], flow[..., 1])[..., None]
    if parameters.encoding == "jpeg8":
        flow = np.stack(
            [encode_jpeg8(flow[..., index]) for index in range(flow.shape[2])], axis=2
        ).astype(np.float32)
    height, width = previous.height, previous.width
    short_side = min(parameters.short_side or min(height, width), height, width)
    height, width = fit_short_side(
        height, width, short_side=short_side, pixel_aspect=previous.pixel_aspect
    )
    stored = resize(flow, height=height, width=width)
    stored = np.ascontiguousarray(stored.reshape(height, width, -1).transpose(2, 0, 1))
    while len(memo) > parameters.num_pairs:
        memo.pop(next(iter(memo)))
    memo[key] = stored
    return stored


def _compute_native(parameters: FlowParameters, previous, following) -> np.ndarray:
    if (previous.height, previous.width) != (following.height, following.width):
        raise MediaError("corrupt", f"the picture's size changes at {following.time_seconds:.3f} s")
    if previous.time_seconds == following.time_seconds:
        return np.zeros((previous.height, previous.width, 2), np.float32)
    if not parameters.computed_short_side:
        return compute_flow(previous.gray, following.gray, parameters=parameters)
    height, width = fit_short_side(
        previous.height,
        previous.width,
        short_side=parameters.computed_short_side,
        pixel_aspect=Fraction(1),
    )
    flow = compute_flow(
        resize(previous.gray, height=height, width=width),
        resize(following.gray, height=height, width=width),
        parameters=parameters,
    )
    return flow * np.float32([previous.width / width, previous.height / height])
