"""What takes part in an evaluation: trained models, untrained networks and baselines.

An entrant has a name in the tables and turns samples into localization maps.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
import pyarrow as pa

from earshot.reader import FeatureReader
from eval.entrants.maps import Maps
from eval.entrants.negative_sounds import Sounds
from eval.entrants.training_clips import SeenClips, TrainingClips

Kind = Literal["model", "external", "baseline", "untrained", "trivial"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # in the order of the tables


class Predict(Protocol):
    """Turn samples into maps ``(h, w)``, one per sample and in their order."""

    def __call__(
        self, sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /
    ) -> Maps: ...


class CompareSounds(Protocol):
    """Compute raw similarities ``(len(sounds), n, h, w)`` of frames and other sounds."""

    def __call__(
        self,
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        sounds: Sequence[Sounds],
        /,
    ) -> np.ndarray: ...


class EmbedPairs(Protocol):
    """Compute features of the frames and of the sounds, ``(n, c)`` each, to be compared."""

    def __call__(
        self, sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Entrant:
    """A name in the tables, and how its maps are computed."""

    name: str
    kind: Kind
    predict: Predict
    # Names of the features that ``predict`` needs.
    reads: tuple[str, ...] = ()
    # The datasets on which it takes part; None: all.
    datasets: Collection[str] | None = None
    # The samples of which it has maps; None: all that have the features that it reads.
    own_ids: Collection[str] | None = None
    # The maps have a unit of their own (see eval.scoring.score_maps.score_maps).
    is_absolute: bool = False
    # By protocol: the maps that its authors score instead, which have a unit of their own.
    parity: Mapping[str, Predict] = field(default_factory=dict)
    # Raw similarities, for which one threshold holds; None: it has none.
    compare_sounds: CompareSounds | None = None
    # A map for each source of a sample, (k, h, w); None: it does not tell sources apart.
    predict_sources: Predict | None = None
    # Pooled features, for retrieval; None: it has none that can be compared.
    embed_pairs: EmbedPairs | None = None
    # The maps are worth a file; those of trivial entrants are not.
    is_kept: bool = False
    seed: int | None = None
    # How the checkpoint was chosen.
    selection: str = "none"
    # Equal for runs that differ in the seed alone; None: no run.
    recipe: str | None = None
    # What is compared with published results: the method (a baseline's is its name), the training
    # data as "dataset/split", and the number of training samples.
    method: str | None = None
    trained_on: str | None = None
    num_trained_on: int | None = None
    # In what its network or loss is not that of its authors, one text for each setting.
    own_settings: tuple[str, ...] = ()
    # None: the training data is not known.
    training_clips: TrainingClips | None = None

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"{self.name}: {self.kind!r} is not one of {', '.join(KINDS)}"

    def is_for(self, dataset: str) -> bool:
        """Return whether the entrant takes part on this dataset."""
        return self.datasets is None or dataset in self.datasets

    def find_training_clips(self, dataset: str, samples: pa.Table) -> SeenClips | None:
        """Return which clips of ``dataset`` are training clips, or None where unknown.

        Args:
            dataset: that is tested.
            samples: its table SAMPLES.
        """
        return (
            None if self.training_clips is None else self.training_clips.find_in(dataset, samples)
        )


def name_untrained(run: str) -> str:
    """Return the name of the entrant that is a run's network before training."""
    return f"{run}_untrained"


def name_entrants(
    runs: Iterable[str], baselines: Iterable[str], *, has_untrained: bool
) -> list[str]:
    """Return the names that an evaluation can give to its own entrants.

    The maps of another system cannot have one of these names.

    Args:
        runs: names of the models: trained here or released.
        baselines: ``evaluate.baselines`` of params.yaml.
        has_untrained: whether each model also takes part before training.

    Returns:
        The names of models and baselines, ``vision_only`` and ``ceiling``.
    """
    runs = list(runs)
    untrained = [name_untrained(run) for run in runs] if has_untrained else []
    return [*runs, *untrained, *baselines, "vision_only", "ceiling"]


def choose_available(
    sample_ids: Sequence[str], reads: Sequence[str], readers: Mapping[str, FeatureReader]
) -> tuple[list[str], dict[str, str]]:
    """Find the samples that have all features.

    Args:
        sample_ids: the samples to choose from.
        reads: names of the features.
        readers: a reader for each of them.

    Returns:
        The samples that have all features, in their order; and for each other sample the first
        feature that it does not have, with the reason.
    """
    available, reasons = [], {}
    for sample_id in sample_ids:
        # One reason a sample, the first: counts of reasons must add up to the samples.
        missing = next((name for name in reads if sample_id not in readers[name]), None)
        if missing is None:
            available.append(sample_id)
        else:
            reasons[sample_id] = f"{missing}: {readers[missing].reason(sample_id)}"
    return available, reasons
