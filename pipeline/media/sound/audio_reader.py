"""Read windows of a clip's sound that always have the requested length.

`audio.py` decodes the part of a window that a stream has. This module completes the window as the
published codes do: a window that reaches beyond the sound is shifted inside, and a sound that is
shorter than the window is repeated. Pauses inside the sound are silence.
"""

import functools
from dataclasses import dataclass

import av
import numpy as np

from earshot.cached_property import cached_property
from earshot.errors import MediaError
from pipeline.media.files.media_file import MediaFile, Opening
from pipeline.media.sound import audio, packet_scan

# If less is missing at the end, the window is filled by repetition; otherwise it is shifted.
_MISSING_SECONDS = 0.05
_LATE_SECONDS = 0.002  # the same for the beginning: rounding in containers that count milliseconds


@dataclass(frozen=True, eq=False)
class SoundWindow:
    """A window of the sound, and where it really lies."""

    waveform: np.ndarray  # mono float32 (num_samples,)
    sample_rate: int  # in Hz
    start_seconds: float  # of its first sample, on the clip's timeline


class AudioReader:
    """Windows of a file's sound."""

    def __init__(self, file: MediaFile):
        self._file = file
        # Whether any window has been read: the shared decoder then has a state.
        self._has_read = False

    def read(
        self, start_seconds: float, stop_seconds: float, *, sample_rate: int | None
    ) -> SoundWindow:
        """Return a window of the sound, as `ClipReader.read_audio_window` describes.

        Raises:
            MediaError: ``no_audio`` or ``corrupt``.
        """
        length, begin = stop_seconds - start_seconds, start_seconds
        rate = sample_rate or self._own_rate
        part = self._read_window(start_seconds, length, rate)

        # Finding the extent takes a pass over all packets, so do it only when needed.
        if _lacks_samples(part, length, rate):
            begin, is_within = self._find_window_inside(start_seconds, length)
            if abs(begin - start_seconds) > 1 / rate:
                part = self._read_window(begin, length, rate)
            # A window inside the sound that still lacks samples contains a pause.
            if is_within and _lacks_samples(part, length, rate):
                part = self._read_window(begin, length, rate, is_within=True)

        waveform = part.waveform
        if not len(waveform):
            raise MediaError("no_audio", "its audio stream has no samples")
        if not np.isfinite(waveform).all():
            raise MediaError("corrupt", "its audio holds values that are not finite")
        return SoundWindow(audio.tile(waveform, round(length * rate)), rate, begin)

    def read_all(self, *, sample_rate: int | None) -> SoundWindow:
        """Return the sound from the clip's zero, or from its own later start, to its end.

        Raises:
            MediaError: ``no_audio`` or ``corrupt``.
        """
        first, last = self._find_extent()
        start = max(first, 0.0)

        if last <= start:
            raise MediaError("no_audio", "its audio ends before the clip begins")
        return self.read(start, last, sample_rate=sample_rate)

    def _find_window_inside(self, start_seconds: float, length: float) -> tuple[float, bool]:
        """Return where a window begins when it is shifted inside the sound, and whether it fits."""
        first, last = self._find_extent()
        if self._file.is_cut_off and last < start_seconds + length:
            raise MediaError("corrupt", f"the file is cut off, its audio ends at {last:.3f} s")

        # If the sound is shorter than the window, read all of it, from its first sample on.
        begin = max(min(start_seconds, last - length), first)
        return begin, begin + length < last + _MISSING_SECONDS

    def _find_extent(self) -> tuple[float, float]:
        """Return the first and last moment of the sound, in seconds on the clip's timeline."""
        extent = self._scan.extent
        if extent is None:
            raise MediaError("no_audio", "its audio stream has no samples")

        origin_seconds = self._file.origin_seconds
        return extent[0] - origin_seconds, extent[1] - origin_seconds

    @cached_property
    def _scan(self) -> packet_scan.PacketScan:
        with self._file.opened_again() as opening:
            return packet_scan.scan_packets(opening.container, _get_stream(opening))

    @cached_property
    def _own_rate(self) -> int:
        with self._file.opened_again() as opening:
            return audio.find_rate(opening.container, _get_stream(opening))

    def _read_window(
        self, start_seconds: float, length: float, sample_rate: int, *, is_within: bool = False
    ) -> audio.Part:
        """Read the part of a window that the stream has, with a new decoder."""
        window = audio.Window(
            start_seconds, start_seconds + length, origin_seconds=self._file.origin_seconds
        )

        main = self._file.main
        changes = self._scan.changes if packet_scan.loses_changes(main.container) else ()
        read = functools.partial(
            audio.read_window,
            window=window,
            sample_rate=sample_rate,
            changes=changes,
            is_within=is_within,
        )

        can_use_main = self._can_use(main, window)
        self._has_read = True
        if can_use_main:
            main.is_touched = True
            return read(main.container, _get_stream(main))
        with self._file.opened_again() as fresh:
            return read(fresh.container, _get_stream(fresh))

    def _can_use(self, opening: Opening, window: audio.Window) -> bool:
        """Return whether a window can be read without opening the file again."""
        # A decoder that has read a window has a state, and a seek would move the reader of frames.
        if self._has_read or opening.is_reading_frames:
            return False
        if not opening.is_touched:
            return True

        # The beginning is lost. Matroska finds any other window by its index.
        is_matroska = opening.container.format.name.startswith("matroska")
        return is_matroska and audio.needs_seek(_get_stream(opening), window)


def _lacks_samples(part: audio.Part, length: float, rate: int) -> bool:
    """Return whether a part is not the whole window of ``length`` seconds."""
    is_short = length - len(part.waveform) / rate > _MISSING_SECONDS
    return is_short or part.late_seconds > _LATE_SECONDS


def _get_stream(opening: Opening) -> av.AudioStream:
    assert opening.audio is not None
    return opening.audio
