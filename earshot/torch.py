"""Read cached samples into PyTorch: a plain map-style ``Dataset`` and an order that resumes.

    samples = Samples("cache/vggsound", "vggss_144k", ["frames", "spectrograms"], size=224)
    order = ShardOrder(samples, seed=0)
    for epoch in range(10):
        order.set_epoch(epoch)
        for batch in DataLoader(samples, batch_size=128, sampler=order, num_workers=4):
            batch["frames"]  # uint8 (128, 3, 224, 224)

This module needs torch and `earshot` alone.
"""

import operator
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, Sampler

from earshot.cached_dataset import CachedDataset, require_names
from earshot.errors import DataError
from earshot.order import draw_epoch_order

_INT16_FULL_SCALE = 32768
_MAX_LEVEL = 255  # of an 8-bit picture


class Samples(Dataset):
    """The samples of one split that have all of some features; each is a dict of tensors.

    An item holds ``sample_id`` and ``label`` (texts; an unknown label is empty), and each feature:

    - ``frames``: uint8 RGB (3, height, width)
    - ``flow``: float32 (2, height, width), x and y in pixels of the native frame
    - ``spectrograms``: float32 (frequencies, times)
    - ``waveforms``: float32 (samples,), -1 to 1

    A variant, such as ``flow-2s``, is what its feature is. Other features have the shape and the
    numbers that were cached, half precision as float32.

    Args:
        root: The dataset's folder of features, for example ``cache/vggsound``; or the opened
            dataset.
        split: Name of the split.
        features: Names of features.
        size: Side of the square to which frames and flow are resized as a whole, so that a batch
            has one shape. None keeps the stored sizes, which differ with the shape of the frame.
        transform: Is applied to each item, for example to augment it.

    Raises:
        DataError: There is no such dataset, split or feature; or no sample has all of them.

    Attributes:
        dataset: The opened dataset; it knows boxes, for example.
        sample_ids: The samples, by position.
        missing: How many samples of the split were left out, by ``feature: reason``.
    """

    def __init__(
        self,
        root: Path | str | CachedDataset,
        split: str,
        features: Sequence[str],
        *,
        size: int | None = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ):
        self.dataset = root if isinstance(root, CachedDataset) else CachedDataset(root)
        self.split, self.features = split, require_names(features)
        self.size, self.transform = _check_size(size), transform
        # `shards` needs a feature: the order of an epoch follows the files that are read.
        if not self.features:
            raise DataError(f"{self.dataset.name}: no feature is named, expected at least one")

        chosen = self.dataset.samples(split, features=self.features)
        self.sample_ids = [sample.sample_id for sample in chosen]
        self.missing = self.dataset.missing(split, features=self.features)
        # A training on nothing would end without an error.
        if not self.sample_ids:
            raise DataError(
                f"{self.dataset.name}: no sample of {split!r} has all of "
                f"{', '.join(self.features)}: {self.missing or 'the split is empty'}"
            )
        self._readers = {name: self.dataset.feature(name) for name in self.features}
        self._labels = [sample.label or "" for sample in chosen]

    def __repr__(self) -> str:
        return (
            f"<Samples of {self.dataset.name}, split {self.split}: {len(self):,} with "
            f"{', '.join(self.features)}; {sum(self.missing.values()):,} left out>"
        )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, position: int) -> Any:
        position = operator.index(position)  # a slice would need a dataset of its own: `Subset`
        sample_id = self.sample_ids[position]
        item: dict[str, Any] = {"sample_id": sample_id, "label": self._labels[position]}
        for name, reader in self._readers.items():
            item[name] = _as_tensor(name, reader.read(sample_id), self.size)
        return item if self.transform is None else self.transform(item)

    def shards(self) -> np.ndarray:
        """Return the number of the shard of each sample's first feature, int64 (n,)."""
        return self._readers[self.features[0]].shards_of(self.sample_ids)


class ShardOrder(Sampler[int]):
    """A random order of each epoch that reads few files at a time, for one or several processes.

    The order depends on the seed and the epoch only. Set the epoch before each, as for
    ``DistributedSampler``. All processes get equally many samples; up to ``num_processes - 1`` of
    an epoch are left out.

    Args:
        samples: What is ordered.
        seed: Of the order.
        rank: Number of this process, from 0.
        num_processes: How many processes train together.
    """

    def __init__(self, samples: Samples, *, seed: int, rank: int = 0, num_processes: int = 1):
        if not 0 <= rank < num_processes:
            raise DataError(f"rank is {rank}, expected 0 to {num_processes - 1}")
        if len(samples) < num_processes:
            raise DataError(
                f"{len(samples)} samples for {num_processes} processes, expected one or more for "
                "each"
            )

        self._shards, self._seed = samples.shards(), seed
        self._rank, self._num_processes = rank, num_processes
        # Other samples, or the same in other shards, have another order. So has another seed.
        crc32 = zlib.crc32("\n".join(samples.sample_ids).encode())
        self._identity = {
            "seed": seed,
            "num_processes": num_processes,
            "samples_crc32": zlib.crc32(self._shards.tobytes(), crc32),
        }
        self.epoch = 0
        self._num_skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration. A resumed position in that epoch stays."""
        if epoch != self.epoch:
            self.epoch, self._num_skipped = epoch, 0

    def __len__(self) -> int:
        return len(self._shards) // self._num_processes - self._num_skipped

    def __iter__(self) -> Iterator[int]:
        order = draw_epoch_order(self._shards, seed=self._seed, epoch=self.epoch)
        # The same number for all processes: one that has a batch more waits for the others forever.
        num_each = len(order) // self._num_processes
        own = order[self._rank :: self._num_processes][self._num_skipped : num_each]
        return self._yield_positions(own.tolist())

    def _yield_positions(self, positions: list[int]) -> Iterator[int]:
        # The next iteration begins a new epoch at its first sample. Not before this one is used: a
        # loader without batches makes two iterators and uses the second.
        self._num_skipped = 0
        yield from positions

    def state_dict(self, *, num_used: int) -> dict[str, int]:
        """Return what ``load_state_dict`` needs to continue.

        Args:
            num_used: How many samples of this epoch this process has trained on: the number of
                batches times their size. The order cannot know it, since loaders read ahead.
        """
        return {"epoch": self.epoch, "num_used": num_used, **self._identity}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue in the saved epoch, after the samples that were used.

        Raises:
            DataError: The state is that of other samples, of another seed or number of processes,
                or of more samples than an epoch has: some would be used twice and others never.
        """
        for name, own in self._identity.items():
            if state.get(name) != own:
                raise DataError(f"state of an order: {name} is {state.get(name)}, expected {own}")
        num_each = len(self._shards) // self._num_processes
        if not 0 <= state["num_used"] <= num_each:
            raise DataError(
                f"state of an order: num_used is {state['num_used']}, expected 0 to {num_each}, "
                "the samples of an epoch of this process"
            )

        self.epoch, self._num_skipped = state["epoch"], state["num_used"]


def resize_frames(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize pictures with bicubic interpolation and antialiasing.

    Args:
        frames: uint8 (n, 3, height, width).
        size: Height and width of the result.

    Returns:
        uint8 (n, 3, *size).
    """
    if size == tuple(frames.shape[2:]):
        return frames
    resized = F.interpolate(
        frames.float(), size=size, mode="bicubic", antialias=True, align_corners=False
    )

    # Bicubic interpolation overshoots at edges, to values that no 8-bit picture has.
    return resized.round_().clamp_(0, _MAX_LEVEL).to(torch.uint8)


def resize_flow(flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize flow with bilinear interpolation and antialiasing; its unit and dtype stay.

    Args:
        flow: (n, channels, height, width).
        size: Height and width of the result.

    Returns:
        (n, channels, *size).
    """
    if size == tuple(flow.shape[2:]):
        return flow
    resized = F.interpolate(
        flow.float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )

    # Levels of 8-bit pictures are rounded: cutting off fractions would make all motion smaller.
    if not flow.dtype.is_floating_point:
        resized = resized.round_()
    return resized.to(flow.dtype)


def _check_size(size: int | None) -> int | None:
    if size is not None and (not isinstance(size, int) or size < 1):
        raise DataError(f"size is {size!r}, expected the side of a square in pixels, or None")
    return size


def _as_tensor(name: str, array: np.ndarray, size: int | None) -> torch.Tensor:
    """Turn a cached array into the tensor that ``Samples`` promises."""
    tensor = torch.from_numpy(array)
    # The feature that a variant is a variant of.
    name = name.partition("-")[0]
    if name == "frames":
        tensor = tensor.permute(2, 0, 1)  # channels first, as networks read them
        return tensor if size is None else resize_frames(tensor[None], (size, size))[0]

    if name == "flow":
        tensor = tensor.float()
        return tensor if size is None else resize_flow(tensor[None], (size, size))[0]

    # Waveforms may be cached in units of 1/32768.
    if name == "waveforms" and tensor.dtype == torch.int16:
        return tensor.float() / _INT16_FULL_SCALE

    # Half precision saves disk. Networks get float32.
    return tensor.float() if tensor.dtype == torch.float16 else tensor
