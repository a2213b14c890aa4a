"""The order of an epoch: a permutation from (seed, epoch) alone, local in shards, resumable."""

import numpy as np
import pytest

from train.data.order import ShuffledOrder, epoch_order

SHARDS = np.repeat(np.arange(40), 8)[np.random.default_rng(5).permutation(320)]


@pytest.mark.parametrize("window_shards", [0, 1, 3, 1000])
def test_every_sample_once_and_only_seed_and_epoch_decide(window_shards):
    order = epoch_order(SHARDS, seed=1, epoch=2, window_shards=window_shards)
    assert sorted(order) == list(range(320))
    np.testing.assert_array_equal(
        order, epoch_order(SHARDS, seed=1, epoch=2, window_shards=window_shards)
    )
    for seed, epoch in [(1, 3), (2, 2)]:
        other = epoch_order(SHARDS, seed=seed, epoch=epoch, window_shards=window_shards)
        assert (other != order).mean() > 0.9


def test_only_a_window_of_shards_is_in_use_at_a_time():
    order = epoch_order(SHARDS, seed=0, epoch=0, window_shards=4)
    for first in range(0, 320, 32):
        assert len(set(SHARDS[order[first : first + 32]])) == 4
    neighbours = SHARDS[order]
    assert (
        neighbours[1:] != neighbours[:-1]
    ).mean() > 0.5  # mixed inside a window, not shard after shard


def test_resuming_in_the_middle_gives_the_rest():
    ids = [f"id{i}" for i in range(320)]
    undisturbed = ShuffledOrder(ids, SHARDS, seed=3)
    epochs = [list(undisturbed), list(undisturbed)]
    assert epochs[0] != epochs[1]
    stopped = ShuffledOrder(ids, SHARDS, seed=3)
    assert list(stopped) == epochs[0]
    iterator = iter(stopped)
    taken = [next(iterator) for _ in range(100)]
    resumed = ShuffledOrder(ids, SHARDS, seed=3)
    resumed.load_state_dict(stopped.state_dict())
    resumed.set_epoch(1)
    assert taken + list(resumed) == epochs[1]
    resumed.load_state_dict(stopped.state_dict(num_used=90))
    assert list(resumed) == epochs[1][90:]


def test_ranks_share_an_epoch_without_overlap():
    parts = [
        list(ShuffledOrder(range(320), SHARDS, seed=0, rank=rank, num_replicas=3))
        for rank in range(3)
    ]
    assert [len(part) for part in parts] == [106] * 3
    assert len(set().union(*parts)) == 318


@pytest.mark.parametrize(
    ("message", "items", "shards", "options"),
    [
        ("seed 0, expected 1", range(320), SHARDS, {"seed": 1}),
        ("num_items 320, expected 300", range(300), SHARDS[:300], {}),
        ("num_replicas 1, expected 2", range(320), SHARDS, {"num_replicas": 2}),
        ("window_shards 32, expected 4", range(320), SHARDS, {"window_shards": 4}),
        ("items .*of another order", range(1, 321), SHARDS, {}),
        ("shards .*of another order", range(320), SHARDS[::-1], {}),
    ],
)
def test_a_state_of_something_else_is_refused(message, items, shards, options):
    state = ShuffledOrder(range(320), SHARDS, seed=0).state_dict()
    ShuffledOrder(range(320), SHARDS, seed=0).load_state_dict(state)
    with pytest.raises(ValueError, match=message):
        ShuffledOrder(items, shards, **{"seed": 0, **options}).load_state_dict(state)


def test_no_samples_have_an_order():
    assert list(ShuffledOrder([], [], seed=0)) == []
