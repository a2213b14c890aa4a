"""Open a dataset of the cache: splits, labels, boxes and features under one name.

    sounds = earshot.open("cache/vggsound")
    for sample in sounds.samples("vggss_test", features=["frames", "spectrograms"]):
        frame = sounds.feature("frames").read(sample.sample_id)

A dataset is a folder of features, ``cache/<name>/``, and a table of samples. The table lies in
``manifests/<name>/`` of the same project, or in the folder itself.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.cached_property import cached_property
from earshot.errors import DataError
from earshot.reader import FeatureReader
from earshot.shard_format import INDEX_NAME
from earshot.tables import SAMPLES, read_table, require_distinct_ids

_TABLE_NAME = "samples.parquet"


@dataclass(frozen=True)
class Sample:
    """One moment of a clip, and what is known of it."""

    sample_id: str
    clip_id: str
    time_seconds: float | None  # on the clip's timeline; None: the centre of the clip
    splits: tuple[str, ...]
    label: str | None
    boxes: tuple[tuple[float, float, float, float], ...]  # x1 y1 x2 y2, as parts of the frame
    attributes: dict[str, str]


class CachedDataset:
    """The samples of one dataset, and readers of their features.

    Args:
        root: The dataset's folder of features, for example ``cache/vggsound``.
        samples_path: The table of samples; None looks in ``root``, then in ``manifests/<name>/``
            beside the folder ``cache``.

    Raises:
        DataError: There is no such folder, or no table of samples.

    Attributes:
        root: The folder of features.
        name: The dataset's name, which is that of the folder.
        table: All samples; the columns are those of ``earshot.tables.SAMPLES``.
    """

    def __init__(self, root: Path | str, *, samples_path: Path | str | None = None):
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(
                f"{self.root.absolute()}: not found, expected a dataset's folder of features, "
                "which `dvc repro` makes"
            )

        # Resolved first, so that `.` and a link have the name of the folder that they mean.
        self.name = self.root.resolve().name
        path = samples_path or self._find_table()
        self.table = read_table(path, SAMPLES)
        # One id must mean one sample: its boxes would be those of the last row of this id.
        require_distinct_ids(path, self.table)
        self._readers: dict[str, FeatureReader] = {}

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        return (
            f"<CachedDataset {str(self.root)!r}: {len(self.table):,} samples; "
            f"splits: {splits or 'none'}; features: {', '.join(self.features) or 'none'}>"
        )

    def _find_table(self) -> Path:
        if (self.root / INDEX_NAME).is_file():
            raise DataError(
                f"{self.root}: the folder of one feature, expected that of its dataset: "
                f"{self.root.resolve().parent}"
            )

        # A project has cache/NAME beside manifests/NAME.
        project_dir = self.root.resolve().parent.parent
        candidates = (self.root / _TABLE_NAME, project_dir / "manifests" / self.name / _TABLE_NAME)
        for path in candidates:
            if path.is_file():
                return path
        raise DataError(
            f"{self.root}: its table of samples is neither there nor at {candidates[1]}; pass "
            "samples_path, or run `dvc repro`"
        )

    @cached_property
    def splits(self) -> dict[str, int]:
        """How many samples each split has, whether their features are cached or not."""
        counts = Counter(name for names in self.table["splits"].to_pylist() for name in names or ())
        return dict(sorted(counts.items()))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The names of the cached features, in alphabetical order."""
        return tuple(sorted(path.parent.name for path in self.root.glob(f"*/{INDEX_NAME}")))

    def feature(self, name: str) -> FeatureReader:
        """Return the reader of a feature, which is opened once.

        Raises:
            DataError: The feature is not cached; the message names those that are.
        """
        if name not in self.features:
            cached = ", ".join(self.features) or "none"
            raise DataError(f"{self.root}: {name} is not cached; cached: {cached}")

        if name not in self._readers:
            self._readers[name] = FeatureReader(self.root / name)
        return self._readers[name]

    def sample_ids(self, split: str | None = None, *, features: Sequence[str] = ()) -> list[str]:
        """Return the samples of a split that have all of some features, in the table's order.

        Args:
            split: Name of the split; None takes all samples.
            features: Names of features that have to be cached.

        Raises:
            DataError: There is no such split or feature; the message names those that there are.
        """
        readers = [self.feature(name) for name in require_names(features)]
        return [
            sample_id
            for sample_id in self._ids_of(split)
            if all(sample_id in reader for reader in readers)
        ]

    def missing(self, split: str | None = None, *, features: Sequence[str]) -> dict[str, int]:
        """Count the samples of a split that lack a feature, by reason.

        Args:
            split: As for ``sample_ids``.
            features: The features that a sample must have. A sample that lacks several of them
                counts for the first.

        Returns:
            ``feature: reason`` -> number of samples, the most frequent first.

        Raises:
            DataError: As for ``sample_ids``.
        """
        features = require_names(features)
        reasons: Counter[str] = Counter()
        for sample_id in self._ids_of(split):
            absent = next((name for name in features if sample_id not in self.feature(name)), None)
            if absent is not None:
                reasons[f"{absent}: {self._find_reason(absent, sample_id)}"] += 1
        return dict(reasons.most_common())

    def _find_reason(self, feature: str, sample_id: str) -> str | None:
        try:
            return self.feature(feature).reason(sample_id)
        except DataError:  # the sample came into the table after the feature was computed
            return "not computed yet"

    def samples(self, split: str | None = None, *, features: Sequence[str] = ()) -> list[Sample]:
        """Return the samples whose ids ``sample_ids`` returns, in the same order.

        Args:
            split: As for ``sample_ids``.
            features: As for ``sample_ids``.

        Raises:
            DataError: As for ``sample_ids``.
        """
        rows = [self._row_of[name] for name in self.sample_ids(split, features=features)]
        # An empty list has no type of its own.
        table = self.table.take(pa.array(rows, pa.int64()))
        return [_make_sample(row) for row in table.to_pylist()]

    def __len__(self) -> int:
        return self.table.num_rows

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._row_of

    def __getitem__(self, sample_id: str) -> Sample:
        """Return what is known of a sample.

        Raises:
            DataError: The table has no such sample.
        """
        if sample_id not in self._row_of:
            raise DataError(f"{self.name}: no sample {sample_id!r}")
        return _make_sample(self.table.slice(self._row_of[sample_id], 1).to_pylist()[0])

    @cached_property
    def _row_of(self) -> dict[str, int]:
        ids = self.table["sample_id"].to_pylist()
        return {sample_id: row for row, sample_id in enumerate(ids)}

    def _ids_of(self, split: str | None) -> list[str]:
        if split is None:
            return list(self._row_of)
        if split not in self.splits:
            raise DataError(f"{self.name}: no split {split!r}; it has {', '.join(self.splits)}")

        # As columns: rows as dictionaries would also build the boxes and attributes of each sample.
        columns = self.table.select(["sample_id", "splits"]).to_pydict()
        return [
            sample_id
            for sample_id, splits in zip(columns["sample_id"], columns["splits"], strict=True)
            if split in (splits or ())
        ]


def require_names(features: Iterable[str]) -> tuple[str, ...]:
    """Return ``features`` if they are names; one name alone would be a sequence of letters.

    Raises:
        DataError: ``features`` is a text.
    """
    if isinstance(features, str):
        raise DataError(f"features is {features!r}, expected a list, such as [{features!r}]")
    return tuple(features)  # each of them is looked at once a sample


def _make_sample(row: dict[str, Any]) -> Sample:
    return Sample(
        sample_id=row["sample_id"],
        clip_id=row["clip_id"],
        time_seconds=row["time_seconds"],
        splits=tuple(row["splits"] or ()),
        label=row["label"],
        boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in row["boxes"] or ()),
        # Arrow returns a map as a list of pairs.
        attributes=dict(row["attributes"] or ()),
    )
