"""Read media files by time: `probe` a file, and a clip's frames and sound with `ClipReader`.

All times are seconds on the clip's timeline, which `timeline.py` defines.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earshot.cached_property import cached_property
from earshot.errors import MediaError
from pipeline.media.files.container import has_index
from pipeline.media.files.media_file import MediaFile, name_errors
from pipeline.media.files.timeline import find_duration, find_picture_end
from pipeline.media.pictures.frame import VideoFrame
from pipeline.media.pictures.frame_reader import FrameReader
from pipeline.media.pictures.gpu import Decoder
from pipeline.media.sound.audio_reader import AudioReader, SoundWindow

__all__ = ["ClipReader", "MediaInfo", "VideoFrame", "probe"]

_DEFAULT_FRAME_SECONDS = 0.04  # of a video without a known rate


@dataclass(frozen=True)
class MediaInfo:
    """What a media file has."""

    duration_seconds: float
    has_video: bool
    has_audio: bool
    width: int  # of the picture in pixels; 0 without video
    height: int
    fps: float | None
    video_codec: str | None
    audio_codec: str | None
    sample_rate: int | None  # Hz
    num_channels: int | None
    container_format: str  # FFmpeg's name of it
    # When the last picture ends, which can be long before the sound does. None: unknown.
    picture_seconds: float | None = None
    # When the first picture begins, which can be after the sound. None: unknown.
    picture_start_seconds: float | None = None

    @property
    def frame_seconds(self) -> float:
        """How long a picture is shown; of variable rates the average, if unknown 1/25 s."""
        return 1 / self.fps if self.fps else _DEFAULT_FRAME_SECONDS

    @property
    def moving_seconds(self) -> float:
        """When pictures no longer follow each other: the clip's end, or before it the picture's.

        Sound that is longer by less than a picture is the padding of an encoder.
        """
        end_seconds = self.picture_seconds
        if end_seconds is None or end_seconds + self.frame_seconds >= self.duration_seconds:
            return self.duration_seconds
        return end_seconds

    def move_into_picture(self, seconds: float) -> float:
        """Return a moment, or where it lies before or behind the pictures, the nearest among them.

        There the first or the last picture is shown all the time, as if nothing moved.
        """
        start_seconds = self.picture_start_seconds or 0.0
        # By less than half a picture it is rounding.
        if seconds < start_seconds - self.frame_seconds / 2:
            return start_seconds
        if self.moving_seconds < self.duration_seconds and seconds >= self.moving_seconds:
            # The middle of the last picture's time.
            return max(self.moving_seconds - self.frame_seconds / 2, 0.0)
        return seconds


def probe(path: Path | str) -> MediaInfo:
    """Return what a media file has, with the size of the upright picture.

    Args:
        path: The file.

    Raises:
        MediaError: ``no_file``; ``corrupt`` when the file cannot be read or no picture of its video
            decodes; ``no_streams`` when it has neither video nor audio.
    """
    with ClipReader(path) as reader:
        info = reader.info
        if not info.has_video:
            return info

        # Only a decoded picture tells how it is rotated and cropped.
        frame = reader.read_first_frame()
        return dataclasses.replace(info, width=frame.width, height=frame.height)


class ClipReader:
    """An open media file; use it as a context manager.

    Errors are MediaError and name the file.

    Example:
        >>> with ClipReader("clip.mp4") as reader:
        ...     for frame in reader.iter_frames([1.0, 1.125]):
        ...         print(frame.time_seconds, frame.rgb.shape)
        ...     waveform, rate = reader.read_audio(0.0, 3.0, sample_rate=16000)
    """

    def __init__(self, path: Path | str, *, decoder: Decoder = "cpu"):
        """Open a file.

        Args:
            path: The file.
            decoder: What decodes pictures; ``cuda``: a GPU where it can (``pictures/gpu.py``).

        Raises:
            MediaError: ``no_file``, ``corrupt`` or ``no_streams``.
        """
        self.path = Path(path)
        self._file = MediaFile(path)
        self._decoder = decoder
        self._audio_reader = AudioReader(self._file)

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def origin_seconds(self) -> float:
        """The time, by the file's own timestamps, that is zero on the clip's timeline."""
        return self._file.origin_seconds

    @cached_property
    def info(self) -> MediaInfo:
        """What the file has, without decoding.

        The picture's width and height are the stored ones, before any rotation; `probe` tells
        those of the upright picture.
        """
        main = self._file.main
        with name_errors(self.path):
            duration_seconds = find_duration(main.container)
            picture_seconds = find_picture_end(main.container)
        # To see whether the header is right, packets of files without an index are read.
        main.is_touched |= not has_index(main.container)

        # Variable rates have an average. If it is unknown, use FFmpeg's guess.
        rate = None
        if main.video is not None:
            rate = main.video.average_rate or main.video.guessed_rate

        picture = main.video.codec_context if main.video is not None else None
        sound = main.audio.codec_context if main.audio is not None else None
        return MediaInfo(
            duration_seconds=duration_seconds,
            has_video=picture is not None,
            has_audio=sound is not None,
            width=picture.width if picture is not None else 0,
            height=picture.height if picture is not None else 0,
            fps=float(rate) if rate else None,
            video_codec=picture.name if picture is not None else None,
            audio_codec=sound.name if sound is not None else None,
            sample_rate=sound.sample_rate if sound is not None else None,
            num_channels=sound.channels if sound is not None else None,
            container_format=main.container.format.name,
            picture_seconds=picture_seconds,
            picture_start_seconds=self._find_picture_start(),
        )

    def _find_picture_start(self) -> float | None:
        video = self._file.main.video
        if video is None or video.start_time is None or video.time_base is None:
            return None
        return float(video.start_time * video.time_base) - self.origin_seconds

    def iter_frames(self, times: Sequence[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time.

        Args:
            times: Seconds on the clip's timeline, ascending.

        Yields:
            One frame a time; two times may give the same picture.

        Raises:
            MediaError: ``no_video``; ``corrupt`` when the video breaks before a time or its frame
                is damaged. The frames before have then been yielded.
        """
        if self._file.main.video is None:
            raise MediaError("no_video", f"{self.path}: has no video")

        with name_errors(self.path):
            yield from self._frame_reader.iter_frames(times)

    def read_first_frame(self) -> VideoFrame:
        """Return the first frame that decodes, damaged or not.

        Raises:
            MediaError: ``corrupt`` or ``no_video``.
        """
        with name_errors(self.path):
            return self._frame_reader.read_first_frame()

    def read_audio(
        self, start_seconds: float, stop_seconds: float, *, sample_rate: int | None
    ) -> tuple[np.ndarray, int]:
        """Return the sound of the half-open range [start_seconds, stop_seconds).

        Args:
            start_seconds: As for ``read_audio_window``.
            stop_seconds: As for ``read_audio_window``.
            sample_rate: As for ``read_audio_window``.

        Returns:
            The waveform, float32 ``(num_samples,)``, and its rate in Hz.

        Raises:
            MediaError: As for ``read_audio_window``.
        """
        window = self.read_audio_window(start_seconds, stop_seconds, sample_rate=sample_rate)
        return window.waveform, window.sample_rate

    def read_audio_window(
        self, start_seconds: float, stop_seconds: float, *, sample_rate: int | None
    ) -> SoundWindow:
        """Return the sound of the half-open range [start_seconds, stop_seconds).

        A window that reaches beyond the sound is shifted inside. A sound that is shorter than the
        window is repeated. Pauses, and packets that are lost, are silence.

        Args:
            start_seconds: On the clip's timeline.
            stop_seconds: On the clip's timeline.
            sample_rate: The rate of the result in Hz; None: the one that the file begins with.

        Returns:
            The mean of the channels, float32 ``(round(length * rate),)``, its rate, and where the
            window begins after it was shifted.

        Raises:
            MediaError: ``no_audio``; ``corrupt`` when more than a fifth of the window is damaged.
        """
        if self._file.main.audio is None:
            raise MediaError("no_audio", f"{self.path}: has no audio")
        with name_errors(self.path):
            return self._audio_reader.read(start_seconds, stop_seconds, sample_rate=sample_rate)

    def read_whole_sound(self, *, sample_rate: int | None) -> SoundWindow:
        """Return all sound of the clip, once; pauses and lost packets are silence.

        Args:
            sample_rate: The rate of the result in Hz; None: the one that the file begins with.

        Returns:
            The mean of the channels, float32, its rate, and where it begins on the clip's timeline.

        Raises:
            MediaError: ``no_audio``; ``corrupt`` when more than a fifth of it is damaged.
        """
        if self._file.main.audio is None:
            raise MediaError("no_audio", f"{self.path}: has no audio")
        with name_errors(self.path):
            return self._audio_reader.read_all(sample_rate=sample_rate)

    @cached_property
    def _frame_reader(self) -> FrameReader:
        return FrameReader(self._file, self._decoder)
