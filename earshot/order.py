"""Decide the order in which an epoch visits the samples.

A uniform shuffle of 200,000 samples reads from another file each time. Here the shards are
shuffled first, then the samples inside windows of several shards. A batch still mixes many shards,
and other ones in each epoch, but only the files of one window are in use at a time.

The order depends on (seed, epoch) only, so all processes and resumed runs agree on it.
"""

from collections.abc import Sequence

import numpy as np

_WINDOW_SHARDS = 32  # 2,048 samples of 64-sample shards


def draw_epoch_order(
    shards: Sequence[int] | np.ndarray,
    *,
    seed: int,
    epoch: int,
    window_shards: int = _WINDOW_SHARDS,
) -> np.ndarray:
    """Return the positions of all samples in the order of one epoch.

    Args:
        shards: for each sample the number of its shard (``FeatureReader.shards_of``).
        seed: of the run.
        epoch: from 0.
        window_shards: how many shards are mixed with each other; at least 1.

    Returns:
        A permutation of ``range(len(shards))``, int64 (n,).
    """
    if len(shards) == 0:
        return np.zeros(0, np.int64)
    shards = np.asarray(shards)
    # Two numbers, not their sum: else seed 1, epoch 0 and seed 0, epoch 1 have the same order.
    generator = np.random.default_rng([seed, epoch])

    # Positions of the samples of each shard, shards in a random order.
    by_shard = np.argsort(shards, kind="stable")
    # NaN differs from any shard, so the first sample begins a group, too.
    starts = np.flatnonzero(np.diff(shards[by_shard], prepend=np.nan))
    groups = np.split(by_shard, starts[1:])
    visited = generator.permutation(len(groups))

    # Samples in a random order inside each window of shards.
    windows = []
    for first in range(0, len(visited), window_shards):
        window = np.concatenate([groups[i] for i in visited[first : first + window_shards]])
        windows.append(generator.permutation(window))
    return np.concatenate(windows)
