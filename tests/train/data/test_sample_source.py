"""Samples are read the same from shards and from memory, alone and together."""

import pytest
import torch

from tests.helpers.training.batch_checks import FORMAT, assert_equal_inputs, make_source
from train.data.augmentation import prepare_inputs
from train.data.random_crops import RandomCrops


@pytest.mark.parametrize("is_augmented", [False, True])
def test_memory_and_shards_give_the_same_inputs(varied_toy, is_augmented):
    crops = RandomCrops(seed=3) if is_augmented else None
    streamed = make_source(varied_toy, crops=crops)
    kept = make_source(varied_toy, crops=crops)
    kept.load_into_memory()
    assert kept.is_in_memory
    assert kept.estimate_bytes() > 0
    positions = [7, 0, 21, 3, 4, 8]
    first = prepare_inputs(streamed[(2, positions)], FORMAT)
    assert_equal_inputs(first, prepare_inputs(kept[(2, positions)], FORMAT))
    assert first["frames"].shape == (6, 3, 32, 32)
    assert first["flow"].shape == (6, 2, 32, 32)


def test_a_batch_does_not_depend_on_its_company(varied_toy):
    source = make_source(varied_toy, crops=RandomCrops())
    together = prepare_inputs(source[(0, [1, 2, 3])], FORMAT)
    alone = prepare_inputs(source[(0, [2])], FORMAT)
    for name in together:
        assert torch.equal(together[name][1:2], alone[name])
