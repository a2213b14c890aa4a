"""What a training does with a split that is smaller than its settings ask for is told."""

import pytest

from tests.helpers.training.toy_runs import tiny
from train.runs.setting_values import describe_small_split


@pytest.mark.parametrize(
    ("settings", "num_samples", "note"),
    [
        ({"batch_size": 8}, 8, ""),
        ({"batch_size": 64}, 32, "batch_size is 64, but there are 32 training samples, so each"),
        ({"batch_size": 8, "accumulate": 4}, 32, ""),
        ({"num_held_out": 9}, 80, "num_held_out is 9, but 8 samples select: those of split 'val'"),
        ({"num_held_out": 8}, 80, ""),
        ({"num_held_out": 9, "select_on": "last"}, 80, ""),
        ({"batch_size": 8, "accumulate": 5}, 32, "accumulate is 5, but an epoch has 4 batches"),
    ],
)
def test_a_small_split_is_told(settings, num_samples, note):
    found = describe_small_split(tiny(**settings), num_samples, num_selecting=8)
    assert found.startswith(note) and bool(found) == bool(note)
