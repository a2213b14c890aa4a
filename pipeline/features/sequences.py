"""The feature ``sequences``: consecutive frames around the sample's time, for networks of motion.

AVObject reads them. All have one size, so that frames lie in one array.
"""

import functools
from dataclasses import dataclass

import numpy as np

from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.resize import resize_stored
from pipeline.media.reader import MediaInfo

VERSION = 2  # 2: as of waveforms


@dataclass(frozen=True)
class Parameters:
    """Section ``sequence`` of params.yaml."""

    num_frames: int = 9  # odd: the frame at the sample's time is the middle one
    fps: float = 25.0  # of the cached frames, whatever the clip has
    size: int = 224  # of the square to which frames are squashed, in pixels

    def __post_init__(self) -> None:
        # An odd number has a middle frame: the one at the sample's time.
        if not (1 <= self.num_frames <= 1000 and self.num_frames % 2):
            raise ValueError(f"num_frames is {self.num_frames}, expected an odd number 1 to 999")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps}, expected above 0 to 1000")
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size is {self.size}, expected 1 to 4096")


def make_feature(parameters: Parameters) -> Feature:
    """Make the feature; arrays uint8 RGB ``(num_frames, size, size, 3)``.

    Args:
        parameters: Number, rate and size of the frames.

    Returns:
        The feature, which can compute.
    """
    return Feature(
        name="sequences",
        kind="sequence",
        version=VERSION,
        parameters=parameters,
        attributes={
            "layout": "time, height, width, channel (red, green, blue)",
            "units": "8-bit sRGB as encoded",
            "fps": parameters.fps,
            "attribute_native_height": "pixels of the upright video frame",
            "attribute_native_width": "pixels of the upright video frame",
            "attribute_num_different": "frames that the clip shows; the others repeat them",
        },
        needs=functools.partial(_find_needs, parameters),
        compute=functools.partial(_compute, parameters),
        fps=parameters.fps,
    )


def _find_needs(parameters: Parameters, moment: Moment, info: MediaInfo) -> Needs:
    """Return times around the moment. Beyond the clip's ends its first and last frames repeat."""
    middle = moment.time_in(info.duration_seconds)
    steps = np.arange(parameters.num_frames) - parameters.num_frames // 2
    times = np.clip(middle + steps / parameters.fps, 0, max(info.duration_seconds, 0))
    return Needs(frame_times=tuple(float(time) for time in times))


def _compute(parameters: Parameters, moment: Moment, decoded: Decoded) -> Extracted:
    size, frames = parameters.size, decoded.frames
    pictures: dict[float, np.ndarray] = {}
    # Frames that are shown several times, as at the clip's ends, are resized once.
    for frame in frames:
        if frame.time_seconds not in pictures:
            pictures[frame.time_seconds] = resize_stored(frame.rgb, height=size, width=size)

    array = np.stack([pictures[frame.time_seconds] for frame in frames])
    middle = frames[len(frames) // 2]
    attributes = {
        "native_height": middle.height,
        "native_width": middle.width,
        "num_different": len(pictures),
    }
    return Extracted(array, attributes)
