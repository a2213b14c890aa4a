"""In which order an epoch visits samples: from (seed, epoch) alone, shard by shard, resumable in the middle.

A uniform shuffle of 200,000 samples reads from another file each time. Here the shards are shuffled, then the samples
inside windows of several shards: as random as training needs (a batch mixes ``window_shards`` shards, in another
company each epoch), while only a window's files are in use at a time. Workers have no say in it.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def epoch_order(
    shards: Sequence[int] | np.ndarray, *, seed: int, epoch: int, window_shards: int = 32
) -> np.ndarray:
    """Positions of all samples in the order of one epoch, int64 (n,).

    ``shards``: for each sample the number of its shard (``FeatureReader.shards_of``). ``window_shards`` 0 shuffles
    without regard to shards.
    """
    shards = np.asarray(shards)
    generator = np.random.default_rng([seed, epoch])
    if window_shards <= 0:
        return generator.permutation(len(shards))
    by_shard = np.argsort(shards, kind="stable")
    starts = np.flatnonzero(np.diff(shards[by_shard], prepend=np.nan))
    groups = np.split(by_shard, starts[1:]) if len(by_shard) else []
    visited = generator.permutation(len(groups))
    windows = [
        generator.permutation(
            np.concatenate([groups[i] for i in visited[first : first + window_shards]])
        )
        for first in range(0, len(visited), window_shards)
    ]
    return np.concatenate(windows) if windows else np.zeros(0, np.int64)


class ShuffledOrder:
    """Iterates over ids (or positions) in the order of the current epoch; remembers where it is.

    Fits where PyTorch wants a sampler. ``state_dict()`` after k samples and ``load_state_dict`` in another process go
    on with sample k of the same epoch; what a prefetching loader has taken but not used is the caller's to count:
    ``state_dict(num_used=...)``. With ``num_replicas`` each rank has every ``num_replicas``-th sample of the same
    order, and all ranks equally many (the last few of an epoch are left out, others each time).
    """

    def __init__(
        self,
        items: Sequence,
        shards: Sequence[int] | np.ndarray,
        *,
        seed: int,
        window_shards: int = 32,
        rank: int = 0,
        num_replicas: int = 1,
    ):
        if len(items) != len(shards):
            raise ValueError(
                f"items ({len(items)}) and shards ({len(shards)}) must be equally many"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank ({rank}) must be in [0, num_replicas={num_replicas})")
        self._items, self._shards = items, np.asarray(shards)
        self._seed, self._window_shards = seed, window_shards
        self._rank, self._num_replicas = rank, num_replicas
        self.epoch, self.position = 0, 0

    def __len__(self) -> int:
        """Samples of a whole epoch (of this rank)."""
        return len(self._items) // self._num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; does nothing when already in it, so that a resumed position stays."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def __iter__(self) -> Iterator:
        """The rest of the current epoch; at its end the next epoch begins."""
        order = epoch_order(
            self._shards, seed=self._seed, epoch=self.epoch, window_shards=self._window_shards
        )
        mine = order[: len(self) * self._num_replicas][self._rank :: self._num_replicas]
        while self.position < len(mine):
            self.position += 1
            yield self._items[mine[self.position - 1]]
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self, *, num_used: int | None = None) -> dict:
        """Where the iteration is; ``num_used`` (samples of this epoch) overrides how many were handed out."""
        return self._identity | {
            "epoch": self.epoch,
            "position": self.position if num_used is None else num_used,
        }

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from ``state``; ValueError for that of another order: seed, ranks, samples, or where they lie."""
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise ValueError(
                    f"state has {name} {state.get(name)}, expected {value}: is of another order"
                )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    @functools.cached_property
    def _identity(self) -> dict:
        """What two orders have in common when they visit the same samples in the same turn."""
        return {
            "seed": self._seed,
            "num_items": len(self._items),
            "num_replicas": self._num_replicas,
            "window_shards": self._window_shards,
            "items": _digest(map(str, self._items)),
            "shards": _digest(map(str, self._shards.tolist())),
        }


def _digest(words: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
