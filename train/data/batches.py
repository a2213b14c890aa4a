"""Batches from the cached features, read by sample id; each batch is the same whatever reads it, and where.

A ``SampleSource`` holds the readers of the features that a model reads. Data sets that fit are read once, brought to
the network's working size and kept in memory; larger ones are streamed by worker processes. Which samples make batch
k of epoch e, and how each is cropped and flipped, derives from (seed, epoch, sample id): workers, processes and
resumed runs agree.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from earshot.errors import DataError
from earshot.reader import FeatureReader
from pipeline.base.progress import Progress
from train.data.augmentation import ShapeGroup, shrink
from train.data.device_copies import copy_ahead
from train.data.order import epoch_order
from train.models.localizer import InputFormat

_SHAPED = ("frames", "flow")  # arrays whose shape differs from sample to sample
_PRELOAD_ROWS = 64


def open_readers(
    features_dirs: Mapping[str, Path], reads: Sequence[str]
) -> dict[str, FeatureReader]:
    """Readers of the features in ``reads``; ``DataError`` names a feature that has no folder."""
    for feature in reads:
        if feature not in features_dirs:
            raise DataError(
                f"the model reads {feature}, which is not cached; cached: {', '.join(features_dirs)}"
            )
    return {feature: FeatureReader(Path(features_dirs[feature])) for feature in reads}


def describe_features(readers: Mapping[str, FeatureReader]) -> dict[str, dict]:
    """Each feature's parameters, as its shards record them: what a model was trained on."""
    return {
        name: json.loads(reader.attributes.get("parameters", "{}"))
        for name, reader in readers.items()
    }


def choose_usable(
    sample_ids: Sequence[str], readers: Mapping[str, FeatureReader]
) -> tuple[list[str], Counter]:
    """The ids that every feature has, in their order, and how many others lack one, by ``feature: reason``."""
    usable, reasons = [], Counter()
    for sample_id in sample_ids:
        lacking = next((name for name, reader in readers.items() if sample_id not in reader), None)
        if lacking is None:
            usable.append(sample_id)
        else:
            reasons[f"{lacking}: {readers[lacking].reason(sample_id)}"] += 1
    return usable, reasons


class SampleSource(Dataset):
    """Batches of some samples by position; ``source[(epoch, positions)]`` as a ``DataLoader`` asks for them.

    ``is_augmented``: batches carry where each sample is cropped and flipped; otherwise frames are squashed whole.
    """

    def __init__(
        self,
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        *,
        input_format: InputFormat,
        seed: int = 0,
        is_augmented: bool = False,
        has_random_crop: bool = True,
        has_flip: bool = True,
    ):
        self.sample_ids = list(sample_ids)
        self.readers = dict(readers)
        self.input_format = input_format
        self._seed = seed
        self._is_augmented, self._has_random_crop, self._has_flip = (
            is_augmented,
            has_random_crop,
            has_flip,
        )
        self._id_hashes = np.array(
            [_hash_text(sample_id) for sample_id in self.sample_ids], np.uint64
        )
        self._memory: _Memory | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def is_in_memory(self) -> bool:
        """Whether ``load_into_memory`` was called."""
        return self._memory is not None

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> dict:
        epoch, positions = key
        positions = np.asarray(positions, np.int64)
        batch = self._memory.batch(positions) if self._memory is not None else self._read(positions)
        if self._is_augmented:
            batch["crop"] = torch.from_numpy(self.draw_crops(positions, epoch=epoch))
        return batch

    def draw_crops(self, positions: np.ndarray, *, epoch: int) -> np.ndarray:
        """Crop and flip of samples in an epoch, float32 (n, 3): y and x in [0, 1), flip 0 or 1."""
        streams = np.arange(3, dtype=np.uint64)
        key = _mix(np.uint64(self._seed) ^ _mix(np.uint64(epoch + 1)))
        bits = _mix(_mix(self._id_hashes[positions] ^ key)[:, None] + streams)
        drawn = (bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
        drawn[:, 2] = (drawn[:, 2] < 0.5) if self._has_flip else 0
        if not self._has_random_crop:
            drawn[:, :2] = 0.5
        return drawn

    def find_shards(self) -> np.ndarray:
        """Which shard holds each sample, of the feature that comes first: what an epoch's order keeps together."""
        return next(iter(self.readers.values())).shards_of(self.sample_ids)

    def estimate_bytes(self) -> int:
        """Memory that ``load_into_memory`` will take, judged by the first samples."""
        judged = np.arange(min(len(self), 4))
        if len(judged) == 0:
            return 0
        return int(
            sum(_nbytes(part) for part in self._shrunk(judged).values()) * len(self) / len(judged)
        )

    def load_into_memory(
        self, *, device: torch.device | str = "cpu", progress: Progress | None = None
    ) -> None:
        """Read everything once, at the network's working size, onto ``device``."""
        parts = []
        for first in range(0, len(self), _PRELOAD_ROWS):
            positions = np.arange(first, min(first + _PRELOAD_ROWS, len(self)))
            parts.append(self._shrunk(positions))
            if progress is not None:
                progress.update(len(positions))
        self._memory = _Memory(parts, torch.device(device))

    def _shrunk(self, positions: np.ndarray) -> dict:
        batch = self._read(positions)
        for feature in _SHAPED:
            batch[feature] = [
                ShapeGroup(
                    group.places,
                    shrink(
                        group.arrays,
                        feature=feature,
                        input_format=self.input_format,
                        is_squashed=not self._is_augmented,
                    ),
                )
                for group in batch.get(feature, [])
            ]
        return {name: value for name, value in batch.items() if len(value)}

    def _read(self, positions: np.ndarray) -> dict:
        """A batch from the shards."""
        ids = [self.sample_ids[position] for position in positions]
        arrays = {feature: reader.read_batch(ids) for feature, reader in self.readers.items()}
        heights = None
        if "flow" in arrays:
            heights = [
                self.readers["flow"].read_attributes(sample_id)["native_height"]
                for sample_id in ids
            ]
        return collate(arrays, ids=ids, native_heights=heights)


def collate(
    arrays: Mapping[str, Sequence[np.ndarray]],
    *,
    ids: Sequence[str],
    native_heights: Sequence[float] | None = None,
) -> dict:
    """Arrays of each feature, one a sample, to a batch for ``train.data.augmentation.prepare_inputs`` (without crops).

    ``native_heights``: of the frames between which flow was computed, in pixels; needed with ``flow``.
    """
    batch = {}
    for feature, values in arrays.items():
        if feature == "flow":
            _check_flow(values, ids)
            batch["native_height"] = torch.tensor(native_heights, dtype=torch.float32)
        batch[feature] = (
            _group_by_shape(values) if feature in _SHAPED else _stack(feature, values, ids)
        )
    return batch


class _Memory:
    """All samples of a source as a few stacked tensors."""

    def __init__(self, parts: list[dict], device: torch.device):
        self._device = device
        self._plain, self._shaped = {}, {}
        for name in parts[0]:
            if name not in _SHAPED:
                self._plain[name] = torch.cat([part[name] for part in parts]).to(device)
                continue
            stacks: dict[tuple, list] = {}
            stack_of, row_of = [], []
            for part in parts:
                size = sum(len(group.places) for group in part[name])
                stacks_here, rows_here = np.zeros(size, np.int64), np.zeros(size, np.int64)
                for group in part[name]:
                    stack = stacks.setdefault(tuple(group.arrays.shape[1:]), [])
                    first = sum(len(arrays) for arrays in stack)
                    stack.append(group.arrays)
                    places = group.places.numpy()
                    stacks_here[places] = list(stacks).index(tuple(group.arrays.shape[1:]))
                    rows_here[places] = first + np.arange(len(places))
                stack_of.append(stacks_here)
                row_of.append(rows_here)
            tensors = [torch.cat(stack).to(device) for stack in stacks.values()]
            self._shaped[name] = (np.concatenate(stack_of), np.concatenate(row_of), tensors)

    def batch(self, positions: np.ndarray) -> dict:
        index = self._on_device(positions)
        batch = {name: values[index] for name, values in self._plain.items()}
        for name, (stack_of, row_of, tensors) in self._shaped.items():
            groups = []
            for number in np.unique(stack_of[positions]):
                places = np.flatnonzero(stack_of[positions] == number)
                rows = self._on_device(row_of[positions[places]])
                groups.append(ShapeGroup(self._on_device(places), tensors[number][rows]))
            batch[name] = groups
        return batch

    def _on_device(self, index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(index).to(self._device, non_blocking=True)


class BatchLoader:
    """Iterates over the batches of an epoch, this process's share of each; resumable in the middle of an epoch.

    Batch b holds samples ``[b * batch_size, (b + 1) * batch_size)`` of the epoch's order; of these each of
    ``num_replicas`` processes gets its equal part. When training, an incomplete last batch is left out (other samples
    each epoch); otherwise it is kept, its parts differing by one sample at most, unless one were smaller than
    ``smallest_part``. ``device``: a GPU to which streamed batches are copied ahead.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        batch_size: int,
        seed: int = 0,
        is_shuffled: bool = False,
        keeps_last: bool = True,
        rank: int = 0,
        num_replicas: int = 1,
        smallest_part: int = 1,
        num_workers: int = 0,
        device: torch.device | None = None,
    ):
        if batch_size % num_replicas:
            raise DataError(
                f"batch_size ({batch_size}) must be a multiple of the number of processes ({num_replicas})"
            )
        self.source = source
        largest = len(source) if keeps_last else len(source) // num_replicas * num_replicas
        self._batch_size = min(batch_size, largest)
        self._smallest_last = max(2, smallest_part * num_replicas)  # one sample has no negative
        self._seed, self._is_shuffled, self._keeps_last = seed, is_shuffled, keeps_last
        self._rank, self._num_replicas = rank, num_replicas
        self.epoch, self.num_used, self._first = 0, 0, 0
        self._shards = source.find_shards() if is_shuffled else None
        self._workers = None
        self._device = (
            device
            if device is not None and device.type == "cuda" and not source.is_in_memory
            else None
        )
        if not source.is_in_memory and num_workers:
            self._workers = DataLoader(
                source,
                batch_size=None,
                sampler=_Remaining(self),
                num_workers=num_workers,
                pin_memory=self._device is not None,
                persistent_workers=True,
                prefetch_factor=3,
                multiprocessing_context="fork",  # readers open their own files after a fork
            )

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        if self._batch_size == 0 or (self._keeps_last and len(self.source) < self._smallest_last):
            return 0
        num_whole, rest = divmod(len(self.source), self._batch_size)
        return num_whole + (self._keeps_last and rest >= self._smallest_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next; a resumed position in that epoch stays."""
        if epoch != self.epoch:
            self.epoch, self._first = epoch, 0

    def remaining(self) -> list[tuple[int, np.ndarray]]:
        """(epoch, positions) of this process's part of each batch that the next iteration gives."""
        if self._is_shuffled:
            order = epoch_order(self._shards, seed=self._seed, epoch=self.epoch)
        else:
            order = np.arange(len(self.source))
        batches = []
        for number in range(self._first, len(self)):
            whole = order[number * self._batch_size : (number + 1) * self._batch_size]
            batches.append((self.epoch, np.array_split(whole, self._num_replicas)[self._rank]))
        return batches

    def __iter__(self) -> Iterator[dict]:
        batches = (
            iter(self._workers)
            if self._workers is not None
            else map(self.source.__getitem__, self.remaining())
        )
        if self._device is not None:
            batches = copy_ahead(batches, self._device)
        self.num_used, self._first = self._first, 0
        for batch in batches:
            self.num_used += 1
            yield batch

    def state_dict(self) -> dict:
        """Epoch and how many of its batches were used."""
        return {"epoch": self.epoch, "num_used": self.num_used}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from ``state``."""
        self.epoch, self._first = int(state["epoch"]), int(state["num_used"])


class _Remaining:
    """The sampler of the worker processes: what is left of the loader's epoch."""

    def __init__(self, loader: BatchLoader):
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self):
        return iter(self._loader.remaining())


def _group_by_shape(arrays: Sequence[np.ndarray]) -> list[ShapeGroup]:
    places: dict[tuple, list[int]] = {}
    for place, array in enumerate(arrays):
        places.setdefault(array.shape, []).append(place)
    return [
        ShapeGroup(
            torch.tensor(group), torch.from_numpy(np.stack([arrays[place] for place in group]))
        )
        for group in places.values()
    ]


def _stack(feature: str, arrays: Sequence[np.ndarray], ids: Sequence[str]) -> torch.Tensor:
    for sample_id, array in zip(ids, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{feature}: {sample_id} has shape {array.shape}, {ids[0]} has {arrays[0].shape}; "
                "one set of parameters gives one shape"
            )
    return torch.from_numpy(np.stack(arrays))


def _check_flow(arrays: Sequence[np.ndarray], ids: Sequence[str]) -> None:
    for sample_id, array in zip(ids, arrays, strict=True):
        if array.ndim != 3 or array.shape[0] not in (1, 2):
            raise DataError(
                f"flow: {sample_id} has shape {array.shape}, expected (2, h, w) or (1, h, w)"
            )


def _nbytes(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(group.arrays.nbytes for group in value)


def _hash_text(text: str) -> int:
    """64-bit FNV-1a: the same on every machine."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _mix(value: np.ndarray | np.uint64) -> np.ndarray:
    """SplitMix64's output function: every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        value = np.asarray(value, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
