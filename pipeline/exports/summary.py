"""What became of every sample of an export."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.datasets.dataset import Source
from pipeline.exports.contents import Obstacle, Row
from pipeline.exports.parameters import ExportParameters


@dataclass(frozen=True)
class WrittenFile:
    """A file of the export."""

    path: str  # relative to the export
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """A shard that was written."""

    name: str
    splits: tuple[str, ...]
    fingerprint: str
    files: tuple[WrittenFile, ...]
    # Sample id -> the files that hold it.
    samples: Mapping[str, tuple[str, ...]]
    # Samples whose sound could not be read.
    obstacles: Mapping[str, Obstacle]


@dataclass(frozen=True)
class Summary:
    """A whole export."""

    dataset: str
    parameters: ExportParameters
    sources: tuple[Source, ...]
    features: Mapping[str, Mapping[str, Any]]  # root attributes by name
    rows: tuple[Row, ...]  # of all selected samples, as ``Contents.make_record`` gives them
    shards: tuple[ShardRecord, ...]
    obstacles: Mapping[str, Obstacle]  # by sample id

    @property
    def num_exported(self) -> int:
        """How many samples were written."""
        return len(self.rows) - len(self.obstacles)

    @property
    def num_bytes(self) -> int:
        """Size of all shards."""
        return sum(file.num_bytes for shard in self.shards for file in shard.files)

    def count_splits(self) -> dict[str, tuple[int, int]]:
        """Return how many samples each split has, and how many of them were written."""
        # A sample counts in each of its splits, so the numbers can add up to more than all samples.
        listed: Counter[str] = Counter()
        written: Counter[str] = Counter()
        for row in self.rows:
            listed.update(row["splits"])
            if row["sample_id"] not in self.obstacles:
                written.update(row["splits"])

        return {name: (listed[name], written[name]) for name in sorted(listed)}

    def count_reasons(self) -> dict[str, int]:
        """Return how many samples each reason keeps out, the largest first."""
        counts = Counter(obstacle.reason for obstacle in self.obstacles.values())
        # Equal counts by name, so that the same export always gives the same text.
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def find_shards(self, split: str) -> list[ShardRecord]:
        """Return the shards that hold a split; together they hold nothing else."""
        return [shard for shard in self.shards if split in shard.splits and shard.samples]
