"""One decoded frame of a video: upright, with the shape of its pixels, converted to RGB or grey when asked for."""

import dataclasses
import functools
from fractions import Fraction

import av
import cv2
import numpy as np

_SQUARE = Fraction(1)


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: first transpose, then mirror left-right, then mirror top-bottom."""

    is_transposed: bool = False
    is_mirrored: bool = False
    is_upside_down: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """From the display matrix that decoders attach to frames; angles between are rounded to quarter turns."""
        side_data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
        if side_data is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), dtype="<i4")[:5])
        if abs(b) + abs(c) > abs(a) + abs(d):  # x' = c y, y' = b x
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The upright image, contiguous."""
        if self.is_transposed:
            image = cv2.transpose(image)
        if self.is_mirrored or self.is_upside_down:
            image = cv2.flip(
                image,
                {(True, False): 1, (False, True): 0}.get(
                    (self.is_mirrored, self.is_upside_down), -1
                ),
            )
        return np.ascontiguousarray(image)


class VideoFrame:
    """One decoded frame, upright, converted when asked for.

    ``time_seconds``: when it begins to be shown, on the clip's timeline. ``pixel_aspect``: width over height of one of
    its pixels. ``height`` and ``width``: of the upright frame, in pixels.
    """

    def __init__(
        self, frame: av.VideoFrame, *, time_seconds: float, pixel_aspect: Fraction, reformatter
    ):
        self.time_seconds = time_seconds
        self._frame = frame
        self._stored_rgb: np.ndarray | None = None
        self._reformatter = reformatter
        self._orientation = Orientation.of(frame)
        size = (frame.height, frame.width)
        self.height, self.width = reversed(size) if self._orientation.is_transposed else size
        self.pixel_aspect = 1 / pixel_aspect if self._orientation.is_transposed else pixel_aspect

    @property
    def rgb(self) -> np.ndarray:
        """uint8 ``(height, width, 3)``; colours by the stream's own matrix and range, BT.601 when it names none."""
        if self._stored_rgb is None:
            self._stored_rgb = self._convert()
        return self._orientation.apply(self._stored_rgb)

    @functools.cached_property
    def gray(self) -> np.ndarray:
        """uint8 ``(height, width)``: OpenCV's grey of ``rgb``."""
        stored_rgb = self._convert() if self._stored_rgb is None else self._stored_rgb
        self._stored_rgb = (
            None  # kept for this: long contexts hold many frames, of which grey is all they need
        )
        return self._orientation.apply(cv2.cvtColor(stored_rgb, cv2.COLOR_RGB2GRAY))

    def _convert(self) -> np.ndarray:
        return self._reformatter.reformat(self._frame, format="rgb24", threads=1).to_ndarray()


def pixel_aspect_of(stream: av.VideoStream) -> Fraction:
    """Width over height of a stream's pixels; 1 where it says nothing or something implausible."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if aspect == 1:
        return _SQUARE
    return Fraction(aspect) if aspect and Fraction(1, 8) <= aspect <= 8 else _SQUARE
