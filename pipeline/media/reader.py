"""Reading media files by time: what a file has (``probe``), frames at times and audio windows (``ClipReader``).

The clip's timeline begins with the file's first stream (FFmpeg's ``start_time``; the few milliseconds before zero
that encoders put there as priming do not count), so that picture and sound keep their offset. Of several streams the
one that FFmpeg deems best (marked default, then the largest) is read; attached pictures are not video. All decoding
is single-threaded: parallelism is over clips.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from earshot.errors import MediaError
from pipeline.media import audio
from pipeline.media.frame_reader import DEFAULT_RATE, FrameReader, VideoFrame
from pipeline.media.mp4_tracks import is_plain

__all__ = ["ClipReader", "MediaInfo", "VideoFrame", "probe"]

_PRIMING_SECONDS = 0.1
_MAX_PLAUSIBLE_SECONDS = 7 * 24 * 3600
# While it opens a file FFmpeg decodes its first pictures, to learn their format and how late they come out. With these
# settings it takes the format as known and decodes none; decoders find out themselves, whatever they were told.
_WITHOUT_DECODING = {"skip_frame": "all", "pixel_format": "yuv420p"}


@dataclass(frozen=True)
class MediaInfo:
    """What a file has. ``width`` and ``height``: of the upright picture, in stored pixels; 0 without video."""

    duration_seconds: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    fps: float | None
    video_codec: str | None
    audio_codec: str | None
    sample_rate: int | None
    num_channels: int | None
    container_format: str


def probe(path: Path | str) -> MediaInfo:
    """What a media file has. Raises MediaError ``corrupt`` when it cannot be read, ``no_streams`` when it has
    nothing.
    """
    with ClipReader(path) as reader:
        info = reader.info
        if not info.has_video:
            return info
        frame = reader.first_frame()
        return dataclasses.replace(info, width=frame.width, height=frame.height)


class ClipReader:
    """An open media file; a context manager. Errors are MediaError, naming the file.

    ``is_probed`` False opens plain MP4 files without decoding anything, which takes a fifth of the time. Frames and
    audio are the same; ``info`` may then know less of the picture than its decoder does.
    """

    def __init__(self, path: Path | str, *, is_probed: bool = True):
        self.path = Path(path)
        self._is_probed = is_probed or not is_plain(self.path)
        self._containers: list = []
        self._container = self._open(is_probed=self._is_probed)
        self._video = self._best_stream(self._container, "video")
        self._audio = self._best_stream(self._container, "audio")
        self._is_touched = False  # whether packets have been read, so that the file's beginning needs it opened anew
        self._is_audio_decoded = False
        self._is_reading_frames = False
        self._audio_extent: tuple[float, float] | None = None
        if self._video is None and self._audio is None:
            self.close()
            raise MediaError("no_streams", f"{self.path}: has neither video nor audio")
        start = (self._container.start_time or 0) / av.time_base
        self.origin_seconds = 0.0 if -_PRIMING_SECONDS < start < 0 else start

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        for container in self._containers:
            container.close()
        self._containers.clear()
        # It holds this object, to open the file anew. In a cycle decoders would stay until Python looks for cycles,
        # and it sees nothing of their size.
        self.__dict__.pop("_frame_reader", None)

    @functools.cached_property
    def info(self) -> MediaInfo:
        """From the header alone: ``width`` and ``height`` are as stored, before any rotation (``probe`` knows
        better).
        """
        video, sound = self._video, self._audio
        rate = video.average_rate or video.guessed_rate if video is not None else None
        return MediaInfo(
            duration_seconds=self._find_duration(),
            has_video=video is not None,
            has_audio=sound is not None,
            width=video.codec_context.width if video is not None else 0,
            height=video.codec_context.height if video is not None else 0,
            fps=float(rate) if rate else None,
            video_codec=video.codec_context.name if video is not None else None,
            audio_codec=sound.codec_context.name if sound is not None else None,
            sample_rate=sound.codec_context.sample_rate if sound is not None else None,
            num_channels=sound.codec_context.channels if sound is not None else None,
            container_format=self._container.format.name,
        )

    def _find_duration(self) -> float:
        """Seconds from the timeline's zero to the end of the last stream; measured where the header says nothing or
        lies.
        """
        duration = (self._container.duration or 0) / av.time_base
        if not 0 < duration < _MAX_PLAUSIBLE_SECONDS:
            return self.measure_duration()
        duration += (self._container.start_time or 0) / av.time_base - self.origin_seconds
        name = self._container.format.name
        if self._is_cut_off or name.startswith("mov"):
            return duration  # MP4's is that of its index; of a file that is cut off, what the whole one had
        # Where Matroska and FLV begin late, some programs write when they end, others how long they are.
        is_ambiguous = (
            name.startswith(("matroska", "flv")) and self.origin_seconds > _PRIMING_SECONDS
        )
        return (
            self.measure_duration() if is_ambiguous or not self._reaches(duration / 2) else duration
        )

    def _reaches(self, seconds: float) -> bool:
        """Whether there are packets at a time or later."""
        stream = self._video or self._audio
        target = int((seconds + self.origin_seconds) / stream.time_base)
        self._is_touched = True
        try:
            self._container.seek(target, stream=stream, backward=True)
            return any(
                packet.pts is not None and packet.pts >= target
                for packet in self._container.demux(stream)
            )
        except av.FFmpegError:
            return False

    @functools.cached_property
    def _is_cut_off(self) -> bool:
        """Whether a Matroska or WebM file is shorter than it says it is."""
        if not self._container.format.name.startswith("matroska"):
            return False
        with open(self.path, "rb") as file:
            stop = find_matroska_end(file.read(4096))
        return stop is not None and self.path.stat().st_size < stop

    def measure_duration(self) -> float:
        """The end of the last packet, whatever the header says; of video without timestamps (raw H.264), its packets
        at the stream's rate.
        """
        stop = 0.0
        num_untimed = 0
        with self._errors():
            with self._open_anew() as container:
                streams = [
                    container.streams[s.index] for s in (self._video, self._audio) if s is not None
                ]
                for packet in container.demux(*streams):
                    if packet.pts is not None:
                        stop = max(
                            stop, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        )
                    elif packet.size and packet.stream.type == "video":
                        num_untimed += 1
                if stop == 0 and num_untimed:
                    rate = streams[0].average_rate or streams[0].guessed_rate or DEFAULT_RATE
                    stop = float(num_untimed / rate)
        return max(stop - self.origin_seconds, 0.0)

    def iter_frames(self, times: Sequence[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each of ``times`` (seconds, ascending). Raises MediaError ``no_video``,
        ``corrupt``.
        """
        if self._video is None:
            raise MediaError("no_video", f"{self.path}: has no video")
        with self._errors():
            frames = self._frame_reader
            self._is_reading_frames = True
            yield from frames.iter_frames(times)

    def first_frame(self) -> VideoFrame:
        """The first frame that decodes, damaged or not."""
        with self._errors():
            return self._frame_reader.read_first_frame()

    @functools.cached_property
    def _frame_reader(self) -> FrameReader:
        return FrameReader(
            self._container,
            self._video,
            origin_seconds=self.origin_seconds,
            name=str(self.path),
            is_cut_off=self._is_cut_off,
            is_touched=self._is_touched,
            is_probed=self._is_probed,
            reopen=self._reopen_video,
        )

    def read_frames(self, times: Sequence[float]) -> list[VideoFrame]:
        """The frames shown at ``times`` (seconds, any order), in the order asked for."""
        order = np.argsort(times, kind="stable")
        frames = dict(
            zip(order.tolist(), self.iter_frames([times[index] for index in order]), strict=True)
        )
        return [frames[index] for index in range(len(frames))]

    def read_audio(
        self, start_seconds: float, stop_seconds: float, *, sample_rate: int | None
    ) -> tuple[np.ndarray, int]:
        """Mono float32 waveform of [start_seconds, stop_seconds), exactly ``round(length * rate)`` samples, and its
        rate.

        A window that reaches beyond the audio is shifted inside; what a short audio still lacks is filled by
        repeating it, pauses by silence. Raises MediaError ``no_audio``, ``corrupt``.
        """
        if self._audio is None:
            raise MediaError("no_audio", f"{self.path}: has no audio")
        length = stop_seconds - start_seconds
        with self._errors():
            waveform, rate = self._read_window(start_seconds, stop_seconds, sample_rate)
            if length - len(waveform) / rate > audio.MISSING_SECONDS:
                first, last = self._find_audio_extent()
                if self._is_cut_off and last < stop_seconds:
                    raise MediaError(
                        "corrupt",
                        f"{self.path}: the file is cut off, its audio ends at {last:.3f} s",
                    )
                begin = max(min(start_seconds, last - length), first)
                if abs(begin - start_seconds) > 1 / rate:
                    waveform, rate = self._read_window(begin, begin + length, sample_rate)
                is_within = begin + length < last + audio.MISSING_SECONDS
                if is_within and length - len(waveform) / rate > audio.MISSING_SECONDS:
                    waveform, rate = self._read_window(
                        begin, begin + length, sample_rate, is_within=True
                    )
        if not len(waveform):
            raise MediaError("no_audio", f"{self.path}: its audio stream has no samples")
        if not np.isfinite(waveform).all():
            raise MediaError("corrupt", f"{self.path}: its audio holds values that are not finite")
        return audio.tile(waveform, round(length * rate)), rate

    def _read_window(
        self,
        start_seconds: float,
        stop_seconds: float,
        sample_rate: int | None,
        *,
        is_within: bool = False,
    ):
        # The decoder must have decoded nothing, and nothing may seek under the feet of iter_frames.
        # Where packets were read before (`_reaches` seeks to the middle) a window at the beginning would find the rest;
        # Matroska finds any other by its index.
        is_lost = self._is_touched and not (
            self._container.format.name.startswith("matroska")
            and audio.needs_seek(
                self._audio, start_seconds=start_seconds, origin_seconds=self.origin_seconds
            )
        )
        is_own = self._is_audio_decoded or self._is_reading_frames or is_lost
        container = self._open_anew(is_probed=self._is_probed) if is_own else self._container
        self._is_touched = self._is_audio_decoded = True
        try:
            return audio.read_window(
                container,
                container.streams[self._audio.index],
                origin_seconds=self.origin_seconds,
                start_seconds=start_seconds,
                stop_seconds=stop_seconds,
                sample_rate=sample_rate,
                is_within=is_within,
            )
        finally:
            if is_own:
                container.close()

    def _find_audio_extent(self) -> tuple[float, float]:
        if self._audio_extent is None:
            with self._open_anew() as container:
                extent = audio.find_extent(container, container.streams[self._audio.index])
            if extent is None:
                raise MediaError("no_audio", f"{self.path}: its audio stream has no samples")
            self._audio_extent = (extent[0] - self.origin_seconds, extent[1] - self.origin_seconds)
        return self._audio_extent

    def _reopen_video(self):
        container = self._open(is_probed=True)
        return container, container.streams[self._video.index]

    def _open_anew(self, *, is_probed: bool = True):
        path = str(
            self.path.absolute()
        )  # FFmpeg takes what is before a colon, as in 12:30.mp4, for a protocol
        return av.open(
            path, metadata_errors="ignore", options=None if is_probed else _WITHOUT_DECODING
        )

    def _open(self, *, is_probed: bool):
        with self._errors():
            container = self._open_anew(is_probed=is_probed)
        self._containers.append(container)
        for stream in container.streams:
            if stream.type == "video":
                stream.thread_count = 1
        return container

    @staticmethod
    def _best_stream(container, kind: str):
        stream = container.streams.best(kind)
        if stream is None or stream.codec_context is None:
            return None
        if kind == "video" and stream.disposition & av.stream.Disposition.attached_pic:
            rest = [
                s
                for s in container.streams.video
                if not s.disposition & av.stream.Disposition.attached_pic
            ]
            return rest[0] if rest else None
        return stream

    def _errors(self):
        return _MediaErrors(self.path)


class _MediaErrors:
    """Turns the exceptions of FFmpeg and of the file system into MediaError that name the file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, FileNotFoundError):
            raise MediaError("no_file", f"{self._path}: not found") from error
        if isinstance(error, MediaError) and str(self._path) not in str(error):
            raise MediaError(error.reason, f"{self._path}: {error}") from error
        if isinstance(error, av.FFmpegError):
            what = (
                "is empty"
                if self._path.is_file() and self._path.stat().st_size == 0
                else f"cannot be read: {error.strerror}"
            )
            raise MediaError("corrupt", f"{self._path}: {what}") from error


def find_matroska_end(head: bytes) -> int | None:
    """Offset at which a Matroska file says that its segment ends; None when it does not say (live recordings).

    ``head``: the first bytes of the file. Elements are an id and a size of variable length, then the payload.
    """
    position = 0
    while position + 12 <= len(head):
        id_length = 9 - head[position].bit_length()
        position_of_size = position + id_length
        size_length = 9 - head[position_of_size].bit_length()
        position_of_payload = position_of_size + size_length
        if id_length > 4 or size_length > 8 or position_of_payload > len(head):
            return None
        mask = (1 << (7 * size_length)) - 1
        size = int.from_bytes(head[position_of_size:position_of_payload], "big") & mask
        if head[position:position_of_size] == bytes.fromhex("18538067"):
            return None if size == mask else position_of_payload + size
        position = position_of_payload + size
    return None
