"""Find the samples of a run and open their cached features."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from pipeline.base.progress import Progress
from train.data.feature_readers import choose_usable, open_readers
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.data.splits import require_disjoint
from train.models.localizer import Localizer
from train.models.training_parameters import TrainingParameters

_NUM_REASONS = 3  # that an error names
_BYTES_PER_MB = 2**20


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The samples of a run and where their features are cached."""

    features_dirs: Mapping[str, Path]  # feature -> folder with its shards
    train_ids: Sequence[str]
    val_ids: Sequence[str] = ()
    test_ids: Sequence[str] = ()
    video_of: Mapping[str, str] | None = None  # sample id -> video id; None: by sample id
    is_leakage_allowed: bool = False  # whether the test set may share videos with training

    def get_selection_ids(self, select_on: str) -> Sequence[str]:
        """Return the samples on which epochs are compared.

        With ``last`` epochs are not compared, but the validation loss is still logged.
        """
        return self.test_ids if select_on == "test" else self.val_ids

    def check(self, parameters: TrainingParameters) -> None:
        """Check that the sets can train and select.

        Args:
            parameters: of the run.

        Raises:
            ParameterError: the set that ``select_on`` names has no samples, or epochs have to be
                compared without one.
            DataError: two of the sets share a video.
        """
        select_on = parameters.select_on
        if select_on == "test" and not self.test_ids:
            raise ParameterError("select_on is test, but the test split has no samples")
        if select_on == "val" and not self.val_ids:
            raise ParameterError(
                "select_on is val, but the val split has no samples; choose last, or another "
                "val_split"
            )

        # With ``last``, the validation loss tells whether an epoch is better.
        compares = parameters.schedule == "plateau" or parameters.early_stop_patience
        if select_on == "last" and compares and not self.val_ids:
            raise ParameterError(
                "schedule plateau and early_stop_patience compare epochs, but select_on is last "
                "and the val split has no samples; choose select_on: val, or schedule: constant "
                "and early_stop_patience: 0"
            )

        sets = {"train": self.train_ids, "val": self.val_ids}
        if not self.is_leakage_allowed:
            sets["test"] = self.test_ids
        require_disjoint(sets, video_of=self.video_of, selection=select_on)


@dataclass(frozen=True)
class Sources:
    """The samples of a run that are cached, ready to be read."""

    train: SampleSource
    selection: SampleSource
    readers: Mapping[str, FeatureReader]
    num_unusable: Counter[str] = field(default_factory=Counter)  # training samples, by reason

    def load_into_memory(
        self, *, limit_mb: int, device: torch.device, name: str, is_quiet: bool
    ) -> None:
        """Load the sets that fit into memory, the training set first.

        Args:
            limit_mb: memory for both sets together; 0 loads nothing.
            device: where the arrays are kept.
            name: of the method, for the progress bar.
            is_quiet: print only the last line of progress.
        """
        # Choose what fits.
        num_left = limit_mb * _BYTES_PER_MB
        chosen = []
        for source in (self.train, self.selection):
            size = source.estimate_bytes() if num_left else 0
            if 0 < size <= num_left:
                num_left -= size
                chosen.append(source)
        if not chosen:
            return

        total = sum(len(source) for source in chosen)
        with Progress(total, f"load data for {name}", unit="sample", is_quiet=is_quiet) as progress:
            for source in chosen:
                source.load_into_memory(device=device, progress=progress)


def open_sources(
    data: TrainingData,
    parameters: TrainingParameters,
    model: Localizer,
    *,
    num_processes: int,
) -> Sources:
    """Open the features that ``model`` reads, for the samples that have all of them.

    Args:
        data: the samples of the run.
        parameters: of the run.
        model: says which features it reads and in which format.
        num_processes: that train together.

    Raises:
        DataError: a feature is not cached, or too few samples are cached.
    """
    readers = open_readers(data.features_dirs, model.reads)

    # Leave out samples that lack a feature, and count why.
    train_ids, num_unusable = choose_usable(data.train_ids, readers)
    selection_ids, num_unusable_for_selection = choose_usable(
        data.get_selection_ids(parameters.select_on), readers
    )
    _require_enough(
        parameters,
        num_train=len(train_ids),
        num_selection=len(selection_ids),
        reasons=num_unusable + num_unusable_for_selection,
        num_processes=num_processes,
    )

    # Only training samples are augmented; those that select are squashed whole.
    crops = RandomCrops(
        seed=parameters.seed,
        has_random_crop=parameters.has_random_crop,
        has_flip=parameters.has_flip,
    )
    input_format = model.input_format
    train, selection = (
        SampleSource(
            ids,
            readers,
            input_format=input_format,
            crops=drawn,
            values=model.read_values(ids),
            has_second_view=model.needs_second_view,
        )
        for ids, drawn in ((train_ids, crops), (selection_ids, None))
    )
    return Sources(
        train,
        selection,
        readers,
        num_unusable,
    )


def _require_enough(
    parameters: TrainingParameters,
    *,
    num_train: int,
    num_selection: int,
    reasons: Counter[str],
    num_processes: int,
) -> None:
    """Fail unless every process has two samples of each set: one sample has no negative."""
    num_needed = 2 * num_processes

    # Name the most frequent reasons, which say what to do.
    counts = [f"{count} {reason}" for reason, count in reasons.most_common(_NUM_REASONS)]
    left_out = f" (left out: {'; '.join(counts)})" if counts else ""

    if num_train < num_needed:
        raise DataError(
            f"{num_train} training samples are cached, expected at least {num_needed}{left_out}"
        )
    if parameters.select_on != "last" and num_selection < num_needed:
        raise DataError(
            f"{num_selection} samples of the {parameters.select_on} split are cached, expected "
            f"at least {num_needed}{left_out}"
        )
