"""Values that a run cannot have are refused; what a training does with a small split is told."""

from dataclasses import dataclass

import pytest

from tests.helpers.training.toy_runs import tiny
from train.models.training_parameters import TrainingParameters
from train.runs.setting_values import check_values, describe_small_split


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


def test_a_method_of_ones_own_may_mean_another_thing_by_a_name():
    @dataclass(frozen=True, kw_only=True)
    class Parameters(TrainingParameters):
        mask_width: tuple[int, int] = (9, 2000)
        tau: str = "learned"

    check_values(Parameters(method="mine"), where="train.mine")
