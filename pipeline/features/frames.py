"""The feature ``frames``: the picture shown at the sample's time."""

import functools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.resize import fit_short_side, resize
from pipeline.media.reader import MediaInfo

VERSION = 1


@dataclass(frozen=True)
class FrameParameters:
    """``short_side``: of the cached picture, in pixels; 246 leaves room for random 224 crops (EZ-VSL, HTF)."""

    short_side: int = 246

    def __post_init__(self):
        if not 1 <= self.short_side <= 4096:
            raise ValueError(f"short_side is {self.short_side}, expected 1 to 4096")


def resize_frame(
    rgb: np.ndarray, *, short_side: int, pixel_aspect: Fraction = Fraction(1)
) -> np.ndarray:
    """uint8 ``(H, W, 3)`` to the cached geometry: square pixels, aspect as shown, short side ``short_side``."""
    height, width = fit_short_side(*rgb.shape[:2], short_side=short_side, pixel_aspect=pixel_aspect)
    return resize(rgb, height=height, width=width)


def make_feature(parameters: FrameParameters) -> Feature:
    """The feature for ``pipeline.features.extract``; arrays uint8 RGB ``(height, width, 3)``."""
    return Feature(
        name="frames",
        version=VERSION,
        parameters=parameters,
        attributes={
            "layout": "height, width, channel (red, green, blue)",
            "units": "8-bit sRGB as encoded",
            "attribute_native_height": "pixels of the upright video frame",
            "attribute_native_width": "pixels of the upright video frame",
            "attribute_frame_seconds": "when the frame begins to be shown, on the clip's timeline",
        },
        needs=_find_needs,
        compute=functools.partial(_compute, parameters),
    )


def _find_needs(moment: Moment, info: MediaInfo) -> Needs:
    return Needs(frame_times=(moment.time_in(info.duration_seconds),))


def _compute(parameters: FrameParameters, moment: Moment, decoded: Decoded) -> Extracted:
    frame = decoded.frames[0]
    array = resize_frame(
        frame.rgb, short_side=parameters.short_side, pixel_aspect=frame.pixel_aspect
    )
    return Extracted(
        array,
        {
            "native_height": frame.height,
            "native_width": frame.width,
            "frame_seconds": float(frame.time_seconds),
        },
    )
