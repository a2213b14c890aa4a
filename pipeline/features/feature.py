"""The interface of a feature: what it needs from a clip's media, and what it computes from that.

A feature declares its needs (frames at these times, the sound of this window). One pass over a
clip can then serve several features and moments (``pipeline.features.extract``). The feature
computes its array from what was decoded. It decodes and stores nothing itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.features.registry import Kind
from pipeline.media.pictures.frame import VideoFrame
from pipeline.media.pictures.gpu import Decoder
from pipeline.media.reader import MediaInfo


@dataclass(frozen=True)
class Moment:
    """A sample's moment in its clip."""

    sample_id: str
    time_seconds: float | None  # from the beginning of the media file; None: the clip's centre

    def time_in(self, duration_seconds: float) -> float:
        """Return the moment, in seconds, in a clip of this duration."""
        return duration_seconds / 2 if self.time_seconds is None else self.time_seconds


@dataclass(frozen=True)
class AudioWindow:
    """The half-open range [start_seconds, stop_seconds) of a clip's sound."""

    start_seconds: float
    stop_seconds: float
    sample_rate: int | None  # in Hz; None: that of the file


@dataclass(frozen=True)
class Needs:
    """What one feature needs for one moment."""

    frame_times: tuple[float, ...] = ()  # seconds, on the clip's timeline
    audio: AudioWindow | None = None


@dataclass(frozen=True)
class Decoded:
    """What was decoded for one feature's needs."""

    frames: Sequence[VideoFrame]  # one for each needed time
    times: Sequence[float]  # those times, in seconds
    waveform: np.ndarray | None  # mono float32 (num_samples,)
    sample_rate: int | None  # in Hz
    # Of the waveform's first sample, on the clip's timeline; its window may have been shifted.
    sound_start_seconds: float | None = None
    # Belongs to the feature and lives as long as the clip: results that several moments share.
    memo: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Extracted:
    """A feature's array with its attributes, or the reason why there is none."""

    array: np.ndarray | None
    attributes: Mapping[str, float | int] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class CodeParameters:
    """What the parameters of a variant with code of its own begin with (docs/features.md)."""

    code: str  # the dotted name of the module; it is a part of the key of every array


class FindNeeds(Protocol):
    """Return what a feature needs for a moment of a clip. A pure function."""

    def __call__(self, moment: Moment, info: MediaInfo, /) -> Needs: ...


class Compute(Protocol):
    """Compute a feature's array from what was decoded. A pure function.

    Raises:
        MediaError: The array cannot be computed; the error has the reason.
    """

    def __call__(self, moment: Moment, decoded: Decoded, /) -> Extracted: ...


@dataclass(frozen=True)
class Feature:
    """A feature with its parameters: what the cache builds and the extraction computes.

    The key of every array is made from ``name``, ``version`` and ``parameters``. ``attributes`` are
    written to the root of each shard. ``kind`` enters neither.
    """

    name: str
    kind: Kind
    version: int  # of the algorithm
    parameters: Any  # a frozen dataclass
    attributes: Mapping[str, object]  # units and layout
    needs: FindNeeds
    compute: Compute | None  # None: only keys are wanted here
    # What a process does before it computes any array: compile code, fetch and load a network. An
    # EarshotError of it ends the run.
    prepare: Callable[[], object] | None = None
    fps: float | None = None  # of the pictures that it compares or shows one after the other
    decoder: Decoder = "cpu"  # of its frames; also one of its parameters
    software: tuple[str, ...] = ()  # packages that decide its bits, beside those of all features

    @property
    def can_compute(self) -> bool:
        """Whether arrays can be computed here, or only their keys."""
        return self.compute is not None
