"""The order of an epoch: a permutation from (seed, epoch) alone, local in shards."""

import numpy as np
import pytest

from earshot.order import draw_epoch_order

SHARDS = np.repeat(np.arange(40), 8)[np.random.default_rng(5).permutation(320)]


@pytest.mark.parametrize("window_shards", [1, 3, 1000])
def test_every_sample_once_and_only_seed_and_epoch_decide(window_shards):
    order = draw_epoch_order(SHARDS, seed=1, epoch=2, window_shards=window_shards)
    assert sorted(order) == list(range(320))
    np.testing.assert_array_equal(
        order, draw_epoch_order(SHARDS, seed=1, epoch=2, window_shards=window_shards)
    )
    for seed, epoch in [(1, 3), (2, 2)]:
        other = draw_epoch_order(SHARDS, seed=seed, epoch=epoch, window_shards=window_shards)
        assert (other != order).mean() > 0.9


def test_only_a_window_of_shards_is_in_use_at_a_time():
    order = draw_epoch_order(SHARDS, seed=0, epoch=0, window_shards=4)
    for first in range(0, 320, 32):
        assert len(set(SHARDS[order[first : first + 32]])) == 4

    # Shards are mixed inside a window, not visited one after the other.
    neighbours = SHARDS[order]
    assert (neighbours[1:] != neighbours[:-1]).mean() > 0.5


def test_no_samples_have_an_empty_order():
    assert draw_epoch_order([], seed=0, epoch=0).tolist() == []
