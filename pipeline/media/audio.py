"""Windows of a clip's audio, mono and float32, resampled without clicks, decoding little more than the window.

Windows are exact to the sample in containers that count samples (MP4, MOV, WAV, Ogg, FLAC, TS within a tick) and to
half a millisecond in those that count milliseconds (Matroska, WebM, FLV, ASF).

Some decoders carry state or noise generators from packet to packet (AAC, AC-3), so a window is always decoded by a
decoder that has decoded nothing else: its bytes do not depend on what was read before it.
"""

import math
from collections.abc import Iterator

import av
import numpy as np
import soxr

from earshot.errors import MediaError

_DTYPES = {
    name: np.dtype(code)
    for name, code in zip(("u8", "s16", "s32", "s64", "flt", "dbl"), "Bhiqfd", strict=True)
}
_PREROLL_SECONDS = (
    0.3  # lets lapped transforms, bit reservoirs and Opus (80 ms) settle before the window
)
_MARGIN_SECONDS = 0.05  # around the window, for the resampling filter
_GAP_SECONDS = 0.05  # timestamps that are off by less are rounding (Matroska counts milliseconds)
MISSING_SECONDS = 0.05  # a window that lacks less is filled up, one that lacks more is shifted
_LONGEST_PACKET_SECONDS = 10.0  # what says more (Ogg that was cut) is wrong, or ends with a pause


def read_window(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    *,
    origin_seconds: float,
    start_seconds: float,
    stop_seconds: float,
    sample_rate: int | None,
    is_within: bool = False,
) -> tuple[np.ndarray, int]:
    """What the stream has of the half-open range [start_seconds, stop_seconds) of the clip's timeline.

    Returns the mono waveform, float32 ``(num_samples,)``, mean of the channels, and its rate (``sample_rate``, or the
    native one for None). It is shorter than the range where the stream has nothing. ``is_within``: the stream is known
    to go on before and after, so that what it lacks is a pause: silence; nothing is sought then. ``stream`` must not
    have decoded anything yet.
    """
    decoded = _decode_from(
        container,
        stream,
        start=start_seconds + origin_seconds - _PREROLL_SECONDS,
        stop=stop_seconds + origin_seconds + 2 * _MARGIN_SECONDS,
        may_seek=not is_within,
    )
    first, waveform, rate = _join(
        decoded,
        origin_seconds=origin_seconds,
        start_seconds=start_seconds - _PREROLL_SECONDS,
        stop_seconds=stop_seconds + 2 * _MARGIN_SECONDS,
    )
    if rate is None:
        return np.zeros(0, np.float32), sample_rate or stream.codec_context.sample_rate
    target_rate = sample_rate or rate
    start = round(start_seconds * rate)
    num_wanted = round((stop_seconds - start_seconds) * target_rate)
    if is_within:
        first, waveform = _fill(
            first, waveform, start=start, stop=round((stop_seconds + 2 * _MARGIN_SECONDS) * rate)
        )
    if start >= first + len(waveform):
        return np.zeros(0, np.float32), target_rate
    if target_rate == rate:
        begin = max(start - first, 0)
        return waveform[begin : begin + max(num_wanted - max(first - start, 0), 0)], rate
    # The resampled grid is laid so that the window's first sample is a sample of it: begin a whole number of periods
    # of the two rates before.
    divisor = math.gcd(rate, target_rate)
    period, target_period = rate // divisor, target_rate // divisor
    num_periods = max(0, min(-(-int(_MARGIN_SECONDS * rate) // period), (start - first) // period))
    begin = max(start, first) - num_periods * period
    stop = start + round((stop_seconds - start_seconds + _MARGIN_SECONDS) * rate)
    resampled = soxr.resample(
        waveform[begin - first : max(stop - first, 0)], rate, target_rate, quality="HQ"
    )
    lead = num_periods * target_period
    num_missing = round(max(first - start, 0) / rate * target_rate)
    cut = resampled[lead : lead + max(num_wanted - num_missing, 0)]
    return np.ascontiguousarray(cut, np.float32), target_rate


def needs_seek(stream: av.AudioStream, *, start_seconds: float, origin_seconds: float) -> bool:
    """Whether a window is sought, rather than read from the beginning of the file."""
    start = start_seconds + origin_seconds - _PREROLL_SECONDS
    return _lies_within(stream, int(start / float(stream.time_base)))


def _lies_within(stream: av.AudioStream, pts: int) -> bool:
    return pts > (stream.start_time or 0)


def tile(waveform: np.ndarray, num_samples: int) -> np.ndarray:
    """Repeat a waveform to ``num_samples``, as the published codes do with what is too short."""
    return np.resize(waveform, num_samples)


def find_extent(
    container: av.container.InputContainer, stream: av.AudioStream
) -> tuple[float, float] | None:
    """First and last moment of the stream's packets, in seconds of its own timestamps, without decoding."""
    start = stop = None
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size or packet.is_discard:
            continue
        begin = float(packet.pts * packet.time_base)
        length = float((packet.duration or 0) * packet.time_base)
        end = begin + (length if length <= _LONGEST_PACKET_SECONDS else 0.0)
        start = begin if start is None else min(start, begin)
        stop = end if stop is None else max(stop, end)
    return None if start is None else (start, stop)


def _decode_from(
    container, stream, *, start: float, stop: float, may_seek: bool
) -> Iterator[av.AudioFrame]:
    """Frames of the packets that overlap [start, stop) of the stream's own timestamps, in seconds."""
    seconds_per_tick = float(stream.time_base)
    first_pts = int(start / seconds_per_tick)
    if may_seek and _lies_within(stream, first_pts):
        container.seek(first_pts, stream=stream, backward=True)
    has_decoded = False
    for packet in container.demux(stream):
        is_searching = not has_decoded and packet.pts is not None and packet.size
        if is_searching and packet.pts + (packet.duration or 0) <= first_pts:
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
            if (
                frame.pts is not None
                and frame.pts * seconds_per_tick + frame.samples / frame.sample_rate >= stop
            ):
                return


def _join(
    frames: Iterator[av.AudioFrame],
    *,
    origin_seconds: float,
    start_seconds: float,
    stop_seconds: float,
) -> tuple[int, np.ndarray, int | None]:
    """Join frames to one waveform: its first sample's number on the clip's timeline, the waveform, the rate.

    Containers that count milliseconds give every frame a timestamp of its own rounding; frames are joined seamlessly
    and the median of what their timestamps say places the whole. Only real gaps are filled, with silence, and only
    within the range [start_seconds, stop_seconds) that was asked for (broken clocks make gaps of hours).
    """
    tracks: list[list[np.ndarray]] = []  # of planar audio one a channel, else one for all
    offsets: list[int] = []  # timestamp minus the number of samples before, of each frame
    rate = layout = None
    num_samples = 0
    for frame in frames:
        if rate is None:
            rate, layout = frame.sample_rate, (frame.format.name, frame.layout.nb_channels)
            seconds_per_tick = float(frame.time_base)
            num_channels = layout[1]
            dtype = _DTYPES[layout[0].removesuffix("p")]
            tracks = [[] for _ in range(num_channels if frame.format.is_planar else 1)]
        elif (frame.sample_rate, frame.format.name, frame.layout.nb_channels) != (rate, *layout):
            raise MediaError(
                "corrupt", f"its audio changes from {rate} Hz to {frame.sample_rate} Hz on the way"
            )
        samples = _view(frame, dtype, num_planes=len(tracks), num_channels=num_channels)
        num_new = frame.samples
        if frame.pts is not None:
            offset = round((frame.pts * seconds_per_tick - origin_seconds) * rate) - num_samples
            gap = offset - offsets[-1] if offsets else 0
            if gap > _GAP_SECONDS * rate:
                stopped, start = offsets[-1] + num_samples, round(start_seconds * rate)
                if stopped < start < stopped + gap:  # what was before is not asked for
                    tracks, num_samples = [[] for _ in tracks], 0
                    gap, offset, offsets = stopped + gap - start, stopped + gap, [start]
                num_silent = min(gap, math.ceil((stop_seconds - start_seconds) * rate))
                for track, plane in zip(tracks, samples, strict=True):
                    track.append(np.full((num_silent, *plane.shape[1:]), _silence(dtype), dtype))
                num_samples += num_silent
                offset -= gap
            elif -gap > _GAP_SECONDS * rate:
                samples = [plane[-gap:] for plane in samples]
                num_new = len(samples[0])
                offset -= gap
            offsets.append(offset)
        for track, plane in zip(tracks, samples, strict=True):
            track.append(plane)
        num_samples += num_new
    if not tracks:
        return 0, np.zeros(0, np.float32), rate
    first = sorted(offsets)[len(offsets) // 2] if offsets else 0
    joined = [np.concatenate(track) for track in tracks]
    is_packed = joined[0].ndim == 2
    return (
        first,
        _mix(
            joined[0].T if is_packed else joined[0][None] if len(joined) == 1 else np.stack(joined)
        ),
        rate,
    )


def _fill(first: int, waveform: np.ndarray, *, start: int, stop: int) -> tuple[int, np.ndarray]:
    """A waveform that begins with sample ``first``, with silence before and after so that it has [start, stop)."""
    if not start - len(waveform) < first < stop:
        return start, np.zeros(stop - start, np.float32)
    silence = [
        np.zeros(max(count, 0), np.float32)
        for count in (first - start, stop - first - len(waveform))
    ]
    return min(first, start), np.concatenate([silence[0], waveform, silence[1]])


def _view(
    frame: av.AudioFrame, dtype: np.dtype, *, num_planes: int, num_channels: int
) -> list[np.ndarray]:
    """The frame's planes, ``(num_samples,)`` of one channel each, or one ``(num_samples, channels)`` of all.

    Without PyAV's ``to_ndarray``, whose checks take longer than decoding.
    """
    count = frame.samples
    planes = frame.planes[
        :num_planes
    ]  # of eight channels PyAV names one more, which lies elsewhere in memory
    if num_planes == num_channels:
        return [np.frombuffer(plane, dtype, count) for plane in planes]
    return [np.frombuffer(planes[0], dtype, count * num_channels).reshape(count, num_channels)]


def _silence(dtype: np.dtype) -> int:
    return 128 if dtype == np.uint8 else 0


def _mix(samples: np.ndarray) -> np.ndarray:
    """Mean over the channels of ``(channels, num_samples)``: float32, in [-1, 1] for integer formats."""
    mono = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    mono = mono.astype(np.float32)
    if samples.dtype.kind in "iu":
        mono = (mono - _silence(samples.dtype)) / np.float32(1 << (8 * samples.dtype.itemsize - 1))
    return mono
