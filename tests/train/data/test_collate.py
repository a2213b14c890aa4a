"""Arrays that cannot be one batch are refused with the sample's id."""

import numpy as np
import pytest

from earshot.errors import DataError
from train.data.collate import collate


def test_sounds_of_different_lengths_are_refused():
    with pytest.raises(DataError, match=r"b has shape \(3,\), a has \(2,\)"):
        collate({"waveforms": [np.zeros(2), np.zeros(3)]}, ids=["a", "b"])


def test_flow_of_an_unexpected_shape_is_refused():
    with pytest.raises(DataError, match=r"flow: a has shape \(6, 4, 4\)"):
        collate({"flow": [np.zeros((6, 4, 4))]}, ids=["a"], native_heights=[4])


def test_images_are_grouped_by_shape_and_sounds_are_stacked():
    frames = [np.zeros((4, 6, 3)), np.zeros((4, 4, 3)), np.ones((4, 6, 3))]
    sounds = [np.full(5, number) for number in range(3)]
    batch = collate({"frames": frames, "waveforms": sounds}, ids=["a", "b", "c"])
    assert [group.places.tolist() for group in batch["frames"]] == [[0, 2], [1]]
    assert batch["frames"][0].arrays.shape == (2, 4, 6, 3)
    assert batch["waveforms"].shape == (3, 5)
