"""The feature ``frames``: the picture shown at the sample's time."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from pipeline.base.parameters import IS_NEW
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.resize import fit_short_side, resize_stored
from pipeline.media.pictures.frame import VideoFrame
from pipeline.media.pictures.gpu import Decoder
from pipeline.media.reader import MediaInfo

VERSION = 3  # 2, 3: damaged and odd files are read otherwise (docs/lab/media.md)


@dataclass(frozen=True)
class Parameters:
    """Section ``frames`` of params.yaml."""

    # Of the cached picture, in pixels. 246 leaves room for random crops of 224 (EZ-VSL, HTF).
    short_side: int = 246
    # What decodes the video; cuda: an NVIDIA GPU where it can. Its arrays have other keys.
    decoder: Decoder = field(default="cpu", metadata=IS_NEW)

    def __post_init__(self) -> None:
        if not 1 <= self.short_side <= 4096:
            raise ValueError(f"short_side is {self.short_side}, expected 1 to 4096")


def resize_frame(
    rgb: np.ndarray, *, short_side: int, pixel_aspect: Fraction = Fraction(1)
) -> np.ndarray:
    """Resize a frame to the cached size: square pixels, the shown aspect, this short side.

    Args:
        rgb: uint8 ``(H, W, 3)``.
        short_side: Of the result, in pixels.
        pixel_aspect: Width over height of a pixel of ``rgb``.

    Returns:
        uint8 ``(height, width, 3)``.
    """
    height, width = fit_short_side(*rgb.shape[:2], short_side=short_side, pixel_aspect=pixel_aspect)
    return resize_stored(rgb, height=height, width=width)


def describe_decoder(decoder: Decoder) -> dict[str, str]:
    """Describe the row attribute that ``count_gpu_frames`` makes, for the root of a shard."""
    if decoder == "cpu":
        return {}
    return {"attribute_num_gpu_frames": "how many of the frames used the GPU has decoded"}


def count_gpu_frames(decoder: Decoder, used: Sequence[VideoFrame]) -> dict[str, int]:
    """Return a row attribute: how many of the frames the GPU has decoded; none for the CPU."""
    return {} if decoder == "cpu" else {"num_gpu_frames": sum(frame.is_from_gpu for frame in used)}


def make_feature(parameters: Parameters) -> Feature:
    """Make the feature; arrays uint8 RGB ``(height, width, 3)``.

    Args:
        parameters: The size of the cached picture.

    Returns:
        The feature, which can compute.
    """
    return Feature(
        name="frames",
        kind="picture",
        version=VERSION,
        parameters=parameters,
        attributes={
            "layout": "height, width, channel (red, green, blue)",
            "units": "8-bit sRGB as encoded",
            "attribute_native_height": "pixels of the upright video frame",
            "attribute_native_width": "pixels of the upright video frame",
            "attribute_frame_seconds": "when the frame begins to be shown, on the clip's timeline",
            **describe_decoder(parameters.decoder),
        },
        needs=_find_needs,
        compute=functools.partial(_compute, parameters),
        decoder=parameters.decoder,
    )


def _find_needs(moment: Moment, info: MediaInfo) -> Needs:
    return Needs(frame_times=(moment.time_in(info.duration_seconds),))


def _compute(parameters: Parameters, moment: Moment, decoded: Decoded) -> Extracted:
    (frame,) = decoded.frames
    array = resize_frame(
        frame.rgb, short_side=parameters.short_side, pixel_aspect=frame.pixel_aspect
    )
    attributes = {
        "native_height": frame.height,
        "native_width": frame.width,
        "frame_seconds": float(frame.time_seconds),
        **count_gpu_frames(parameters.decoder, decoded.frames),
    }
    return Extracted(array, attributes)
