"""Put decoded sound in its place: mono samples, numbered from the clip's zero.

The sound of a file can change its rate, its channels and its sample format (broadcasts do), and
packets can be lost. The frames between two such breaks are a `Stretch`: they have one format and
follow each other. A stretch is placed by its own timestamps, so it keeps its place if packets
before it were lost.
"""

import itertools
import math
from dataclasses import dataclass

import av
import numpy as np
import soxr

# FFmpeg's names of sample formats, without the "p" of planar ones.
_DTYPES = {
    name: np.dtype(code)
    for name, code in zip(("u8", "s16", "s32", "s64", "flt", "dbl"), "Bhiqfd", strict=True)
}
_GAP_SECONDS = 0.05  # timestamps that are off by less are rounding (Matroska counts milliseconds)
_FADE_SECONDS = 0.05  # longest fade; of a longer overlap the beginning is dropped
# Timestamps that are regular over some frames and step by more show that a frame was lost.
_STEP_SECONDS = 0.01
_STEP_FRAMES = 3
_MAX_FRAMES_WITHIN_STEP = 2
_REGULAR_SECONDS = 0.0025
_LONGEST_ERROR_SECONDS = 0.5


@dataclass(frozen=True)
class Sound:
    """Mono samples at one rate."""

    first_sample: int  # the number of the first one, counted from the clip's zero
    waveform: np.ndarray  # float32 (num_samples,)
    rate: int  # in Hz


class Stretch:
    """Frames of one format that follow each other.

    Containers that count milliseconds round every timestamp. So frames are joined without gaps, and
    the median of their timestamps gives the place of the whole stretch. Only real gaps are filled
    with silence, and only within the range that is decoded: broken clocks make gaps of hours.
    """

    def __init__(
        self,
        frame: av.AudioFrame,
        *,
        origin_seconds: float,
        start_seconds: float,
        stop_seconds: float,
        follows_loss: bool,
    ):
        """Begin with the format of the first frame, which still has to be added.

        Args:
            frame: The first frame.
            origin_seconds: The time, by the file's own timestamps, that is the clip's zero.
            start_seconds: Where the range begins that is decoded, on the clip's timeline.
            stop_seconds: Where that range ends.
            follows_loss: Whether packets before the first frame could not be decoded.
        """
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
        # How many samples there were before each of these frames.
        self._positions: list[int] = []

        assert frame.time_base is not None
        self._seconds_per_tick = float(frame.time_base)
        self._origin_seconds = origin_seconds
        self._follows_loss = follows_loss
        self._start = round(start_seconds * self.rate)
        self._max_silence = math.ceil((stop_seconds - start_seconds) * self.rate)

    def fits(self, frame: av.AudioFrame) -> bool:
        """Return whether a frame has the format of this stretch."""
        return _get_format(frame) == self._format

    def add(self, frame: av.AudioFrame) -> None:
        """Append a frame that fits: fill a gap before it with silence, and cut off an overlap."""
        planes = self._get_planes(frame)
        # A frame without a timestamp follows the one before.
        if frame.pts is not None:
            planes = self._place(frame.pts, planes)
        for track, plane in zip(self._tracks, planes, strict=True):
            track.append(plane)
        self._num_samples += len(planes[0])

    def mix(self) -> list[Sound]:
        """Return the mean of the channels in its place, in [-1, 1] for integer formats.

        Several sounds where the timestamps make a step: a frame was lost there.
        """
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
            # Signed integers reach from minus full scale to almost plus full scale.
            full_scale = np.float32(1 << (8 * self._dtype.itemsize - 1))
            mono = (mono - _find_silence(self._dtype)) / full_scale

        if not self._offsets:
            return [Sound(0, mono, self.rate)]

        sounds = []
        steps = [0, *self._find_steps(), len(self._offsets)]
        for first, last in itertools.pairwise(steps):
            begin = self._positions[first] if first else 0
            end = self._positions[last] if last < len(self._offsets) else len(mono)
            offsets = sorted(self._offsets[first:last])
            # The median: a single wrong timestamp does not move the whole stretch.
            offset = offsets[len(offsets) // 2]
            sounds.append(Sound(offset + begin, mono[begin:end], self.rate))
        return sounds

    def _find_steps(self) -> list[int]:
        """Return the numbers of the frames before which one was lost.

        The clock is regular before and after such a step. Jitter makes no step. Where recordings
        were joined without encoding, up to two short frames can lie within it.
        """
        if np.ptp(self._offsets) < _STEP_SECONDS * self.rate:
            return []

        steps: list[int] = []
        for index in range(_STEP_FRAMES, len(self._offsets) - _STEP_FRAMES + 1):
            num_steps = self._count_steps(index)
            # After damage the demuxer counts on, and makes a step at the next time that it reads.
            is_late = self._positions[index] <= _LONGEST_ERROR_SECONDS * self.rate
            if num_steps > 0 and not (self._follows_loss and is_late and not steps):
                steps += range(index, index + num_steps)
        return steps

    def _count_steps(self, index: int) -> int:
        """Return how many frames, from one on, do not follow the one before them."""
        regular = _REGULAR_SECONDS * self.rate
        before = self._offsets[index - _STEP_FRAMES : index]
        if np.ptp(before) > regular or abs(self._offsets[index] - before[-1]) <= regular:
            return 0

        for num_within in range(_MAX_FRAMES_WITHIN_STEP + 1):
            after = self._offsets[index + num_within : index + num_within + _STEP_FRAMES]
            if len(after) < _STEP_FRAMES:
                break
            is_step = abs(after[0] - before[-1]) > _STEP_SECONDS * self.rate
            if is_step and np.ptp(after) <= regular:
                return 1 + num_within
        return 0

    def _place(self, pts: int, planes: list[np.ndarray]) -> list[np.ndarray]:
        """Make room for samples with a timestamp; returns those that are new."""
        begin = round((pts * self._seconds_per_tick - self._origin_seconds) * self.rate)
        # Where the frame would begin if it followed the one before without a gap.
        expected = self._offsets[-1] + self._num_samples if self._offsets else begin
        gap = begin - expected
        if abs(gap) <= _GAP_SECONDS * self.rate:
            self._add_offset(begin - self._num_samples)
            return planes

        # Overlapping samples were decoded already.
        if gap < 0:
            self._add_offset(self._offsets[-1])
            return [plane[-gap:] for plane in planes]

        # If the gap reaches into the range, the samples before the range are not needed.
        if expected < self._start < begin:
            self._tracks = [[] for _ in self._tracks]
            self._num_samples = 0
            self._offsets, self._positions = [self._start], [0]
            gap = begin - self._start

        # Silence now fills the gap, so the offset stays as it was before the gap.
        num_silent = min(gap, self._max_silence)

        for track, plane in zip(self._tracks, planes, strict=True):
            shape = (num_silent, *plane.shape[1:])
            track.append(np.full(shape, _find_silence(self._dtype), self._dtype))
        self._num_samples += num_silent
        self._add_offset(self._offsets[-1])
        return planes

    def _add_offset(self, offset: int) -> None:
        self._offsets.append(offset)
        self._positions.append(self._num_samples)

    def _get_planes(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """View a frame's samples: ``(num_samples,)`` a track, or ``(num_samples, channels)``.

        Without PyAV's ``to_ndarray``, whose checks take longer than decoding.
        """
        count = frame.samples
        # With eight channels PyAV gives one plane too many, from another place in memory.
        planes = frame.planes[: len(self._tracks)]

        if len(self._tracks) == self._num_channels:
            return [_view(plane, self._dtype, count) for plane in planes]
        packed = _view(planes[0], self._dtype, count * self._num_channels)
        return [packed.reshape(count, self._num_channels)]


def join(sounds: list[Sound], *, rate: int, start_seconds: float, stop_seconds: float) -> Sound:
    """Join stretches to one sound, with silence between them.

    If two stretches overlap, for example an encoder's padding and the priming of the next stretch,
    one fades into the other.

    Args:
        sounds: In the order in which they were decoded; at least one.
        rate: Of the result in Hz. One stretch keeps its own.
        start_seconds: Where the range that is wanted begins, on the clip's timeline.
        stop_seconds: Where that range ends.
    """
    if len(sounds) == 1:
        return sounds[0]

    # Resample only where the rates differ. Broken clocks may put a stretch hours away.
    if any(sound.rate != sounds[0].rate for sound in sounds):
        sounds = [_resample_all(sound, rate) for sound in sounds]
    rate = sounds[0].rate
    first, stop = round(start_seconds * rate), round(stop_seconds * rate)
    joined = np.zeros(stop - first, np.float32)

    begin, end = stop, first  # of the samples that are there so far
    for sound in sounds:
        # The part of the stretch that lies in the range and is not long past.
        part_begin = max(sound.first_sample, end - round(_FADE_SECONDS * rate), first)
        part_end = min(sound.first_sample + len(sound.waveform), stop)
        # The stretches before have all of it.
        if part_end <= end:
            continue

        part = sound.waveform[part_begin - sound.first_sample : part_end - sound.first_sample]
        num_both = max(end - part_begin, 0) if end > begin else 0
        # From 0 to 1 over the overlap: this stretch fades in while the one before fades out.
        weights = np.minimum(np.arange(len(part), dtype=np.float32) / max(num_both, 1), 1)
        target = joined[part_begin - first : part_end - first]
        target += weights * (part - target)
        begin, end = min(begin, part_begin), part_end

    if begin >= end:
        return Sound(first, np.zeros(0, np.float32), rate)
    return Sound(begin, joined[begin - first : end - first], rate)


def _resample_all(sound: Sound, rate: int) -> Sound:
    """Resample a whole stretch, to samples that are numbered from the clip's zero as well."""
    if sound.rate == rate:
        return sound

    # The two grids meet once in a period, so the resampler begins there.
    period = sound.rate // math.gcd(sound.rate, rate)
    num_before = sound.first_sample % period
    # Silence from that place on, so that both grids have a sample at the beginning.
    padded = np.concatenate([np.zeros(num_before, np.float32), sound.waveform])
    resampled = soxr.resample(padded, sound.rate, rate, quality="HQ")

    begin = (sound.first_sample - num_before) // period * (rate * period // sound.rate)
    lead = -(-num_before * rate // sound.rate)
    return Sound(begin + lead, np.ascontiguousarray(resampled[lead:], np.float32), rate)


def _get_format(frame: av.AudioFrame) -> tuple[int, str, int]:
    return frame.sample_rate, frame.format.name, frame.layout.nb_channels


def _view(plane: av.plane.Plane, dtype: np.dtype, count: int) -> np.ndarray:
    # PyAV's stubs do not say that a plane is a buffer.
    return np.frombuffer(plane, dtype, count)  # type: ignore[call-overload]


def _find_silence(dtype: np.dtype) -> int:
    return 128 if dtype == np.uint8 else 0
