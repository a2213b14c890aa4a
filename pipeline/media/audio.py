"""Decode windows of a clip's sound: mono, float32, resampled without clicks.

Windows are exact to the sample in containers that count samples (MP4, MOV, WAV, Ogg, FLAC, TS
within a tick) and to half a millisecond in those that count milliseconds (Matroska, WebM, FLV,
ASF). Little more than the window is decoded.

Some decoders carry a state or a noise generator from packet to packet (AAC, AC-3). So every window
needs a decoder that has decoded nothing else: its bytes must not depend on what was read before.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import soxr
from av.container import InputContainer

from earshot.errors import MediaError

# FFmpeg's names of sample formats, without the "p" of planar ones.
_DTYPES = {
    name: np.dtype(code)
    for name, code in zip(("u8", "s16", "s32", "s64", "flt", "dbl"), "Bhiqfd", strict=True)
}
# Decoded before a window so that lapped transforms, bit reservoirs and Opus (80 ms) have settled.
_PREROLL_SECONDS = 0.3
_MARGIN_SECONDS = 0.05  # around the window, for the resampling filter
_GAP_SECONDS = 0.05  # timestamps that are off by less are rounding (Matroska counts milliseconds)
# A packet that claims to be longer is wrong (Ogg that was cut) or ends with a pause.
_LONGEST_PACKET_SECONDS = 10.0


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


def read_window(
    container: InputContainer,
    stream: av.AudioStream,
    window: Window,
    *,
    sample_rate: int | None,
    is_within: bool = False,
) -> tuple[np.ndarray, int]:
    """Return what a stream has of a window.

    Args:
        container: The file.
        stream: Its sound, which must not have decoded anything yet.
        window: What is wanted.
        sample_rate: The rate of the result in Hz; None: the stream's own.
        is_within: Whether the stream is known to go on before and after the window. What it lacks
            is then a pause and becomes silence; the container must be at its beginning.

    Returns:
        The mean of the channels, float32 ``(num_samples,)``, and its rate in Hz. It is shorter than
        the window where the stream has nothing.

    Raises:
        MediaError: ``corrupt`` where the format of the sound changes on the way.
        av.FFmpegError: The file cannot be read.
    """
    # Samples are numbered from the clip's zero at the stream's own rate.
    decoded = _iter_decoded(container, stream, window, may_seek=not is_within)
    first, waveform, rate = _join(decoded, window)
    if rate is None:
        return np.zeros(0, np.float32), sample_rate or stream.codec_context.sample_rate

    start = round(window.start_seconds * rate)
    if is_within:
        stop = round(window.decode_stop_seconds * rate)
        first, waveform = _fill(first, waveform, start=start, stop=stop)

    # Nothing of the window, or its samples as they are, or resampled ones.
    target_rate = sample_rate or rate
    if start >= first + len(waveform):
        return np.zeros(0, np.float32), target_rate
    if target_rate == rate:
        num_wanted = round((window.stop_seconds - window.start_seconds) * rate)
        begin = max(start - first, 0)
        return waveform[begin : begin + max(num_wanted - max(first - start, 0), 0)], rate
    return _resample(first, waveform, window, rate=rate, target_rate=target_rate), target_rate


def needs_seek(stream: av.AudioStream, window: Window) -> bool:
    """Return whether a window is sought, rather than read from the beginning of the file."""
    return _find_first_pts(stream, window) > (stream.start_time or 0)


def tile(waveform: np.ndarray, num_samples: int) -> np.ndarray:
    """Repeat a waveform to ``num_samples``, as the published codes do with what is too short."""
    return np.resize(waveform, num_samples)


def find_extent(container: InputContainer, stream: av.AudioStream) -> tuple[float, float] | None:
    """Return the first and last moment of a stream's packets, without decoding them.

    Seconds of the file's own timestamps; None where the stream has no packets.
    """
    start, stop = math.inf, -math.inf
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size or packet.is_discard:
            continue
        begin = float(packet.pts * packet.time_base)
        length = float((packet.duration or 0) * packet.time_base)
        start = min(start, begin)
        stop = max(stop, begin + (length if length <= _LONGEST_PACKET_SECONDS else 0.0))
    return None if start == math.inf else (start, stop)


def _find_first_pts(stream: av.AudioStream, window: Window) -> int:
    """Return the timestamp at which decoding begins."""
    assert stream.time_base is not None
    seconds = window.start_seconds + window.origin_seconds - _PREROLL_SECONDS
    return int(seconds / float(stream.time_base))


def _iter_decoded(
    container: InputContainer, stream: av.AudioStream, window: Window, *, may_seek: bool
) -> Iterator[av.AudioFrame]:
    """Yield the frames of the packets that overlap a window, its preroll and its margin."""
    assert stream.time_base is not None
    seconds_per_tick = float(stream.time_base)
    first_pts = _find_first_pts(stream, window)
    stop_seconds = window.stop_seconds + window.origin_seconds + 2 * _MARGIN_SECONDS
    if may_seek and needs_seek(stream, window):
        container.seek(first_pts, stream=stream, backward=True)

    has_decoded = False
    for packet in container.demux(stream):
        if not has_decoded and _ends_by(packet, first_pts):
            continue

        try:
            frames = packet.decode()
        except av.FFmpegError:
            if has_decoded:
                raise
            continue  # a seek can land in the middle of a packet, and files can begin with junk

        for frame in frames:
            has_decoded = True
            yield frame
            if frame.pts is None:
                continue
            if frame.pts * seconds_per_tick + frame.samples / frame.sample_rate >= stop_seconds:
                return


def _ends_by(packet: av.Packet, pts: int) -> bool:
    """Return whether a packet is known to end by a timestamp, so that it need not be decoded."""
    if packet.pts is None or not packet.size:
        return False
    return packet.pts + (packet.duration or 0) <= pts


def _join(frames: Iterator[av.AudioFrame], window: Window) -> tuple[int, np.ndarray, int | None]:
    """Join frames to one mono waveform.

    Returns the number of its first sample, counted from the clip's zero, the waveform, and its
    rate (None where there are no frames).
    """
    joined: _JoinedFrames | None = None
    for frame in frames:
        if joined is None:
            joined = _JoinedFrames(frame, window)
        joined.add(frame)

    if joined is None:
        return 0, np.zeros(0, np.float32), None
    return joined.first_sample, joined.mix(), joined.rate


class _JoinedFrames:
    """Frames of one format that follow each other.

    Containers that count milliseconds give every frame a timestamp with a rounding of its own. So
    frames are joined seamlessly, and the median of what their timestamps say places the whole. Only
    real gaps are filled with silence, and only within the range that is decoded for the window:
    broken clocks make gaps of hours.
    """

    def __init__(self, frame: av.AudioFrame, window: Window):
        """Begin with the format of the first frame, which still has to be added."""
        self.rate = frame.sample_rate
        self._format = _get_format(frame)
        self._num_channels = frame.layout.nb_channels
        self._dtype = _DTYPES[frame.format.name.removesuffix("p")]
        num_tracks = self._num_channels if frame.format.is_planar else 1

        # Planar sound has one track a channel, other sound one track for all channels.
        self._tracks: list[list[np.ndarray]] = [[] for _ in range(num_tracks)]
        self._num_samples = 0
        # Where each frame's timestamp puts the first sample of the whole, counted from zero.
        self._offsets: list[int] = []

        assert frame.time_base is not None
        self._seconds_per_tick = float(frame.time_base)
        self._origin_seconds = window.origin_seconds
        self._start = round(window.decode_start_seconds * self.rate)
        range_seconds = window.decode_stop_seconds - window.decode_start_seconds
        self._max_silence = math.ceil(range_seconds * self.rate)

    @property
    def first_sample(self) -> int:
        """The number of the first sample, counted from the clip's zero."""
        return sorted(self._offsets)[len(self._offsets) // 2] if self._offsets else 0

    def add(self, frame: av.AudioFrame) -> None:
        """Append a frame, after silence where there is a gap, without what it repeats."""
        if _get_format(frame) != self._format:
            raise MediaError(
                "corrupt",
                f"its audio changes from {self.rate} Hz to {frame.sample_rate} Hz on the way",
            )

        planes = self._get_planes(frame)
        # A frame without a timestamp follows the one before.
        if frame.pts is not None:
            planes = self._place(frame.pts, planes)
        for track, plane in zip(self._tracks, planes, strict=True):
            track.append(plane)
        self._num_samples += len(planes[0])

    def _place(self, pts: int, planes: list[np.ndarray]) -> list[np.ndarray]:
        """Make room for samples with a timestamp; returns those that are new."""
        begin = round((pts * self._seconds_per_tick - self._origin_seconds) * self.rate)
        expected = self._offsets[-1] + self._num_samples if self._offsets else begin
        gap = begin - expected
        if abs(gap) <= _GAP_SECONDS * self.rate:
            self._offsets.append(begin - self._num_samples)
            return planes

        # What overlaps has been decoded already.
        if gap < 0:
            self._offsets.append(self._offsets[-1])
            return [plane[-gap:] for plane in planes]

        # What is before the window's range is not needed when the gap reaches into the range.
        if expected < self._start < begin:
            self._tracks = [[] for _ in self._tracks]
            self._num_samples = 0
            self._offsets = [self._start]
            gap = begin - self._start

        # The frame's offset stays the one before the gap, which silence now fills.
        num_silent = min(gap, self._max_silence)
        for track, plane in zip(self._tracks, planes, strict=True):
            shape = (num_silent, *plane.shape[1:])
            track.append(np.full(shape, _find_silence(self._dtype), self._dtype))
        self._num_samples += num_silent
        self._offsets.append(self._offsets[-1])
        return planes

    def _get_planes(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """View a frame's samples: ``(num_samples,)`` a track, or ``(num_samples, channels)``.

        Without PyAV's ``to_ndarray``, whose checks take longer than decoding.
        """
        count = frame.samples
        # Of eight channels PyAV names one plane more, which lies elsewhere in memory.
        planes = frame.planes[: len(self._tracks)]
        if len(self._tracks) == self._num_channels:
            return [_view(plane, self._dtype, count) for plane in planes]
        packed = _view(planes[0], self._dtype, count * self._num_channels)
        return [packed.reshape(count, self._num_channels)]

    def mix(self) -> np.ndarray:
        """Return the mean of the channels: float32, in [-1, 1] for integer formats."""
        tracks = [np.concatenate(track) for track in self._tracks]
        # To (channels, num_samples), without a copy where there is one track.
        if tracks[0].ndim == 2:
            channels = tracks[0].T
        else:
            channels = tracks[0][None] if len(tracks) == 1 else np.stack(tracks)

        is_mono = len(channels) == 1
        mono = channels[0] if is_mono else channels.mean(axis=0, dtype=np.float32)
        mono = mono.astype(np.float32)
        if self._dtype.kind in "iu":
            full_scale = np.float32(1 << (8 * self._dtype.itemsize - 1))
            mono = (mono - _find_silence(self._dtype)) / full_scale
        return mono


def _get_format(frame: av.AudioFrame) -> tuple[int, str, int]:
    return frame.sample_rate, frame.format.name, frame.layout.nb_channels


def _view(plane: av.plane.Plane, dtype: np.dtype, count: int) -> np.ndarray:
    # PyAV's stubs do not say that a plane is a buffer.
    return np.frombuffer(plane, dtype, count)  # type: ignore[call-overload]


def _find_silence(dtype: np.dtype) -> int:
    return 128 if dtype == np.uint8 else 0


def _fill(first: int, waveform: np.ndarray, *, start: int, stop: int) -> tuple[int, np.ndarray]:
    """Put silence before and after a waveform so that it has all of [start, stop).

    ``first`` is the number of its first sample; returned with the waveform.
    """
    if not start - len(waveform) < first < stop:
        return start, np.zeros(stop - start, np.float32)

    num_before, num_after = max(first - start, 0), max(stop - first - len(waveform), 0)
    silences = np.zeros(num_before, np.float32), np.zeros(num_after, np.float32)
    return min(first, start), np.concatenate([silences[0], waveform, silences[1]])


def _resample(
    first: int, waveform: np.ndarray, window: Window, *, rate: int, target_rate: int
) -> np.ndarray:
    """Resample a waveform to the samples of a window.

    ``first`` is the number of the waveform's first sample, counted from the clip's zero.
    """
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
