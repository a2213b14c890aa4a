"""Read what the streams of a file hold: packets, pictures, sound. What `validate_clip` judges by.

A file of up to a minute is read to its end; of a longer one three windows, at the beginning, in the
middle and at the end. All packets of these are read, and all sound is decoded. Of the pictures
there are two ways:

- all of them;
- once a picture differs enough from the first one, a few more. Until then all pictures are decoded
  that are compared, and those that they may refer to, so that whether a clip is still is found in
  the same way. Later pictures lack those that they refer to. They are not looked at: what counts is
  whether their packets can be decoded at all. The decoder takes the packets between them apart
  without decoding them.

The second way takes a small part of the time (``docs/lab/media.md``). It tells what it cannot vouch
for (``StreamContent.is_doubtful``).
"""

import math
from dataclasses import dataclass

import av
import av.error
import numpy as np
from av import AudioStream, VideoStream
from av.audio.frame import format_dtypes
from av.container import InputContainer

from pipeline.media.files.container import iter_packets
from pipeline.media.files.timeline import find_origin
from pipeline.media.pictures.frame import Orientation
from pipeline.media.pictures.packet_run import DROPPABLE_CODECS

_WHOLE_SECONDS = 60.0  # longer files are decoded in windows
_WINDOW_SECONDS = 5.0  # of each of the three windows
_STILL_INTERVAL_SECONDS = 0.25  # between the pictures that are compared for `still`
_STILL_SIZE = (64, 36)  # width and height to which they shrink
_MOVING_DIFFERENCE = 60.0  # grey levels: certainly not still
_ROUNDING_SECONDS = 1e-3  # by which the times of a packet and of its picture may differ
# Between packets that are decoded where most are not: at least five in a clip, so that one of them
# is damaged wherever a fifth of the packets in a row is.
_TRIAL_INTERVAL_SECONDS = 2.0
_TRIAL_INTERVAL_PART = 0.2


@dataclass(frozen=True)
class Enough:
    """What settles the flags of a clip."""

    difference: float  # grey levels between two pictures: the clip is not still
    peak: float  # of full scale: the clip is not silent


@dataclass
class StreamContent:
    """What reading a stream has shown so far. Seconds are on the clip's timeline."""

    num_packets: int = 0
    num_broken: int = 0
    num_frames: int = 0
    num_marked: int = 0  # packets that the container marks as damaged
    last_seconds: float = -math.inf  # end of the last packet
    # Sound
    sample_rate: int | None = None  # Hz, at the beginning
    peak: float = 0.0  # of full scale
    # Pictures
    picture: np.ndarray | None = None  # the first one, small and grey
    picture_seconds: float = -math.inf  # of the last one that was compared with the first
    difference: float = 0.0  # the largest one, in grey levels
    size: tuple[int, int] | None = None  # height and width of the first one, as it is stored
    is_transposed: bool = False  # the first one lies on its side
    is_settled: bool = False  # not every picture is decoded any longer
    trial_interval_seconds: float = 0.0
    trial_seconds: float = -math.inf  # of the last packet that was decoded

    @property
    def is_doubtful(self) -> bool:
        """Whether only decoding all of the stream can tell whether it is whole."""
        return self.num_broken > 0 or self.num_marked > 0 or self.num_frames == 0


def read_content(
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    duration_seconds: float,
    *,
    enough: Enough | None,
) -> tuple[dict[int, StreamContent], bool]:
    """Read a file, or windows of it.

    Args:
        container: The file, opened anew.
        video, audio: Its streams.
        duration_seconds: How long the clip is.
        enough: What need not be looked for once it is found. From then on few pictures are
            decoded. None: all are.

    Returns:
        What each stream holds, by its index, and whether the file's end was seen.
    """
    streams = [stream for stream in (video, audio) if stream is not None]
    contents = {stream.index: StreamContent() for stream in streams}
    # A share of short clips, so that they are tried several times as well.
    contents[video.index].trial_interval_seconds = min(
        _TRIAL_INTERVAL_SECONDS, _TRIAL_INTERVAL_PART * duration_seconds
    )

    if duration_seconds <= _WHOLE_SECONDS:
        _read_window(container, streams, contents, enough, stop_seconds=None)
        return contents, True

    origin_seconds = find_origin(container)
    last_start_seconds = duration_seconds - _WINDOW_SECONDS

    for start_seconds in (0.0, last_start_seconds / 2, last_start_seconds):
        if start_seconds > 0:
            try:
                container.seek(round((origin_seconds + start_seconds) * av.time_base))
            except av.error.FFmpegError:
                return contents, False  # not every container can seek; its beginning is whole

        is_last = start_seconds == last_start_seconds
        # The first picture of each window is compared, whatever time it has.
        for content in contents.values():
            content.picture_seconds = -math.inf
        _read_window(
            container,
            streams,
            contents,
            enough,
            stop_seconds=None if is_last else start_seconds + _WINDOW_SECONDS,
        )
    return contents, True


def _read_window(
    container: InputContainer,
    streams: list[VideoStream | AudioStream],
    contents: dict[int, StreamContent],
    enough: Enough | None,
    *,
    stop_seconds: float | None,
) -> None:
    """Read from the container's position to a time on the clip's timeline.

    None: to the end. Of that, a minute is decoded and the packets of the rest are only looked at.
    """
    origin_seconds = find_origin(container)
    # Multiplying fractions would take longer than reading the packets.
    ticks = {stream.index: float(stream.time_base or 0) for stream in streams}

    num_seconds = 0.0  # read so far
    first_seconds = None

    for packet in iter_packets(container, *streams):
        index = packet.stream.index
        content, tick = contents[index], ticks[index]
        if enough is not None and packet.stream.type == "video":
            _choose_pictures(packet, content, tick)
        if packet.pts is not None and tick:
            seconds = packet.pts * tick - origin_seconds
            first_seconds = seconds if first_seconds is None else first_seconds
            num_seconds = max(num_seconds, seconds - first_seconds)
            end_seconds = seconds + (packet.duration or 0) * tick
            content.last_seconds = max(content.last_seconds, end_seconds)
            if stop_seconds is not None and seconds > stop_seconds:
                break

        # A header can announce a minute where there are hours.
        if stop_seconds is None and num_seconds > _WHOLE_SECONDS:
            continue
        _decode_packet(packet, content, enough)


def _choose_pictures(packet: av.Packet, content: StreamContent, tick: float) -> None:
    """Let the decoder skip pictures that need not be looked at."""
    codec = packet.stream.codec_context
    if packet.pts is None:
        codec.skip_frame = "DEFAULT"
        return

    seconds = packet.pts * tick  # by the file's own clock, like `picture_seconds`
    if content.is_settled:
        # Now and then one is tried.
        is_wanted = seconds - content.trial_seconds >= content.trial_interval_seconds
        others = "ALL"
    else:
        # The next one that is compared, and all that it may refer to.
        next_seconds = content.picture_seconds + _STILL_INTERVAL_SECONDS
        is_wanted = seconds >= next_seconds - _ROUNDING_SECONDS
        others = "NONREF" if codec.name in DROPPABLE_CODECS else "DEFAULT"
    codec.skip_frame = "DEFAULT" if is_wanted else others
    if is_wanted:
        content.trial_seconds = seconds


def _decode_packet(packet: av.Packet, content: StreamContent, enough: Enough | None) -> None:
    if packet.size:
        content.num_packets += 1
        content.num_marked += packet.is_corrupt
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        content.num_broken += 1
        return

    for frame in frames:
        content.num_frames += 1
        if isinstance(frame, av.VideoFrame):
            _compare_picture(frame, content)
            content.is_settled = enough is not None and content.difference > enough.difference
            continue

        assert isinstance(frame, av.AudioFrame)
        content.sample_rate = content.sample_rate or packet.stream.codec_context.sample_rate
        if enough is None or content.peak < enough.peak:
            content.peak = max(content.peak, _find_peak(frame))


def _compare_picture(frame: av.VideoFrame, content: StreamContent) -> None:
    """Compare a picture with the first one, so that a slow drift adds up."""
    if content.size is None:
        content.size = frame.height, frame.width
        content.is_transposed = Orientation.from_frame(frame).is_transposed

    # By the file's own clock, which begins anywhere: only the distance of two pictures counts.
    seconds = frame.time
    if seconds is not None:
        if seconds - content.picture_seconds < _STILL_INTERVAL_SECONDS:
            return
        content.picture_seconds = seconds
    if content.difference > _MOVING_DIFFERENCE:
        return  # it moves; there is nothing more to find out

    width, height = _STILL_SIZE
    picture = frame.reformat(width, height, format="gray").to_ndarray().astype(np.float32)
    if content.picture is None:
        content.picture = picture
    content.difference = max(content.difference, float(np.abs(picture - content.picture).max()))


def _find_peak(frame: av.AudioFrame) -> float:
    """Return the largest absolute sample of any channel, as a fraction of full scale."""
    # Of eight and more channels PyAV names planes that lie elsewhere in memory, and its
    # `to_ndarray` reads them.
    num_channels, is_planar = frame.layout.nb_channels, frame.format.is_planar
    dtype = np.dtype(format_dtypes[frame.format.name])

    count = frame.samples * (1 if is_planar else num_channels)
    planes = frame.planes[: num_channels if is_planar else 1]
    return max((_find_plane_peak(plane, dtype, count) for plane in planes), default=0.0)


def _find_plane_peak(plane: av.plane.Plane, dtype: np.dtype, count: int) -> float:
    # PyAV's stubs do not say that a plane is a buffer.
    samples = np.frombuffer(plane, dtype, count)  # type: ignore[call-overload]
    if samples.size == 0:
        return 0.0

    if dtype.kind == "f":
        # Damaged floats can be NaN, and every comparison with NaN is false.
        return float(np.nan_to_num(np.abs(samples), nan=0.0).max())

    # Integer samples; those of eight bits have their zero at 128.
    full_scale = float(1 << (8 * dtype.itemsize - 1))
    middle = full_scale if dtype == np.uint8 else 0.0
    return float(np.abs(samples.astype(np.float64) - middle).max()) / full_scale
