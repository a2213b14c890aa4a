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

from earshot.errors import MediaError

_WHOLE_SECONDS = 60.0
_WINDOW_SECONDS = 5.0  # of each of the three windows of a longer file
_STILL_INTERVAL_SECONDS = 0.25  # pictures compared for `still`
_STILL_SIZE = (64, 36)
_MOVING_DIFFERENCE = 60.0  # grey levels: certainly not still
_MAX_PLAUSIBLE_SECONDS = 7 * 24 * 3600.0
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
            raise ValueError(
                f"duration_tolerance_seconds is {self.duration_tolerance_seconds}, expected 0 or more"
            )


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
    rotation: int | None = None


def validate_clip(
    path, *, wanted_seconds: float | None, parameters: ValidationParameters
) -> ClipFacts:
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
    """What decides whether and how a file must be cut; ``duration_seconds`` None: unknown, an index None: no stream."""

    container: str
    duration_seconds: float | None
    short_side: int
    video_index: int | None
    audio_index: int | None


def look_at_source(path) -> SourceFacts:
    """Headers only. Raises ``MediaError`` corrupt."""
    try:
        with av.open(os.fspath(path), metadata_errors="ignore") as container:
            video, audio = _best_stream(container, "video"), _best_stream(container, "audio")
            return SourceFacts(
                container=container.format.name,
                duration_seconds=_announced_seconds(container, video or audio),
                short_side=min(video.codec_context.width, video.codec_context.height)
                if video
                else 0,
                video_index=video.index if video else None,
                audio_index=audio.index if audio else None,
            )
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError("corrupt", f"cannot be read as media: {_words(error)}") from None


def _validate(
    container, wanted_seconds: float | None, parameters: ValidationParameters
) -> ClipFacts:
    if container.format.name in ("tty", "image2", "png_pipe") or container.format.name.endswith(
        "_pipe"
    ):
        raise MediaError(
            "no_video", f"is not a video but {container.format.long_name or container.format.name}"
        )
    video, audio = _best_stream(container, "video"), _best_stream(container, "audio")
    announced_seconds = _announced_seconds(container, video or audio)
    if video is None:
        raise MediaError("no_video", "has no video stream")
    decoded, has_seen_end = _decode(container, video, audio, announced_seconds)
    pictures, sound = decoded[video.index], decoded.get(audio.index) if audio else None
    _require_decodable(pictures, "video")
    if announced_seconds is not None and has_seen_end:
        _require_whole(list(decoded.values()), announced_seconds)
    if audio is None:
        raise MediaError("no_audio", "has no audio stream")
    if sound.num_packets == 0 and sound.num_frames == 0:
        raise MediaError("no_audio", "has an audio stream without any packet")
    _require_decodable(sound, "audio")
    duration_seconds = announced_seconds
    if duration_seconds is None:
        duration_seconds = max(
            pictures.last_seconds - min(pictures.first_seconds, sound.first_seconds), 0.0
        )
    expected_seconds = parameters.min_seconds
    if wanted_seconds is not None:
        expected_seconds = min(
            max(wanted_seconds - parameters.duration_tolerance_seconds, 0.0), wanted_seconds
        )
    if duration_seconds < expected_seconds:
        raise MediaError(
            "too_short",
            f"lasts {duration_seconds:.2f} s, expected {expected_seconds:.2f} s or more",
        )
    flags = []
    if sound.peak < 10 ** (parameters.silence_dbfs / 20):
        flags.append("silent")
    if pictures.difference <= parameters.still_difference:
        flags.append("still")
    width, height = video.codec_context.width, video.codec_context.height
    if (pictures.rotation or 0) % 180:
        width, height = height, width
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


def _decode(
    container, video, audio, announced_seconds: float | None
) -> tuple[dict[int, _Decoded], bool]:
    """What each stream (by index) holds, and whether its end was seen."""
    streams = [stream for stream in (video, audio) if stream is not None]
    decoded = {stream.index: _Decoded() for stream in streams}
    video.thread_type = "NONE"  # parallelism is over videos
    origin = (container.start_time or 0) / av.time_base
    if announced_seconds is None or announced_seconds <= _WHOLE_SECONDS:
        _decode_window(container, streams, decoded, origin=origin, stop_seconds=None)
        return decoded, True
    last_seconds = announced_seconds - _WINDOW_SECONDS
    for start_seconds in (0.0, last_seconds / 2, last_seconds):
        if start_seconds > 0:
            try:
                container.seek(round((origin + start_seconds) * av.time_base))
            except av.error.FFmpegError:
                return decoded, False  # not every container can seek; its beginning is whole
        stop_seconds = None if start_seconds == last_seconds else start_seconds + _WINDOW_SECONDS
        for facts in decoded.values():
            facts.picture_seconds = -math.inf
        _decode_window(container, streams, decoded, origin=origin, stop_seconds=stop_seconds)
    return decoded, True


def _decode_window(
    container, streams, decoded: dict[int, _Decoded], *, origin: float, stop_seconds: float | None
):
    """Decode from here to ``stop_seconds``; None: to the end, but only ``_WHOLE_SECONDS`` of it, then count packets."""
    num_seconds, start = 0.0, None
    for packet in container.demux(streams):
        facts = decoded[packet.stream.index]
        if packet.pts is not None and packet.time_base:
            seconds = float(packet.pts * packet.time_base) - origin
            start = seconds if start is None else start
            num_seconds = max(num_seconds, seconds - start)
            facts.last_seconds = max(
                facts.last_seconds, seconds + float((packet.duration or 0) * packet.time_base)
            )
            facts.first_seconds = min(facts.first_seconds, seconds)
            if stop_seconds is not None and seconds > stop_seconds:
                break
        if stop_seconds is None and num_seconds > _WHOLE_SECONDS:
            continue
        if packet.size:
            facts.num_packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            facts.num_broken += 1
            continue
        for frame in frames:
            facts.num_frames += 1
            if packet.stream.type == "video":
                _look_at(frame, facts)
            else:
                facts.peak = max(facts.peak, _peak_of(frame))


def _look_at(frame, facts: _Decoded) -> None:
    """Compare a picture with the first one, so that a slow drift adds up."""
    if facts.rotation is None:
        facts.rotation = frame.rotation
    seconds = frame.time
    if seconds is not None and seconds - facts.picture_seconds < _STILL_INTERVAL_SECONDS:
        return
    facts.picture_seconds = seconds if seconds is not None else facts.picture_seconds
    if facts.difference > _MOVING_DIFFERENCE:
        return  # it moves; there is nothing more to find out
    picture = frame.reformat(*_STILL_SIZE, format="gray").to_ndarray().astype(np.float32)
    if facts.picture is None:
        facts.picture = picture
    facts.difference = max(facts.difference, float(np.abs(picture - facts.picture).max()))


def _peak_of(frame) -> float:
    """The largest sample of any channel, full scale 1."""
    samples = frame.to_ndarray()
    if samples.size == 0:
        return 0.0
    if samples.dtype.kind == "f":
        return float(np.nan_to_num(np.abs(samples), nan=0.0).max())
    middle = 128 if samples.dtype == np.uint8 else 0
    scale = 128 if samples.dtype == np.uint8 else -float(np.iinfo(samples.dtype).min)
    return float(np.abs(samples.astype(np.float64) - middle).max()) / scale


def _require_decodable(facts: _Decoded, what: str) -> None:
    if facts.num_frames == 0:
        raise MediaError("corrupt", f"has a {what} stream, of which nothing can be decoded")
    if facts.num_broken > _MAX_BROKEN_FRACTION * max(facts.num_packets, 1):
        raise MediaError(
            "corrupt", f"{facts.num_broken} of {facts.num_packets} {what} packets cannot be decoded"
        )


def _require_whole(streams: list[_Decoded], announced_seconds: float) -> None:
    """Half a file with the header of a whole one: every stream ends long before the announced end."""
    last_seconds = max(facts.last_seconds for facts in streams)
    if last_seconds < _TRUNCATED_FRACTION * announced_seconds - _TRUNCATED_SLACK_SECONDS:
        raise MediaError(
            "corrupt",
            f"ends after {last_seconds:.2f} s, its header announces {announced_seconds:.2f} s",
        )


def _best_stream(container, kind: str):
    """The stream that ffmpeg deems best (as ``pipeline/media/reader.py`` reads it); an attached picture is not video."""
    stream = container.streams.best(kind)
    if stream is not None and stream.disposition & av.stream.Disposition.attached_pic:
        return None
    return stream


def _announced_seconds(container, stream) -> float | None:
    """Seconds by the header; None where it says nothing, or nonsense."""
    seconds = None
    if stream is not None and stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    return seconds if seconds is not None and 0 < seconds < _MAX_PLAUSIBLE_SECONDS else None


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
