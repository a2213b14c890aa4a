"""Iterate over the batches of an epoch, in one process or in several that train together.

Each batch is the same whatever reads it: memory, this process or worker processes. It depends on
(seed, epoch, sample id) only, so several processes and resumed runs agree.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from earshot.errors import DataError
from earshot.order import draw_epoch_order
from train.data.collate import Batch
from train.data.device_copies import copy_ahead
from train.data.sample_source import SampleSource

_SMALLEST_BATCH = 2  # a contrastive loss needs a negative
_PREFETCHED_BATCHES = 3  # of each worker process
_SHARED_MEMORY = Path("/dev/shm")  # where worker processes put their batches

BatchPositions = tuple[int, np.ndarray]  # (epoch, positions): a key of SampleSource


class BatchLoader:
    """Iterate over the batches of the current epoch; can resume inside it.

    Batch b has the samples ``[b * batch_size, (b + 1) * batch_size)`` of the epoch's order. Each of
    ``num_processes`` processes gets an equal part of it.

    Attributes:
        batch_size: samples of a whole batch, of all processes together: fewer than asked for where
            the source has fewer.

    Args:
        source: where samples are read.
        batch_size: samples of all processes together.
        shuffle_seed: of the order of each epoch. None keeps the order of the source.
        keeps_last: what happens with an incomplete last batch. False (training) leaves it out.
            True keeps it; the parts then differ by at most one sample. It is left out all the
            same when a part would be smaller than ``smallest_part``.
        rank: number of this process, from 0.
        num_processes: how many processes train together.
        smallest_part: samples that each process needs of a batch.
        num_workers: processes that read batches; 0 reads in this one. Unused when the source is
            in memory.
        device: a GPU to which batches that are read from shards are copied ahead.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        batch_size: int,
        shuffle_seed: int | None = None,
        keeps_last: bool = True,
        rank: int = 0,
        num_processes: int = 1,
        smallest_part: int = 1,
        num_workers: int = 0,
        device: torch.device | None = None,
    ):
        if batch_size % num_processes:
            raise DataError(
                f"batch_size ({batch_size}) must be a multiple of the number of processes "
                f"({num_processes})"
            )

        self.source = source
        self._shuffle_seed, self._keeps_last = shuffle_seed, keeps_last
        self._rank, self._num_processes = rank, num_processes

        # A data set that is smaller than a batch makes one batch.
        num_usable = len(source) if keeps_last else len(source) // num_processes * num_processes
        self.batch_size = min(batch_size, num_usable)
        # A last batch is left out where the parts of the processes would be too small for a loss.
        self._smallest_last = max(_SMALLEST_BATCH, smallest_part * num_processes)

        # State: the epoch, how many of its batches were used, and with which batch to begin.
        self.epoch, self.num_used, self._first = 0, 0, 0
        self._shards = None if shuffle_seed is None else source.find_shards()

        # Data in memory are on the device already: nothing is prefetched or copied.
        is_streamed = not source.is_in_memory
        is_copied = is_streamed and device is not None and device.type == "cuda"
        self._device = device if is_copied else None
        has_workers = is_streamed and num_workers > 0 and self._has_room(num_workers)
        self._workers = self._start_workers(num_workers) if has_workers else None

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        if self.batch_size == 0 or (self._keeps_last and len(self.source) < self._smallest_last):
            return 0
        num_whole, num_left = divmod(len(self.source), self.batch_size)
        return num_whole + (self._keeps_last and num_left >= self._smallest_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next batches. A resumed position in that epoch stays."""
        if epoch != self.epoch:
            self.epoch, self._first = epoch, 0

    def list_remaining(self) -> list[BatchPositions]:
        """Return this process's part of each batch that the next iteration gives."""
        if self._shards is not None and self._shuffle_seed is not None:
            order = draw_epoch_order(self._shards, seed=self._shuffle_seed, epoch=self.epoch)
        else:
            order = np.arange(len(self.source))

        # Each process computes whole batches and takes its part, so that all agree.
        batches = []
        for number in range(self._first, len(self)):
            whole = order[number * self.batch_size : (number + 1) * self.batch_size]
            # The last batch may not divide evenly. Its parts differ by one sample at most.
            batches.append((self.epoch, np.array_split(whole, self._num_processes)[self._rank]))
        return batches

    def __iter__(self) -> Iterator[Batch]:
        batches: Iterator[Batch]
        if self._workers is not None:
            batches = iter(self._workers)
        else:
            batches = map(self.source.__getitem__, self.list_remaining())
        if self._device is not None:
            batches = copy_ahead(batches, self._device)

        # Count from the batch with which a resumed epoch begins; the next epoch begins with 0.
        # Only batches that were handed out count, not those that were fetched ahead.
        self.num_used, self._first = self._first, 0
        for batch in batches:
            self.num_used += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were used."""
        return {"epoch": self.epoch, "num_used": self.num_used}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after the batches that ``state`` says were used."""
        self.epoch, self._first = int(state["epoch"]), int(state["num_used"])

    def close(self) -> None:
        """End the worker processes.

        They would live until the garbage collector finds them. It closes their queues first, so
        that torch waits five seconds for each of them in vain.
        """
        self._workers = None

    def _has_room(self, num_workers: int) -> bool:
        """Return whether shared memory holds the batches that worker processes fetch ahead.

        A process that finds none left would crash or wait for ever.
        """
        if not _SHARED_MEMORY.is_dir() or self.batch_size == 0:
            return True
        # Besides the batches that wait, each process is making one.
        num_waiting = num_workers * (_PREFETCHED_BATCHES + 1)
        batch_size = self.batch_size // self._num_processes
        needed = num_waiting * self.source.estimate_batch_bytes(batch_size)
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if needed <= free:
            return True

        print(
            f"{_SHARED_MEMORY} has {free / 1e6:.1f} MB free, {num_workers} loader processes need "
            f"about {needed / 1e6:.1f} MB; batches are read without them. Give a container more "
            "with --shm-size, or set hardware.num_workers",
            file=sys.stderr,
        )
        return False

    def _start_workers(self, num_workers: int) -> DataLoader:
        # The sampler gives whole batches, so torch joins none (`batch_size=None`).
        return DataLoader(
            self.source,
            batch_size=None,
            sampler=_RemainingBatches(self),
            num_workers=num_workers,
            pin_memory=self._device is not None,
            persistent_workers=True,
            prefetch_factor=_PREFETCHED_BATCHES,
            multiprocessing_context="fork",  # readers open their own files after a fork
        )


class _RemainingBatches(Sampler):
    """Tell the worker processes what is left of the loader's epoch."""

    def __init__(self, loader: BatchLoader):
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[BatchPositions]:
        return iter(self._loader.list_remaining())
