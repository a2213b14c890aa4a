"""Decode windows of a clip's sound: mono, float32, resampled without clicks.

Windows are exact to the sample in containers that count samples (MP4, MOV, WAV, Ogg, FLAC; in TS
to a tick). They are exact to half a millisecond in containers that count milliseconds (Matroska,
WebM, FLV, ASF). Little more than the window is decoded.

Some decoders keep a state or a noise generator from packet to packet (AAC, AC-3). The samples of a
window must not depend on what was read before. So every window needs a new decoder.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av
import av.error
import numpy as np
import soxr
from av.container import InputContainer

from earshot.errors import MediaError
from pipeline.media.files.container import iter_packets, seeks_to_packets
from pipeline.media.sound.audio_frames import Sound, Stretch, join
from pipeline.media.sound.packet_scan import DecoderChange, find_changes

# Decoding begins so early that lapped transforms, bit reservoirs and Opus (80 ms) have settled.
_PREROLL_SECONDS = 0.3
# LATM repeats the settings of its decoder only now and then.
_LATM_PREROLL_SECONDS = 3.0
_MARGIN_SECONDS = 0.05  # around the window, for the resampling filter
# Lost packets are silence. A window that has lost more than this fraction is refused.
_MAX_LOST_FRACTION = 0.2
# For these, FFmpeg sets the rate after it has made a frame: the first frame has the old rate.
_LATE_RATE_CODECS = frozenset({"mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float"})


@dataclass(frozen=True)
class Window:
    """The half-open range [start_seconds, stop_seconds) of the clip's timeline."""

    start_seconds: float
    stop_seconds: float
    # The time, by the file's own timestamps, that is zero on the clip's timeline.
    origin_seconds: float

    @property
    def decode_start_seconds(self) -> float:
        """Where decoding begins, so that the decoder has settled at the window's start."""
        return self.start_seconds - _PREROLL_SECONDS

    @property
    def decode_stop_seconds(self) -> float:
        """Where decoding stops: the resampling filter needs a little beyond the window's end."""
        return self.stop_seconds + 2 * _MARGIN_SECONDS


class Part(NamedTuple):
    """What a stream has of a window."""

    waveform: np.ndarray  # mono float32 (num_samples,)
    # By how much it begins after the window does.
    late_seconds: float


_NOTHING = Part(np.zeros(0, np.float32), 0.0)


def read_window(
    container: InputContainer,
    stream: av.AudioStream,
    window: Window,
    *,
    sample_rate: int,
    changes: Sequence[DecoderChange] = (),
    is_within: bool = False,
) -> Part:
    """Return what a stream has of a window.

    Args:
        container: The file.
        stream: Its sound, which must not have decoded anything yet.
        window: What is wanted.
        sample_rate: The rate of the result in Hz.
        changes: Of the decoder in the whole stream, for containers that lose changes
            (``packet_scan.py``).
        is_within: Whether the stream is known to go on before and after the window. Then missing
            samples are a pause and become silence. The container must be at its beginning.

    Returns:
        The mean of the channels. It is shorter than the window where the stream has nothing.

    Raises:
        MediaError: ``corrupt`` where too much of the window cannot be decoded.
        av.FFmpegError: The file cannot be read.
    """
    decoded = _iter_decoded(container, stream, window, changes=changes, may_seek=not is_within)
    stretches = _collect_stretches(decoded, window)
    if not stretches:
        return _NOTHING

    # Samples are numbered from the clip's zero, at the stream's own rate where it has one rate.
    sound = join(
        [sound for stretch in stretches for sound in stretch.mix()],
        rate=sample_rate,
        start_seconds=window.decode_start_seconds,
        stop_seconds=window.decode_stop_seconds,
    )

    first, waveform, rate = sound.first_sample, sound.waveform, sound.rate
    start = round(window.start_seconds * rate)
    if is_within:
        stop = round(window.decode_stop_seconds * rate)
        first, waveform = _fill(first, waveform, start=start, stop=stop)

    # Nothing of the window, or its samples as they are, or resampled ones.
    if start >= first + len(waveform):
        return _NOTHING
    late_seconds = max(first - start, 0) / rate
    if sample_rate == rate:
        num_wanted = round((window.stop_seconds - window.start_seconds) * rate)
        begin = max(start - first, 0)
        waveform = waveform[begin : begin + max(num_wanted - max(first - start, 0), 0)]
        return Part(waveform, late_seconds)
    sound = Sound(first, waveform, rate)
    return Part(_resample(sound, window, target_rate=sample_rate), late_seconds)


def needs_seek(stream: av.AudioStream, window: Window) -> bool:
    """Return whether to seek to a window instead of reading from the beginning of the file."""
    container = stream.container
    assert isinstance(container, InputContainer)
    is_late = _find_first_pts(stream, window) > (stream.start_time or 0)
    return is_late and seeks_to_packets(container)


def tile(waveform: np.ndarray, num_samples: int) -> np.ndarray:
    """Repeat a waveform to ``num_samples``, as the published codes do with short sounds."""
    return np.resize(waveform, num_samples)


def find_rate(container: InputContainer, stream: av.AudioStream) -> int:
    """Return the sample rate in Hz that a stream begins with, from the beginning of the file."""
    for _, frame in _decode(iter_packets(container, stream), stream):
        if frame is not None:
            return frame.sample_rate
    return stream.codec_context.sample_rate


def _find_first_pts(stream: av.AudioStream, window: Window) -> int:
    """Return the timestamp at which decoding begins."""
    assert stream.time_base is not None
    is_latm = stream.codec_context.name == "aac_latm"
    preroll_seconds = _LATM_PREROLL_SECONDS if is_latm else _PREROLL_SECONDS
    seconds = window.start_seconds + window.origin_seconds - preroll_seconds
    return int(seconds / float(stream.time_base))


class _Decoded(NamedTuple):
    """A packet with one of its frames; None: it cannot be decoded."""

    packet: av.Packet
    frame: av.AudioFrame | None


def _iter_decoded(
    container: InputContainer,
    stream: av.AudioStream,
    window: Window,
    *,
    changes: Sequence[DecoderChange],
    may_seek: bool,
) -> Iterator[_Decoded]:
    """Decode the packets that overlap a window with its preroll and its margin."""
    assert stream.time_base is not None
    seconds_per_tick = float(stream.time_base)
    stop_seconds = window.decode_stop_seconds + window.origin_seconds

    if may_seek and needs_seek(stream, window):
        target = _find_first_pts(stream, window)
        try:
            container.seek(target, stream=stream, backward=True)
        except av.error.PermissionError:
            # The index of Matroska has no packet so early: the sound begins later.
            container.seek(0, backward=True)

    for decoded in _decode(_iter_packets(container, stream, window, changes), stream):
        yield decoded
        frame = decoded.frame
        if frame is None or frame.pts is None:
            continue
        if frame.pts * seconds_per_tick + frame.samples / frame.sample_rate >= stop_seconds:
            return


def _iter_packets(
    container: InputContainer,
    stream: av.AudioStream,
    window: Window,
    changes: Sequence[DecoderChange],
) -> Iterator[av.Packet]:
    """Yield packets from where decoding begins; the first packet carries the earlier changes."""
    first_pts = _find_first_pts(stream, window)
    # The last change of each kind that lies before the first packet.
    pending: dict[str, DecoderChange] = {}
    has_begun = False
    for packet in iter_packets(container, stream):
        if not has_begun:
            passed = [one for one in changes if packet.pts is not None and one.pts <= packet.pts]
            pending |= {one.side_data.data_type: one for one in passed + find_changes(packet)}
            if _ends_by(packet, first_pts):
                continue
            has_begun = True
            for change in pending.values():
                packet.set_sidedata(change.side_data)

        yield packet


def _decode(packets: Iterator[av.Packet], stream: av.AudioStream) -> Iterator[_Decoded]:
    has_decoded = False
    clock = _CountedClock(stream)
    for packet in packets:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            clock.stop()
            # A seek can land in the middle of a packet, and files can begin with junk.
            if has_decoded:
                yield _Decoded(packet, None)
            continue

        for frame in frames:
            has_decoded = True
            assert isinstance(frame, av.AudioFrame)
            if stream.codec_context.name in _LATE_RATE_CODECS:
                frame.sample_rate = stream.codec_context.sample_rate
            clock.correct(packet, frame)
            yield _Decoded(packet, frame)


class _CountedClock:
    """Correct the times that FFmpeg counts where the sample rate changes on the way.

    MPEG-TS and MPEG-PS can give one time for several frames. FFmpeg counts the times of the others,
    with the sample rate that was before the change.
    """

    def __init__(self, stream: av.AudioStream):
        """Begin with a stream that has not decoded anything yet."""
        self._is_counted = stream.container.format.name in ("mpegts", "mpeg")
        # More than one where the rate changes.
        self._rates = {stream.codec_context.sample_rate}
        self._next_seconds: float | None = None  # where the last frame ends; None: unknown

    def stop(self) -> None:
        """Note that a frame is lost."""
        self._next_seconds = None

    def correct(self, packet: av.Packet, frame: av.AudioFrame) -> None:
        """Give a frame whose time was counted the time at which the frame before it ends."""
        if not self._is_counted or frame.pts is None or frame.time_base is None:
            return

        seconds = float(frame.pts * frame.time_base)
        # FFmpeg knows the position of those packets alone that have a time in the file.
        self._rates.add(frame.sample_rate)
        is_counted = packet.pos is None and len(self._rates) > 1
        if is_counted and self._next_seconds is not None:
            seconds = self._next_seconds
            frame.pts = round(seconds / frame.time_base)
        self._next_seconds = seconds + frame.samples / frame.sample_rate


def _collect_stretches(decoded: Iterator[_Decoded], window: Window) -> list[Stretch]:
    """Join frames to stretches of one format without a lost packet.

    Raises:
        MediaError: ``corrupt`` where too much is lost.
    """
    stretches: list[Stretch] = []
    is_broken = True  # the next frame begins a stretch
    lost_seconds = 0.0
    for packet, frame in decoded:
        if frame is None:
            is_broken = True
            lost_seconds += _measure_overlap(packet, window)
            continue

        if is_broken or not stretches[-1].fits(frame):
            stretches.append(
                Stretch(
                    frame,
                    origin_seconds=window.origin_seconds,
                    start_seconds=window.decode_start_seconds,
                    stop_seconds=window.decode_stop_seconds,
                    follows_loss=is_broken and bool(stretches),
                )
            )
            is_broken = False
        stretches[-1].add(frame)

    length = window.stop_seconds - window.start_seconds
    if lost_seconds > _MAX_LOST_FRACTION * length:
        raise MediaError(
            "corrupt", f"{lost_seconds:.2f} s of {length:.2f} s of its audio cannot be decoded"
        )
    return stretches


def _measure_overlap(packet: av.Packet, window: Window) -> float:
    """Return how many seconds of a window a packet covers."""
    if packet.pts is None:
        return 0.0

    begin = float(packet.pts * packet.time_base) - window.origin_seconds
    end = begin + float((packet.duration or 0) * packet.time_base)
    return max(min(end, window.stop_seconds) - max(begin, window.start_seconds), 0.0)


def _ends_by(packet: av.Packet, pts: int) -> bool:
    """Return whether a packet is known to end by a timestamp, so that it need not be decoded."""
    if packet.pts is None or not packet.size:
        return False
    return packet.pts + (packet.duration or 0) <= pts


def _fill(first: int, waveform: np.ndarray, *, start: int, stop: int) -> tuple[int, np.ndarray]:
    """Put silence before and after a waveform so that it has all of [start, stop).

    ``first`` is the number of its first sample; returned with the waveform.
    """
    if not start - len(waveform) < first < stop:
        return start, np.zeros(stop - start, np.float32)

    num_before, num_after = max(first - start, 0), max(stop - first - len(waveform), 0)
    silences = np.zeros(num_before, np.float32), np.zeros(num_after, np.float32)
    return min(first, start), np.concatenate([silences[0], waveform, silences[1]])


def _resample(sound: Sound, window: Window, *, target_rate: int) -> np.ndarray:
    """Resample a sound to the samples of a window."""
    first, waveform, rate = sound.first_sample, sound.waveform, sound.rate
    length = window.stop_seconds - window.start_seconds
    start = round(window.start_seconds * rate)

    # The window's first sample must lie on the resampled grid, so the resampler begins a whole
    # number of common periods of the two rates before it.
    divisor = math.gcd(rate, target_rate)
    period, target_period = rate // divisor, target_rate // divisor
    num_margin_periods = -(-int(_MARGIN_SECONDS * rate) // period)
    num_periods = max(0, min(num_margin_periods, (start - first) // period))
    begin = max(start, first) - num_periods * period
    stop = start + round((length + _MARGIN_SECONDS) * rate)
    resampled = soxr.resample(
        waveform[begin - first : max(stop - first, 0)], rate, target_rate, quality="HQ"
    )

    # Cut the margin off; a waveform that begins late gives fewer samples.
    lead = num_periods * target_period
    num_missing = round(max(first - start, 0) / rate * target_rate)

    num_wanted = round(length * target_rate)
    cut = resampled[lead : lead + max(num_wanted - num_missing, 0)]
    return np.ascontiguousarray(cut, np.float32)
