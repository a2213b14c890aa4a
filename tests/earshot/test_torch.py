"""``earshot.torch``: items that default collate takes, the project's own pixels, an order."""

import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from earshot.cached_dataset import CachedDataset
from earshot.errors import DataError
from earshot.tables import SAMPLES, write_table
from earshot.torch import Samples, ShardOrder
from examples import train_your_own
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

    train = Samples(root, "train", ["frames", "flow"])
    assert repr(train) == "<Samples of toy, split train: 16 with frames, flow; 1 left out>"


def test_the_example_learns(root, capsys):
    """With one batch of 16 an epoch; a network that learns nothing stays at log(16), 2.77."""
    assert train_your_own.main(root, "train", num_epochs=12) < 2.4
    assert capsys.readouterr().out.startswith("16 samples; left out: {'frames: not computed yet'")


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


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_without_batches_resumes_too(root, num_workers):
    """With workers, such a loader makes two iterators of the order before it uses one."""
    samples = Samples(root, "train", ["frames"], transform=lambda item: item["sample_id"])
    order = ShardOrder(samples, seed=0)
    whole = [samples.sample_ids[place] for place in order]
    order.load_state_dict(order.state_dict(num_used=6))
    loader = DataLoader(samples, batch_size=None, sampler=order, num_workers=num_workers)
    assert list(loader) == whole[6:] and list(loader) == whole


def test_a_state_of_another_order_is_refused(root):
    samples = Samples(root, "train", ["frames"])
    state = ShardOrder(samples, seed=0).state_dict(num_used=6)
    for other, words in (
        (ShardOrder(samples, seed=1), "seed is 0, expected 1"),
        (ShardOrder(samples, seed=0, num_processes=2), "num_processes is 1, expected 2"),
        (ShardOrder(Samples(root, "test", ["frames"]), seed=0), "samples_crc32 is"),
    ):
        with pytest.raises(DataError, match=f"state of an order: {words}"):
            other.load_state_dict(state)

    order = ShardOrder(samples, seed=0)
    with pytest.raises(DataError, match="num_used is 17, expected 0 to 16"):
        order.load_state_dict({**state, "num_used": 17})
    # A state of the end of an epoch leaves nothing of it.
    order.load_state_dict({**state, "num_used": 16})
    assert list(order) == [] and len(list(order)) == 16


def test_more_processes_than_samples_are_refused(root):
    samples = Samples(root, "test", ["frames"])
    assert len(list(ShardOrder(samples, seed=0, rank=7, num_processes=8))) == 1
    with pytest.raises(DataError, match="8 samples for 9 processes"):
        ShardOrder(samples, seed=0, num_processes=9)


def test_the_sampler_of_pytorch_shares_all_samples_out(root):
    samples = Samples(root, "train", ["frames"])
    parts = [
        list(DistributedSampler(samples, num_replicas=3, rank=rank, shuffle=False))
        for rank in range(3)
    ]
    # 16 samples for three: PyTorch repeats the first two, which a score would count twice.
    assert [len(part) for part in parts] == [6, 6, 6]
    assert sorted(place for part in parts for place in part) == sorted([*range(16), 0, 1])


def test_positions_count_from_the_end_and_slices_are_refused(root):
    samples = Samples(root, "test", ["frames"])
    assert samples[-1]["sample_id"] == samples[np.int64(7)]["sample_id"] == samples.sample_ids[7]
    assert samples[-1]["label"] == samples[7]["label"]
    with pytest.raises(IndexError):
        samples[8]
    with pytest.raises(TypeError):
        samples[0:2]


def test_variants_are_what_their_features_are(root):
    """``frames-small`` is channels first, ``flow-2s`` is resized, ``waveforms-x`` is -1 to 1."""
    for name in ("frames", "flow", "waveforms"):
        shutil.copytree(root / name, root / f"{name}-mine", dirs_exist_ok=True)
    names = ["frames", "flow", "waveforms"]
    expected = Samples(root, "test", names, size=32)[3]
    item = Samples(root, "test", [f"{name}-mine" for name in names], size=32)[3]
    assert item["waveforms-mine"].abs().max() <= 1
    for name in names:
        assert torch.equal(item[f"{name}-mine"], expected[name])


def test_nothing_to_train_on_is_an_error(root, tmp_path):
    rows = [{"sample_id": "absent", "clip_id": "absent", "splits": ["train"]}]
    write_table(tmp_path / "other.parquet", rows, SAMPLES)
    toy = CachedDataset(root, samples_path=tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"no sample of 'train' has all of frames: {'frames: not c"):
        Samples(toy, "train", ["frames"])


@pytest.mark.parametrize("size", [0, -3, 1.5, (224, 224)])
def test_a_size_that_is_none_is_refused(root, size):
    with pytest.raises(DataError, match=r"size is .*, expected the side of a square"):
        Samples(root, "test", ["frames"], size=size)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_both_kinds_read_the_same(root, method):
    samples = Samples(root, "train", ["frames"], size=16)
    here = torch.cat([item["frames"][None] for item in samples])
    loader = DataLoader(samples, batch_size=4, num_workers=2, multiprocessing_context=method)
    assert torch.equal(torch.cat([batch["frames"] for batch in loader]), here)


def test_transform_and_empty_features(root):
    bright = Samples(root, "test", ["frames"], transform=lambda item: item["frames"].max().item())
    assert bright[0] == 230 or bright[0] == 235
    with pytest.raises(DataError, match="no feature is named"):
        Samples(root, "test", [])
    with pytest.raises(DataError, match=r"features is 'frames', expected a list, such as \['fra"):
        Samples(root, "test", "frames")
