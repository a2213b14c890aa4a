"""One decoded frame of a video: upright, with the shape of its pixels, as RGB or grey on demand."""

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from earshot.cached_property import cached_property
from earshot.errors import MediaError
from pipeline.media.files.container import has_index
from pipeline.media.files.cropping import Cropping, read_cropping
from pipeline.media.files.mp4_atoms import read_moov
from pipeline.media.files.timeline import StreamClock
from pipeline.media.pictures.gpu import make_planar

_SQUARE = Fraction(1)
# Width over height of a pixel outside of this range is a damaged header.
_MOST_EXTREME_ASPECT = 8
# In these formats only the pictures say which shape their pixels have.
_FORMATS_WITHOUT_ASPECT = ("mpegts", "mpeg", "flv", "h264", "hevc", "mpegvideo")


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: transpose, mirror left-right, then mirror top-bottom."""

    is_transposed: bool = False
    is_mirrored: bool = False
    is_upside_down: bool = False

    @classmethod
    def from_frame(cls, frame: av.VideoFrame) -> "Orientation":
        """Read the display matrix that decoders attach to frames.

        Other angles are rounded to a quarter turn.
        """
        side_data = frame.side_data.get("DISPLAYMATRIX")
        if side_data is None:
            return cls()

        # The matrix maps stored to shown pixels: x' = a x + c y, y' = b x + d y.
        matrix = np.frombuffer(side_data, dtype="<i4")  # type: ignore[call-overload]
        a, b, _, c, d = matrix[:5].tolist()
        # The larger of the two pairs says whether rows become columns.
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn an image, ``(height, width, ...)``, upright; contiguous."""
        if self.is_transposed:
            image = cv2.transpose(image)

        if self.is_mirrored and self.is_upside_down:
            image = cv2.flip(image, -1)
        elif self.is_mirrored:
            image = cv2.flip(image, 1)
        elif self.is_upside_down:
            image = cv2.flip(image, 0)
        return np.ascontiguousarray(image)


class VideoFrame:
    """What is shown of one decoded frame, upright. Its pixels are converted on demand.

    Attributes:
        time_seconds: When the frame appears, on the clip's timeline.
        height: Of the upright frame, in pixels.
        width: Of the upright frame, in pixels.
        pixel_aspect: Width over height of one pixel of the upright frame.
        is_from_gpu: Whether a GPU has decoded it.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        *,
        time_seconds: float,
        pixel_aspect: Fraction,
        cropping: Cropping,
        reformatter: VideoReformatter,
        is_from_gpu: bool = False,
    ):
        self.time_seconds = time_seconds
        self.is_from_gpu = is_from_gpu
        self._frame = frame
        self._stored_rgb: np.ndarray | None = None
        self._reformatter = reformatter
        self._cropping = cropping
        self._orientation = Orientation.from_frame(frame)

        self.height, self.width = cropping.find_size(frame.height, frame.width)
        self.pixel_aspect = pixel_aspect

        if self._orientation.is_transposed:
            self.height, self.width = self.width, self.height
            self.pixel_aspect = 1 / pixel_aspect

    @property
    def rgb(self) -> np.ndarray:
        """uint8 ``(height, width, 3)``.

        Colours follow the stream's own matrix and range, BT.601 where it names none.

        Raises:
            MediaError: ``corrupt`` when FFmpeg cannot convert the colours that the picture names.
        """
        if self._stored_rgb is None:
            self._stored_rgb = self._convert()
        return self._orientation.apply(self._stored_rgb)

    @cached_property
    def gray(self) -> np.ndarray:
        """uint8 ``(height, width)``: OpenCV's grey of ``rgb``."""
        stored_rgb = self._convert() if self._stored_rgb is None else self._stored_rgb
        # Long contexts of flow hold many frames and need only their grey, so drop the RGB.
        self._stored_rgb = None
        return self._orientation.apply(cv2.cvtColor(stored_rgb, cv2.COLOR_RGB2GRAY))

    def _convert(self) -> np.ndarray:
        try:
            frame = self._frame
            if self.is_from_gpu:
                frame = make_planar(frame, self._reformatter)
            converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        except av.FFmpegError as error:
            # Damaged headers name colours that do not exist.
            what = f"its picture at {self.time_seconds:.3f} s has no colours that can be converted"
            raise MediaError("corrupt", f"{what} ({error.strerror})") from error

        return self._cropping.apply(converted.to_ndarray())


class PixelAspects:
    """Width over height of the pixels of each picture of a stream.

    If the container gives an aspect, it counts for all pictures, as in FFmpeg. Otherwise the
    pictures themselves give it, and it can change within a broadcast.
    """

    def __init__(self, stream: av.VideoStream):
        self._of_container = _find_container_aspect(stream)
        # What the decoder says: the aspect of most pictures, and the others by timestamp.
        self._usual: Fraction | None = None
        self._others: dict[int, Fraction | None] = {}

    def note(self, packet: av.Packet | None, context: av.VideoCodecContext) -> None:
        """Keep what a decoder says once it has a packet (None: its end)."""
        if self._of_container is not None or packet is None or packet.pts is None:
            return

        aspect = context.sample_aspect_ratio
        if self._usual is None:
            self._usual = aspect
        # Few pictures differ from the usual aspect, so only these are kept.
        if aspect != self._usual:
            self._others[packet.pts] = aspect

    def find(self, pts: int) -> Fraction:
        """Return the aspect of the picture at a timestamp; 1 if unknown or implausible."""
        aspect = self._of_container or self._others.get(pts, self._usual)

        if not aspect:
            return _SQUARE

        is_plausible = Fraction(1, _MOST_EXTREME_ASPECT) <= aspect <= _MOST_EXTREME_ASPECT
        return Fraction(aspect) if is_plausible else _SQUARE


def _find_container_aspect(stream: av.VideoStream) -> Fraction | None:
    """Return the aspect that a container gives to all pictures of a stream, if it does."""
    # If the container says nothing, PyAV gives what the pictures say.
    aspect = stream.sample_aspect_ratio
    container = stream.container
    assert isinstance(container, InputContainer)

    if not aspect or container.format.name in _FORMATS_WITHOUT_ASPECT:
        return None
    # If it is not that of the pictures, only the container can have given it.
    if aspect != stream.codec_context.sample_aspect_ratio:
        return aspect

    # Both say the same: the container has its own, or PyAV repeats that of the pictures.
    if has_index(container):
        return aspect if b"pasp" in read_moov(container.name) else None
    return aspect if container.format.name.startswith("matroska") else None


class FrameWrapper:
    """Turn the decoded pictures of one stream into `VideoFrame` on the clip's timeline."""

    def __init__(self, stream: av.VideoStream, clock: StreamClock):
        container = stream.container
        assert isinstance(container, InputContainer)
        self.aspects = PixelAspects(stream)
        self._cropping = read_cropping(container, stream)
        self._clock = clock
        self._reformatter = VideoReformatter()

    def wrap(self, frame: av.VideoFrame, *, is_from_gpu: bool = False) -> VideoFrame:
        """Make a `VideoFrame` of a picture that has a timestamp.

        Args:
            frame: The picture.
            is_from_gpu: Whether a GPU has decoded it, and `is_convertible`.
        """
        assert frame.pts is not None
        return VideoFrame(
            frame,
            time_seconds=self._clock.find_seconds(frame.pts),
            pixel_aspect=self.aspects.find(frame.pts),
            cropping=self._cropping,
            reformatter=self._reformatter,
            is_from_gpu=is_from_gpu,
        )
