"""Decide which streams a clip has, where its zero is, how long it lasts and which frame it shows.

No other module decides these things; the readers, the validation and the datasets ask here.

- Streams (`choose_stream`): the stream that FFmpeg considers the best one (marked as default, then
  the largest). Attached pictures, such as the cover of a song, are not video.
- Zero (`find_origin`): where the picture or the sound begins, whichever is first, so the two keep
  their offset. Encoders put a few milliseconds of priming before zero; these do not count.
- Duration (`find_duration`): from zero to the end of picture and sound, whichever is last. The
  header's value counts unless it is missing or wrong; then all packets are read. Subtitles and
  other streams do not count.
- Frame (`find_shown_frame`): the frame shown at a time is the last frame whose timestamp is not
  later; before the first frame it is the first, after the end the last. Timestamps are those that
  FFmpeg gives after it has applied edit lists.
"""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, overload

import av
from av import AudioStream, VideoStream
from av.container import InputContainer

from earshot.errors import MediaError
from pipeline.media.files.container import (
    has_index,
    iter_packets,
    open_container,
    seeks_to_packets,
)
from pipeline.media.files.truncation import is_cut_off

# The meaning of PyAV's IndexError: PyAV knows only the streams that are there at the beginning.
LATE_STREAM = "a stream appears after the beginning that is not announced there"
# If a wanted time differs from a timestamp only by rounding, that frame is meant.
_TIME_TOLERANCE_SECONDS = 1e-6
# Frames a second of streams that have neither timestamps nor a rate; FFmpeg's own choice.
_DEFAULT_RATE = Fraction(25)
# AAC and Opus encoders put up to about 50 ms before zero. An earlier beginning is intended.
_PRIMING_SECONDS = 0.1
# Longer durations are damaged headers, or a clock that seems to have wrapped around.
_MAX_PLAUSIBLE_SECONDS = 7 * 24 * 3600
# A header that differs by less from the streams is right: it is rounded, or counts priming.
_HEADER_TOLERANCE_SECONDS = 0.05
# If these begin late, some programs write when they end, others how long they last.
_AMBIGUOUS_FORMATS = ("matroska", "flv", "asf", "nut")
# To check the header's end, packets are read from this time before it.
_END_SECONDS = 0.5


@overload
def choose_stream(container: InputContainer, kind: Literal["video"]) -> VideoStream | None: ...
@overload
def choose_stream(container: InputContainer, kind: Literal["audio"]) -> AudioStream | None: ...
def choose_stream(
    container: InputContainer, kind: Literal["video", "audio"]
) -> VideoStream | AudioStream | None:
    """Return the stream of a kind that is read.

    Args:
        container: An open file.
        kind: ``video`` or ``audio``.

    Returns:
        FFmpeg's best stream; where that is an attached picture, the first video stream that is
        not. None where there is no such stream or nothing can decode it.
    """
    stream = container.streams.best(kind)
    if stream is not None and kind == "video" and _is_attached_picture(stream):
        rest = [one for one in container.streams.video if not _is_attached_picture(one)]
        stream = rest[0] if rest else None

    if not isinstance(stream, VideoStream | AudioStream) or stream.codec_context is None:
        return None
    return stream


def _is_attached_picture(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def find_origin(container: InputContainer) -> float:
    """Return which time, by the file's own timestamps in seconds, is the clip's zero."""
    starts = [
        # In microseconds, as `container.start_time` is.
        round(stream.start_time * stream.time_base * av.time_base)
        for stream in choose_streams(container)
        if stream.start_time is not None and stream.time_base is not None
    ]
    start_seconds = min(starts, default=container.start_time or 0) / av.time_base

    # Priming is decoded but not played, so it does not move the zero.
    return 0.0 if -_PRIMING_SECONDS < start_seconds < 0 else start_seconds


def find_duration(container: InputContainer) -> float:
    """Return how long a clip lasts: from zero to the end of its picture and sound.

    Args:
        container: An open file. Of files without an index (see ``has_index``) packets may be read,
            so only a container opened anew begins at the first packet again.

    Returns:
        Seconds, by the header where it can be trusted, else measured. 0 where nothing has a time.

    Raises:
        MediaError: ``corrupt`` when the clock jumps by days, or a stream appears late.
        av.FFmpegError: The file cannot be read.
    """
    try:
        return _find_duration(container)
    except IndexError:
        raise MediaError("corrupt", LATE_STREAM) from None


def _find_duration(container: InputContainer) -> float:
    header_seconds = read_header_duration(container)
    # A file that was cut off keeps the duration of the whole file. So its lost moments are reported
    # as missing, and the others keep their place.
    if header_seconds is not None and is_cut_off(container):
        return header_seconds
    if header_seconds is not None and _is_right(container, header_seconds):
        return header_seconds

    seconds = _measure_duration(container)
    if seconds >= _MAX_PLAUSIBLE_SECONDS:
        days = seconds / (24 * 3600)
        raise MediaError(
            "corrupt", f"its timestamps span {days:.1f} days, expected less than a week"
        )

    is_same = header_seconds is not None and _is_near(header_seconds, seconds)
    # The header's value where it is right: packets of Matroska are rounded to milliseconds.
    return header_seconds if header_seconds is not None and is_same else seconds


def read_header_duration(container: InputContainer) -> float | None:
    """Return the duration that a file's header says, in seconds on the clip's timeline.

    None where the header says nothing, or something implausible or ambiguous.
    """
    seconds = (container.duration or 0) / av.time_base
    if not 0 < seconds < _MAX_PLAUSIBLE_SECONDS:
        return None

    # The header counts from the file's first stream, which begins before zero where it has
    # priming.
    origin_seconds = find_origin(container)
    seconds += (container.start_time or 0) / av.time_base - origin_seconds
    is_ambiguous = (
        container.format.name.startswith(_AMBIGUOUS_FORMATS) and origin_seconds > _PRIMING_SECONDS
    )

    if seconds <= 0 or (is_ambiguous and not is_cut_off(container)):
        return None
    return seconds


def _is_right(container: InputContainer, header_seconds: float) -> bool:
    """Return whether the header's duration is known to be that of picture and sound."""
    if has_index(container):
        if any(_begins_late(stream) for stream in choose_streams(container)):
            return False
        end_seconds = _read_stream_end(container) - find_origin(container)
        return _is_near(end_seconds, header_seconds)

    # The header also counts streams that are not read, and they can end later.
    if _has_other_streams(container):
        return False
    measured = _measure_end_from(container, header_seconds - _END_SECONDS)
    return measured is not None and _is_near(measured, header_seconds)


def _begins_late(stream: VideoStream | AudioStream) -> bool:
    """Return whether a stream of an MP4 begins so late that its header does not give its end.

    Some programs count the time before its first frame as a part of its duration, others do not.
    """
    if stream.start_time is None or stream.time_base is None:
        return False

    container = stream.container
    assert isinstance(container, InputContainer)
    late_seconds = float(stream.start_time * stream.time_base) - find_origin(container)
    return late_seconds > _HEADER_TOLERANCE_SECONDS


def _has_other_streams(container: InputContainer) -> bool:
    """Return whether a file has streams with times that are not read here."""
    indexes = {stream.index for stream in choose_streams(container)}
    return any(
        stream.type in ("video", "audio", "subtitle", "data")
        and stream.index not in indexes
        and not _is_attached_picture(stream)
        for stream in container.streams
    )


def _is_near(first_seconds: float, second_seconds: float) -> bool:
    return abs(first_seconds - second_seconds) <= _HEADER_TOLERANCE_SECONDS


def _read_stream_end(container: InputContainer) -> float:
    """Return when the last stream ends by its own header, in the file's seconds; NaN: unknown."""
    ends = []
    for stream in choose_streams(container):
        if stream.duration is None or stream.time_base is None:
            return math.nan
        ends.append(float(((stream.start_time or 0) + stream.duration) * stream.time_base))
    return max(ends, default=math.nan)


def read_announced_duration(
    container: InputContainer, stream: VideoStream | AudioStream | None
) -> float | None:
    """Return how long a stream should last: by its own header, else by the file's.

    The packets can end earlier. A clip's duration is ``find_duration``.

    Args:
        container: An open file.
        stream: One of its streams; None: only the file's header counts.

    Returns:
        The duration in seconds. None where the headers say nothing or something implausible.
    """
    if stream is None or stream.duration is None or stream.time_base is None:
        return None if _has_other_streams(container) else read_header_duration(container)

    seconds = float(stream.duration * stream.time_base)
    start_seconds = float((stream.start_time or 0) * stream.time_base)
    if not has_index(container) and _PRIMING_SECONDS < start_seconds < seconds:
        seconds -= start_seconds
    return seconds if 0 < seconds < _MAX_PLAUSIBLE_SECONDS else None


def _measure_duration(container: InputContainer) -> float:
    """Return when the last packet ends, in seconds of the clip, whatever the header says.

    Reads all packets of the file, opened anew. Video without timestamps (raw H.264) lasts as long
    as its packets at the stream's rate.
    """
    with open_container(container.name) as fresh:
        seconds = _measure_end(fresh, *choose_streams(fresh))
    if seconds is not None and seconds > 0:
        return seconds

    with open_container(container.name) as fresh:
        video = choose_stream(fresh, "video")
        if video is None:
            return 0.0

        num_untimed = sum(
            packet.pts is None and packet.size > 0 for packet in iter_packets(fresh, video)
        )
        return float(num_untimed / find_frame_rate(video))


def choose_streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """Return the streams that are read, the video first."""
    streams = (choose_stream(container, "video"), choose_stream(container, "audio"))
    return [stream for stream in streams if stream is not None]


def _measure_end_from(container: InputContainer, seconds: float) -> float | None:
    """Return when the last packet ends, in seconds of the clip; seeks to ``seconds`` before.

    None where the container cannot seek.
    """
    streams, origin_seconds = choose_streams(container), find_origin(container)
    if not streams:
        return None

    # A seek beyond the last packet fails, or ends at the packets before it.
    assert streams[0].time_base is not None
    target = max(int((seconds + origin_seconds) / streams[0].time_base), 0)
    try:
        container.seek(target, stream=streams[0], backward=True)
        return _measure_end(container, *streams)
    except av.FFmpegError:
        return None


def _measure_end(container: InputContainer, *streams: VideoStream | AudioStream) -> float | None:
    """Return when the packets that follow end, in seconds of the clip; None: none has a time.

    A stream ends with the frame that is shown last. Where frames are stored in another order than
    they are shown, the durations of the packets before it are those of the storage.
    """
    ends: dict[int, tuple[int, float]] = {}  # by stream: timestamp and end of its last frame
    # Without a stream FFmpeg would read them all.
    for packet in iter_packets(container, *streams) if streams else ():
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            index = packet.stream.index
            ends[index] = max(ends.get(index, (packet.pts, end)), (packet.pts, end))

    if not ends:
        return None
    return max(end for _, end in ends.values()) - find_origin(container)


def find_picture_end(container: InputContainer) -> float | None:
    """Return when the last picture ends, in seconds of the clip.

    Of files without an index (see ``has_index``) the last packets of the video are read, so the
    container does not begin at the first packet again.

    Args:
        container: An open file.

    Returns:
        Seconds; None where there is no video, or nothing says when it ends.
    """
    video = choose_stream(container, "video")
    if video is None or video.time_base is None:
        return None

    origin_seconds = find_origin(container)
    if has_index(container):
        if _begins_late(video):
            with open_container(container.name) as fresh:
                return _measure_end(fresh, *choose_streams(fresh)[:1])

        if video.duration is None:
            return None
        stop = (video.start_time or 0) + video.duration
        return float(stop * video.time_base) - origin_seconds

    # A seek beyond the end leads to the last keyframe or to the last packet, or fails (FLV).
    with contextlib.suppress(av.FFmpegError):
        seconds = None
        if seeks_to_packets(container):
            end_seconds = (container.duration or 0) / av.time_base
            seconds = _measure_picture_end(container, video, end_seconds)
        if seconds is not None:  # a picture that is shown later can be stored before it
            return _measure_picture_end(container, video, seconds - _END_SECONDS)

    with open_container(container.name) as fresh:
        return _measure_end(fresh, *choose_streams(fresh)[:1])


def _measure_picture_end(
    container: InputContainer, video: VideoStream, start_seconds: float
) -> float | None:
    """Return when the last picture ends; reads packets from before a time of the clip on."""
    assert video.time_base is not None
    target = int((start_seconds + find_origin(container)) / video.time_base)
    container.seek(max(target, 0), stream=video, backward=True)
    return _measure_end(container, video)


def find_frame_rate(stream: VideoStream) -> Fraction:
    """Return the frames a second of a stream, FFmpeg's default where it does not say."""
    return stream.average_rate or stream.guessed_rate or _DEFAULT_RATE


def find_shown_frame(timestamps: Iterable[int], limit: int) -> int:
    """Return the timestamp of the frame that is shown at a time.

    Args:
        timestamps: Of the frames, in any order; at least one.
        limit: The last timestamp that is not later than the time (``StreamClock.find_limit``).

    Returns:
        The last timestamp that is not later than ``limit``; the first one where all are later.
    """
    timestamps = list(timestamps)
    return max((one for one in timestamps if one <= limit), default=min(timestamps))


@dataclass(frozen=True)
class StreamClock:
    """Translate between the timestamps of one stream and seconds on the clip's timeline."""

    origin_seconds: float
    # Seconds a tick, as two integers: arithmetic with fractions would take most of the time.
    numerator: int
    denominator: int

    @classmethod
    def from_stream(cls, stream: VideoStream, *, origin_seconds: float) -> "StreamClock":
        """Make the clock of a stream of a file whose zero is at ``origin_seconds``."""
        assert stream.time_base is not None
        return cls(origin_seconds, *stream.time_base.as_integer_ratio())

    def find_seconds(self, timestamp: int) -> float:
        """Return the time of a timestamp, in seconds on the clip's timeline."""
        return timestamp * self.numerator / self.denominator - self.origin_seconds

    def find_limit(self, seconds: float) -> int:
        """Return the last timestamp that counts as not later than a time of the clip."""
        moment = seconds + self.origin_seconds + _TIME_TOLERANCE_SECONDS
        ticks, divisor = moment.as_integer_ratio()
        return ticks * self.denominator // (divisor * self.numerator)
