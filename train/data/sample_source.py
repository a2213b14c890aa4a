"""Read batches of samples by position, from the shards or from memory."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from earshot.reader import FeatureReader
from pipeline.base.progress import Progress
from pipeline.features.registry import FEATURES
from train.data.augmentation import shrink
from train.data.collate import Batch, ShapeGroup, collate
from train.data.feature_readers import require_sample_rate
from train.data.neighbour_draws import NeighbourDraws
from train.data.random_crops import RandomCrops, hash_ids, mix_bits
from train.data.samples_in_memory import SamplesInMemory
from train.models.localizer import InputFormat

_ROWS_PER_READ = 64  # while loading into memory
_NUM_SIZED = 4  # samples from which the size of all is estimated


class SampleSource(Dataset):
    """The samples of one split, as a ``DataLoader`` reads them: ``source[(epoch, positions)]``.

    Args:
        sample_ids: the samples; a position is an index into this list.
        readers: feature -> its open reader. A batch has exactly these features.
        input_format: the size of the network's input, to which arrays kept in memory are shrunk.
        crops: how training samples are cropped; batches then have ``crop``. None (validation and
            test): frames are squashed whole to the network's square.
        values: further arrays (n, ...) of the samples, which batches then have, too.
        has_second_view: whether batches with ``crop`` also have ``second_crop``.

    Raises:
        DataError: the waveforms have another rate than the network reads.
    """

    def __init__(
        self,
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        *,
        input_format: InputFormat,
        crops: RandomCrops | None = None,
        values: Mapping[str, np.ndarray] | None = None,
        has_second_view: bool = False,
    ):
        require_sample_rate(readers, input_format.sample_rate)
        self.sample_ids = list(sample_ids)
        self.readers = dict(readers)
        self.input_format = input_format
        self._crops, self._values = crops, dict(values or {})
        self._has_second_view = has_second_view
        self._id_hashes = hash_ids(self.sample_ids)
        self._memory: SamplesInMemory | None = None
        self._neighbours: NeighbourDraws | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def use_neighbours(self, neighbours: NeighbourDraws) -> None:
        """Let batches have ``neighbours``: frames and sounds of a neighbour of each sample."""
        self._neighbours = neighbours

    @property
    def is_in_memory(self) -> bool:
        """Whether ``load_into_memory`` was called."""
        return self._memory is not None

    def __getitem__(self, key: tuple[int, Sequence[int] | np.ndarray]) -> Batch:
        epoch, chosen = key
        positions = np.asarray(chosen, np.int64)

        batch = self._read(positions)

        # The crop depends on epoch and id alone, whatever the samples were read from.
        if self._crops is not None:
            hashes = self._id_hashes[positions]
            batch["crop"] = torch.from_numpy(self._crops.draw(hashes, epoch=epoch))
            if self._has_second_view:
                # Other hashes, so that the second view is another crop.
                drawn = self._crops.draw(mix_bits(hashes), epoch=epoch)
                batch["second_crop"] = torch.from_numpy(drawn)

        for name, values in self._values.items():
            batch[name] = torch.from_numpy(values[positions])
        # A neighbour is a sample with a crop of its own, inside the batch.
        if self._neighbours is not None:
            batch["neighbours"] = self._read_neighbours(self._neighbours, positions, epoch)
        return batch

    def _read(self, positions: np.ndarray, names: Collection[str] | None = None) -> Batch:
        if self._memory is not None:
            return self._memory.read(positions, names)
        return self._read_shards(positions, names)

    def _read_neighbours(
        self, neighbours: NeighbourDraws, positions: np.ndarray, epoch: int
    ) -> Batch:
        """Read images of neighbours by frame, and sounds of neighbours by sound."""
        hashes = self._id_hashes[positions]
        by_frame, by_sound = neighbours.draw(positions, hashes, epoch=epoch)
        sounds = [name for name in self.readers if FEATURES[name].is_sound]
        images = [name for name in self.readers if name not in sounds]
        batch = self._read(by_frame, images) | self._read(by_sound, sounds)
        if self._crops is not None:
            # The same neighbour of two samples is cropped in two ways, and not as a second view.
            drawn = self._crops.draw(mix_bits(mix_bits(hashes)), epoch=epoch)
            batch["crop"] = torch.from_numpy(drawn)
        return batch

    def find_shards(self) -> np.ndarray:
        """Return the number of the shard of each sample, int (n,), of the first feature."""
        return next(iter(self.readers.values())).shards_of(self.sample_ids)

    def estimate_bytes(self) -> int:
        """Estimate the memory that ``load_into_memory`` takes, from the first samples."""
        positions = np.arange(min(len(self), _NUM_SIZED))
        if len(positions) == 0:
            return 0
        sizes = [_count_bytes(value) for value in self._read_shrunk(positions).values()]
        return int(sum(sizes) * len(self) / len(positions))

    def estimate_batch_bytes(self, num_samples: int) -> int:
        """Estimate the size of a batch that is read from the shards, from the first samples."""
        positions = np.arange(min(len(self), _NUM_SIZED))
        sizes = [_count_bytes(value) for value in self._read_shards(positions).values()]
        # The neighbours' arrays come beside the samples': as much again.
        factor = 1 if self._neighbours is None else 2
        return int(factor * sum(sizes) * num_samples / max(len(positions), 1))

    def load_into_memory(
        self, *, device: torch.device | str = "cpu", progress: Progress | None = None
    ) -> None:
        """Read all samples once, shrink them to the network's size and keep them.

        Args:
            device: where they are kept.
            progress: counts the samples.
        """
        # In parts, so that few samples at a time have their full size.
        parts = []
        for first in range(0, len(self), _ROWS_PER_READ):
            positions = np.arange(first, min(first + _ROWS_PER_READ, len(self)))
            parts.append(self._read_shrunk(positions))
            if progress is not None:
                progress.update(len(positions))
        self._memory = SamplesInMemory(parts, torch.device(device))

    def _read_shrunk(self, positions: np.ndarray) -> Batch:
        batch = self._read_shards(positions)
        for name, value in batch.items():
            if not isinstance(value, torch.Tensor):
                batch[name] = [self._shrink_group(group, feature=name) for group in value]
        return batch

    def _shrink_group(self, group: ShapeGroup, *, feature: str) -> ShapeGroup:
        arrays = shrink(
            group,
            feature=feature,
            input_format=self.input_format,
            is_squashed=self._crops is None,
        )
        return group._replace(arrays=arrays)

    def _read_shards(self, positions: np.ndarray, names: Collection[str] | None = None) -> Batch:
        ids = [self.sample_ids[position] for position in positions]
        arrays = {
            name: reader.read_batch(ids)
            for name, reader in self.readers.items()
            if names is None or name in names
        }
        # Flow is in pixels of the native frame, whose height the shards keep.
        heights = None
        if "flow" in arrays:
            reader = self.readers["flow"]
            heights = [reader.read_attributes(item)["native_height"] for item in ids]
        return collate(arrays, ids=ids, native_heights=heights)


def _count_bytes(value: torch.Tensor | list[ShapeGroup]) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(group.arrays.nbytes for group in value)
