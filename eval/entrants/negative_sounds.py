"""Other sounds for the samples of a test set, made from what is cached: no clip is needed.

As Juanola, Haro and Fuentes (ICASSP 2025) do: silence, noise, and the sound of a clip of another
class, whose source is out of view (offscreen). They evaluate with ten seeds.
"""

import functools
import json
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earshot.errors import DataError
from earshot.reader import FeatureReader
from pipeline.features.configure import restore_feature
from pipeline.features.feature import Decoded, Moment

# Of the authors' code.
SEEDS = (1234, 2345, 3456, 4567, 5678, 6789, 7890, 8901, 9012, 9999)
SOUND_FEATURES = ("spectrograms", "waveforms")


@dataclass(frozen=True)
class Sounds:
    """A sound for each sample: arrays as the feature has them."""

    kind: str  # own, or one of eval.scoring.negative_audio.NEGATIVES
    read: Callable[[str], np.ndarray]
    # Equal keys are equal sounds, which a network hears once. None: no other sample has it.
    key: Callable[[str], Hashable]


@dataclass(frozen=True)
class Pool:
    """The clips whose sounds can be offscreen: sample ids, and what each is and comes from."""

    sample_ids: Sequence[str]
    labels: Mapping[str, str | None]
    group_of: Mapping[str, str]  # sample id -> video


def make_sounds(
    sample_ids: Sequence[str],
    reader: FeatureReader,
    *,
    feature: str,
    pool: Pool,
    num_seeds: int = len(SEEDS),
) -> list[Sounds]:
    """Make the samples' own sounds and their negatives.

    Args:
        sample_ids: samples that have the feature.
        reader: of the feature.
        feature: one of ``SOUND_FEATURES``.
        pool: the samples whose sounds can be offscreen; all have the feature.
        num_seeds: how many of ``SEEDS`` are used.

    Returns:
        First the own sounds and silence, then noise and offscreen sound for each seed. There is no
        offscreen sound where some sample finds no clip of another class.
    """
    maker = _Maker(reader, feature)
    sounds = [
        Sounds("own", reader.read, lambda sample_id: sample_id),
        Sounds("silence", maker.silence, lambda sample_id: ("silence", maker.rate(sample_id))),
    ]
    for seed in SEEDS[:num_seeds]:
        sounds.append(Sounds("noise", functools.partial(maker.noise, seed=seed), _no_key))

    for seed in SEEDS[:num_seeds]:
        other_of = choose_offscreen(sample_ids, pool, seed=seed)
        # A seed counts only if all samples have a sound: seeds must be of the same samples.
        if len(other_of) == len(sample_ids):
            sounds.append(_swap(reader, other_of))
    return sounds


def _no_key(sample_id: str) -> None:
    return None


def _swap(reader: FeatureReader, other_of: Mapping[str, str]) -> Sounds:
    return Sounds(
        "offscreen", lambda name: reader.read(other_of[name]), lambda name: other_of[name]
    )


class _Maker:
    """Computes what the feature would be of silence and of noise, as long as a sample's window."""

    def __init__(self, reader: FeatureReader, feature: str):
        # The parameters of the cached arrays, which params.yaml may no longer have.
        recorded = reader.attributes.get("parameters")
        if not isinstance(recorded, str):
            raise DataError(f"{reader.folder}: no shard says how {feature} were made")
        parameters = json.loads(recorded)
        # It would clip a third of normal noise. Networks take both types.
        if feature == "waveforms" and parameters.get("dtype") == "int16":
            parameters["dtype"] = "float32"
        self._reader = reader
        self._feature = restore_feature(feature, parameters)
        self._seconds = self._feature.parameters.window_seconds

    def rate(self, sample_id: str) -> int:
        """Return the sample rate of a sample's own sound."""
        return int(self._reader.read_attributes(sample_id)["sample_rate"])

    def silence(self, sample_id: str) -> np.ndarray:
        return self._compute(sample_id, np.zeros(self._num_samples(sample_id), np.float32))

    def noise(self, sample_id: str, seed: int) -> np.ndarray:
        """Return normal noise of deviation 1, which is not clipped."""
        rng = _make_rng(seed, sample_id)
        return self._compute(
            sample_id, rng.standard_normal(self._num_samples(sample_id), np.float32)
        )

    def _num_samples(self, sample_id: str) -> int:
        return round(self._seconds * self.rate(sample_id))

    def _compute(self, sample_id: str, waveform: np.ndarray) -> np.ndarray:
        decoded = Decoded((), (), waveform, self.rate(sample_id), sound_start_seconds=0.0)
        assert self._feature.compute is not None, "sounds are computed without a network"
        array = self._feature.compute(Moment(sample_id, None), decoded).array
        assert array is not None, "a sound that is there has an array"
        return array


def choose_offscreen(sample_ids: Sequence[str], pool: Pool, *, seed: int) -> dict[str, str]:
    """Choose a sample for each sample, whose sound has no source in its frame.

    It is a random clip of a random other class. A label such as ``bell+bus`` is both classes.
    Where no sample has a label, it is a random other clip.

    Args:
        sample_ids: the samples.
        pool: what can be chosen.
        seed: with the sample's id it decides the choice.

    Returns:
        Sample id -> the other's. A sample for which the pool has nothing is left out.
    """
    # Sorted, so that a choice does not depend on the order of a table.
    members: dict[str, list[str]] = {}
    for name in sorted(pool.sample_ids):
        members.setdefault(pool.labels.get(name) or "", []).append(name)

    chosen, others_of = {}, {}
    for sample_id in sample_ids:
        label = pool.labels.get(sample_id) or ""
        if label not in others_of:
            others_of[label] = [other for other in sorted(members) if _are_apart(label, other)]
        others = others_of[label]

        # The first class in random order that has a clip of another video.
        rng = _make_rng(seed, sample_id)
        for place in rng.permutation(len(others)):
            group = pool.group_of[sample_id]
            names = [name for name in members[others[place]] if pool.group_of[name] != group]
            if names:
                chosen[sample_id] = names[rng.integers(len(names))]
                break
    return chosen


def _are_apart(label: str, other: str) -> bool:
    """Return whether two labels have no class in common; without a label nothing is known."""
    if not label or not other:
        return not label and not other
    return not _classes_of(label) & _classes_of(other)


def _classes_of(label: str) -> set[str]:
    return set(label.split("+"))


def _make_rng(seed: int, sample_id: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
