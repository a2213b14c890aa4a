"""``earshot.torch``: items that default collate takes, the project's own pixels, an order."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from earshot.errors import DataError
from earshot.torch import Samples, ShardOrder
from tests.helpers.cache.toy_dataset import write_toy_dataset
from train.data.augmentation import prepare_inputs
from train.data.sample_source import SampleSource
from train.models.localizer import InputFormat

FEATURES = ("frames", "flow", "spectrograms", "waveforms")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_toy_dataset(tmp_path_factory.mktemp("project"))


def test_items_are_what_the_docstring_promises(root):
    samples = Samples(root, "test", FEATURES)
    item = samples[1]
    assert item["sample_id"] == samples.sample_ids[1] and item["label"] == "class 1"
    assert item["frames"].dtype == torch.uint8 and item["frames"].shape == (3, 48, 48)
    assert item["flow"].dtype == torch.float32 and item["flow"].shape == (2, 24, 24)
    assert item["spectrograms"].dtype == torch.float32
    assert item["spectrograms"].shape == (257, 300)
    stored = samples.dataset.feature("frames").read(item["sample_id"])
    np.testing.assert_array_equal(item["frames"].permute(1, 2, 0), stored)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_default_collate_and_worker_processes(root, num_workers):
    samples = Samples(root, "train", FEATURES, size=32)
    assert len(samples) == 16 and samples.missing == {"frames: not computed yet": 1}
    loader = DataLoader(samples, batch_size=8, num_workers=num_workers)
    batches = list(loader)
    assert [batch["frames"].shape for batch in batches] == [(8, 3, 32, 32)] * 2
    assert batches[0]["flow"].shape == (8, 2, 32, 32)
    assert [name for batch in batches for name in batch["sample_id"]] == samples.sample_ids


def test_resized_pixels_are_those_of_the_projects_own_loader(root):
    samples = Samples(root, "test", ["frames", "flow"], size=32)
    own = SampleSource(
        samples.sample_ids,
        {name: samples.dataset.feature(name) for name in ("frames", "flow")},
        input_format=InputFormat(
            image_size=32, short_side=36, image_mean=(0.0,) * 3, image_std=(1 / 255,) * 3
        ),
    )
    expected = prepare_inputs(own[(0, np.arange(len(samples)))], own.input_format)
    for position, item in enumerate(samples):
        assert torch.equal(item["frames"].float(), expected["frames"][position].round())
        torch.testing.assert_close(item["flow"], expected["flow"][position], rtol=1e-3, atol=2e-3)


def test_an_order_repeats_differs_by_epoch_and_is_shared_between_processes(root):
    samples = Samples(root, "train", ["frames"])
    order = ShardOrder(samples, seed=3)
    first = list(order)
    assert sorted(first) == list(range(16)) and list(order) == first
    order.set_epoch(1)
    assert sorted(order) == list(range(16)) and list(order) != first

    parts = [list(ShardOrder(samples, seed=3, rank=rank, num_processes=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [5, 5, 5]
    assert sorted(number for part in parts for number in part) == sorted(first[:15])
    with pytest.raises(DataError, match="rank is 3, expected 0 to 2"):
        ShardOrder(samples, seed=3, rank=3, num_processes=3)


def test_an_order_resumes_inside_an_epoch(root):
    samples = Samples(root, "train", ["frames"])
    order = ShardOrder(samples, seed=0)
    order.set_epoch(2)
    whole = list(order)
    state = order.state_dict(num_used=6)

    resumed = ShardOrder(samples, seed=0)
    resumed.load_state_dict(state)
    resumed.set_epoch(2)
    assert len(resumed) == 10 and list(resumed) == whole[6:]
    assert len(resumed) == 16 and list(resumed) == whole  # the next iteration is a whole one


def test_transform_and_empty_features(root):
    bright = Samples(root, "test", ["frames"], transform=lambda item: item["frames"].max().item())
    assert bright[0] == 230 or bright[0] == 235
    with pytest.raises(DataError, match="no feature is named"):
        Samples(root, "test", [])
