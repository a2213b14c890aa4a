"""What a feature is: what it needs from a clip's media and what it makes of it.

A feature declares its needs (frames at these times, audio of this window), so that one pass over a clip can serve
several features and moments (``pipeline/features/extract.py``), and computes its array from what was decoded. Nothing here
decodes or stores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Moment:
    """A sample's moment in its clip: seconds from the beginning of the media file; None is the clip's centre."""

    sample_id: str
    time_seconds: float | None

    def time_in(self, duration_seconds: float) -> float:
        """The moment in a clip of this duration."""
        return duration_seconds / 2 if self.time_seconds is None else self.time_seconds


@dataclass(frozen=True)
class AudioWindow:
    """Audio wanted: half-open range [start_seconds, stop_seconds) of the clip; ``sample_rate`` None is the native
    one.
    """

    start_seconds: float
    stop_seconds: float
    sample_rate: int | None


@dataclass(frozen=True)
class Needs:
    """What one feature needs for one moment."""

    frame_times: tuple[float, ...] = ()
    audio: AudioWindow | None = None


@dataclass(frozen=True)
class Decoded:
    """What was decoded for one feature's needs.

    ``frames``: one ``media.VideoFrame`` a needed time, ``times``: those times. ``waveform``: float32 mono
    ``(num_samples,)`` or None. ``memo`` is the feature's own, kept from moment to moment of one clip: for what they
    share.
    """

    frames: Sequence
    times: Sequence[float]
    waveform: np.ndarray | None
    sample_rate: int | None
    memo: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Extracted:
    """A feature's array with its per-row attributes, or the reason why there is none."""

    array: np.ndarray | None
    attributes: Mapping[str, float | int] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Feature:
    """One kind of cached array.

    ``version`` (of the algorithm) and ``parameters`` (a frozen dataclass) enter the key of every array; ``attributes``
    (units, layout) are written to the root of each shard. ``needs`` and ``compute`` are pure; ``compute`` may raise
    ``MediaError`` with a reason.
    """

    name: str
    version: int
    parameters: object
    attributes: Mapping[str, object]
    needs: Callable  # (Moment, media.MediaInfo) -> Needs
    compute: Callable  # (Moment, Decoded) -> Extracted
