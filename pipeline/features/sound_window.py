"""Which part of a clip's sound a sample has. Spectrograms and waveforms share this."""

from collections.abc import Mapping
from typing import Literal, Protocol

from pipeline.features.feature import AudioWindow, Decoded, Moment, Needs
from pipeline.media.reader import MediaInfo

# What the row attributes mean; for the root of a shard.
ATTRIBUTE_UNITS = {
    "attribute_sample_rate": "Hz",
    "attribute_start_seconds": "of the first sample, on the clip's timeline",
}

_LARGEST_SAMPLE_RATE = 192000  # in Hz
_WINDOW_RANGE = (0.01, 3600.0)  # in seconds

# What the window is laid around:
# sample                the sample's moment
# centre                the centre of the clip (EZ-VSL's code)
# whole_second_centre   the centre of the clip's whole seconds (HTF's code)
# start                 the window begins where the clip begins (LVS's code)
Anchor = Literal["sample", "centre", "whole_second_centre", "start"]


class WindowSettings(Protocol):
    """The settings of a sound feature that decide its window."""

    @property
    def window_seconds(self) -> float:
        """Length of the window."""
        ...

    @property
    def anchor(self) -> Anchor:
        """What the window is laid around."""
        ...

    @property
    def sample_rate(self) -> int | Literal["native"]:
        """In Hz; ``native`` is that of the file."""
        ...


def find_window(
    moment: Moment, *, settings: WindowSettings, duration_seconds: float
) -> tuple[float, float]:
    """Return the window [start, stop) in seconds of the clip.

    A window that reaches beyond an end of the clip is moved inside. It is longer than the clip
    only where ``window_seconds`` is.
    """
    length = settings.window_seconds
    if settings.anchor == "start":
        # LVS. The window may be longer than the clip; the reader repeats the sound then.
        return 0.0, length

    if settings.anchor == "sample":
        centre = moment.time_in(duration_seconds)
    elif settings.anchor == "centre" or duration_seconds < 1:
        centre = duration_seconds / 2
    else:
        # HTF drops the fraction of the duration. Below one second nothing would be left.
        centre = int(duration_seconds) / 2

    # First its end is moved inside, then its start, which wins in a clip that is too short.
    start = max(min(centre - length / 2, duration_seconds - length), 0.0)
    return start, start + length


def find_sound_needs(settings: WindowSettings, moment: Moment, info: MediaInfo) -> Needs:
    """Return the sound that a sample needs: a ``feature.FindNeeds`` once settings are given."""
    start, stop = find_window(moment, settings=settings, duration_seconds=info.duration_seconds)
    sample_rate = None if settings.sample_rate == "native" else settings.sample_rate
    return Needs(audio=AudioWindow(start, stop, sample_rate))


def describe_window(decoded: Decoded) -> Mapping[str, float | int]:
    """Return the row attributes of a sample's sound: its rate, and where it really begins."""
    assert decoded.sample_rate is not None and decoded.sound_start_seconds is not None
    return {"sample_rate": decoded.sample_rate, "start_seconds": decoded.sound_start_seconds}


def check_sound_settings(settings: WindowSettings) -> None:
    """Raise ``ValueError`` for a sample rate or a window that is not plausible."""
    rate = settings.sample_rate
    if rate != "native" and not 1000 <= rate <= _LARGEST_SAMPLE_RATE:
        raise ValueError(
            f"sample_rate is {rate}, expected 1000 to {_LARGEST_SAMPLE_RATE} or native"
        )

    # A shorter one holds no sample, and a longer one fits into no memory.
    least, most = _WINDOW_RANGE
    if not least <= settings.window_seconds <= most:
        raise ValueError(
            f"window_seconds is {settings.window_seconds:g}, expected {least:g} to {most:g}"
        )
