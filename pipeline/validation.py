"""Is a media file what was wanted? Streams, duration, whether it decodes; and the flags ``silent`` and ``still``.

A download that "succeeded" may be half a file, a page of HTML or a slide show. Every file is opened and decoded before
it is published: wholly up to ``_WHOLE_SECONDS``, longer ones at the beginning, in the middle and at the end.
"""

import math
import os
from dataclasses import asdict, dataclass

import av
import av.error
import numpy as np

from pipeline.errors import MediaError

_WHOLE_SECONDS = 60.0
_WINDOW_SECONDS = 5.0  # of each of the three windows of a longer file
_STILL_INTERVAL_SECONDS = 0.25  # pictures compared for `still`
_STILL_SIZE = (64, 36)
_MAX_BROKEN_FRACTION = 0.2  # of packets that do not decode
_TRUNCATED_FRACTION = 0.9  # of the duration that headers announce, at least this much must be there
_TRUNCATED_SLACK_SECONDS = 0.5


@dataclass(frozen=True)
class ValidationParameters:
    """Section ``download.validation``.

    ``silent``: the loudest moment stays below ``silence_dbfs``. ``still``: no picture, looked at every quarter of a
    second, differs from the first by more than ``still_difference`` grey levels (of 255) in any cell of a 64x36 grid.
    """

    min_seconds: float = 1.0
    duration_tolerance_seconds: float = 0.5
    silence_dbfs: float = -60.0
    still_difference: float = 6.0

    def __post_init__(self):
        if not self.min_seconds >= 0:
            raise ValueError(f"min_seconds is {self.min_seconds}, expected 0 or more")
        if not self.duration_tolerance_seconds >= 0:
            raise ValueError(f"duration_tolerance_seconds is {self.duration_tolerance_seconds}, expected 0 or more")


@dataclass(frozen=True)
class ClipFacts:
    """What the account records about a clip's file."""

    duration_seconds: float
    width: int
    height: int
    fps: float | None
    video_codec: str
    audio_codec: str
    sample_rate: int
    flags: tuple[str, ...]

    def as_mapping(self) -> dict:
        return asdict(self) | {"flags": list(self.flags)}


@dataclass
class _Decoded:
    """What decoding a stream showed so far."""

    num_packets: int = 0
    num_broken: int = 0
    num_frames: int = 0
    first_seconds: float = math.inf
    last_seconds: float = -math.inf
    peak: float = 0.0
    difference: float = 0.0
    picture: np.ndarray | None = None
    picture_seconds: float = -math.inf


def validate_clip(path, *, wanted_seconds: float | None, parameters: ValidationParameters) -> ClipFacts:
    """Facts of a whole file, or ``MediaError`` with reason corrupt, no_video, no_audio or too_short.

    ``wanted_seconds`` is the length of the section that was asked for, None for a whole video.
    """
    try:
        # The first demuxer that fits by content: a name must not make a text file a video.
        with av.open(os.fspath(path), metadata_errors="ignore") as container:
            return _validate(container, wanted_seconds, parameters)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError("corrupt", f"cannot be read as media: {_words(error)}") from None


@dataclass(frozen=True)
class SourceFacts:
    """What decides whether and how a file must be cut: seconds (None: unknown), upright height, best streams."""

    duration_seconds: float | None
    height: int
    video_index: int | None
    audio_index: int | None


def look_at_source(path) -> SourceFacts:
    """Headers only. Raises ``MediaError`` corrupt."""
    try:
        with av.open(os.fspath(path), metadata_errors="ignore") as container:
            video, audio = _best_stream(container, "video"), _best_stream(container, "audio")
            return SourceFacts(
                duration_seconds=_announced_seconds(container, video or audio),
                height=_upright_size(video)[1] if video else 0,
                video_index=video.index if video else None,
                audio_index=audio.index if audio else None,
            )
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError("corrupt", f"cannot be read as media: {_words(error)}") from None


def _validate(container, wanted_seconds: float | None, parameters: ValidationParameters) -> ClipFacts:
    if container.format.name in ("tty", "image2", "png_pipe") or container.format.name.endswith("_pipe"):
        raise MediaError("no_video", f"is not a video but {container.format.long_name or container.format.name}")
    video, audio = _best_stream(container, "video"), _best_stream(container, "audio")
    announced_seconds = _announced_seconds(container, video or audio)
    if video is None:
        raise MediaError("no_video", "has no video stream")
    decoded = _decode(container, video, audio, announced_seconds)
    pictures, sound = decoded[video.index], decoded.get(audio.index) if audio else None
    _require_whole(pictures, "video", announced_seconds)
    if audio is None:
        raise MediaError("no_audio", "has no audio stream")
    if sound.num_packets == 0 and sound.num_frames == 0:
        raise MediaError("no_audio", "has an audio stream without any packet")
    _require_whole(sound, "audio", None)
    duration_seconds = announced_seconds
    if duration_seconds is None:
        duration_seconds = pictures.last_seconds - min(pictures.first_seconds, sound.first_seconds)
    expected_seconds = parameters.min_seconds
    if wanted_seconds is not None:
        expected_seconds = min(max(wanted_seconds - parameters.duration_tolerance_seconds, 0.0), wanted_seconds)
    if duration_seconds < expected_seconds:
        raise MediaError("too_short", f"lasts {duration_seconds:.2f} s, expected {expected_seconds:.2f} s or more")
    flags = []
    if sound.peak < 10 ** (parameters.silence_dbfs / 20):
        flags.append("silent")
    if pictures.num_frames > 0 and pictures.difference <= parameters.still_difference:
        flags.append("still")
    width, height = _upright_size(video)
    return ClipFacts(
        duration_seconds=round(duration_seconds, 6),
        width=width,
        height=height,
        fps=round(float(video.average_rate), 6) if video.average_rate else None,
        video_codec=video.codec_context.name,
        audio_codec=audio.codec_context.name,
        sample_rate=audio.codec_context.sample_rate,
        flags=tuple(flags),
    )


def _decode(container, video, audio, announced_seconds: float | None) -> dict[int, _Decoded]:
    streams = [stream for stream in (video, audio) if stream is not None]
    decoded = {stream.index: _Decoded() for stream in streams}
    video.thread_type = "NONE"  # parallelism is over videos
    if announced_seconds is None or announced_seconds <= _WHOLE_SECONDS:
        windows = [None]
    else:
        last = announced_seconds - _WINDOW_SECONDS
        windows = [0.0, last / 2, last]
    for start_seconds in windows:
        if start_seconds:
            container.seek(round(start_seconds * av.time_base))
            for facts in decoded.values():
                facts.picture_seconds = -math.inf  # pictures of two windows are still compared
        stop_seconds = math.inf if start_seconds is None else start_seconds + _WINDOW_SECONDS
        origin = (container.start_time or 0) / av.time_base
        for packet in container.demux(streams):
            facts = decoded[packet.stream.index]
            if packet.size:
                facts.num_packets += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                facts.num_broken += 1
                continue
            for frame in frames:
                _look_at(frame, facts, is_video=packet.stream is video or packet.stream.index == video.index)
            at = packet.pts * packet.time_base if packet.pts is not None and packet.time_base else None
            if at is not None and float(at) - origin > stop_seconds:
                break
    return decoded


def _look_at(frame, facts: _Decoded, *, is_video: bool) -> None:
    facts.num_frames += 1
    seconds = frame.time
    if is_video:
        if seconds is not None:
            facts.first_seconds = min(facts.first_seconds, seconds)
            facts.last_seconds = max(facts.last_seconds, seconds + _length_of(frame))
        if seconds is None or seconds - facts.picture_seconds >= _STILL_INTERVAL_SECONDS:
            # Once it is known to move there is nothing more to compare.
            if facts.difference < 255 and not (facts.picture is not None and facts.difference > 60):
                picture = frame.reformat(*_STILL_SIZE, format="gray").to_ndarray().astype(np.float32)
                if facts.picture is not None:
                    facts.difference = max(facts.difference, float(np.abs(picture - facts.picture).max()))
                else:
                    facts.picture = picture  # all are compared with the first: a slow drift adds up
            facts.picture_seconds = seconds if seconds is not None else facts.picture_seconds
        return
    if seconds is not None:
        facts.first_seconds = min(facts.first_seconds, seconds)
        facts.last_seconds = max(facts.last_seconds, seconds + frame.samples / frame.sample_rate)
    samples = frame.to_ndarray()
    if samples.size:
        if samples.dtype.kind == "f":
            peak = float(np.nanmax(np.abs(samples)))
        else:
            middle = 128 if samples.dtype == np.uint8 else 0
            scale = 128 if samples.dtype == np.uint8 else -float(np.iinfo(samples.dtype).min)
            peak = float(np.abs(samples.astype(np.float64) - middle).max()) / scale
        facts.peak = max(facts.peak, peak)


def _require_whole(facts: _Decoded, what: str, announced_seconds: float | None) -> None:
    if facts.num_frames == 0:
        raise MediaError("corrupt", f"has a {what} stream, of which nothing can be decoded")
    if facts.num_broken > _MAX_BROKEN_FRACTION * max(facts.num_packets, 1):
        raise MediaError("corrupt", f"{facts.num_broken} of {facts.num_packets} {what} packets cannot be decoded")
    if announced_seconds is not None and math.isfinite(facts.last_seconds):
        expected_seconds = _TRUNCATED_FRACTION * announced_seconds - _TRUNCATED_SLACK_SECONDS
        if facts.last_seconds < expected_seconds:
            raise MediaError(
                "corrupt",
                f"{what} ends after {facts.last_seconds:.2f} s, its header announces {announced_seconds:.2f} s",
            )


def _best_stream(container, kind: str):
    """The stream that ffmpeg deems best (as ``pipeline/media.py`` reads it); an attached picture is not video."""
    stream = container.streams.best(kind)
    if stream is not None and stream.disposition & av.stream.Disposition.attached_pic:
        return None
    return stream


def _announced_seconds(container, stream) -> float | None:
    if stream is not None and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _upright_size(stream) -> tuple[int, int]:
    width, height = stream.codec_context.width, stream.codec_context.height
    rotation = getattr(stream, "rotation", 0) or 0
    return (height, width) if rotation % 180 else (width, height)


def _length_of(frame) -> float:
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
