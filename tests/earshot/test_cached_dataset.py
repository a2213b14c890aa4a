"""``earshot.open``: splits, labels, boxes and features of a cached dataset."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import earshot
from earshot.errors import DataError
from earshot.tables import SAMPLES, write_table
from tests.helpers.cache.toy_dataset import write_toy_dataset


@pytest.fixture
def root(tmp_path):
    return write_toy_dataset(tmp_path)


def test_a_dataset_says_what_it_has(root):
    toy = earshot.open(root)
    assert (toy.name, len(toy)) == ("toy", 25)
    assert toy.splits == {"test": 8, "train": 17}
    assert toy.features == ("flow", "frames", "sequences", "spectrograms", "waveforms")
    ids = toy.sample_ids("test")
    assert ids == [f"toy0_{number:04d}" for number in range(0, 24, 3)]

    sample = toy[ids[1]]
    assert (sample.clip_id, sample.time_seconds, sample.label) == ("clip_3", 1.5, "class 1")
    assert sample.attributes == {"place": "studio"}
    ((x1, y1, x2, y2),) = sample.boxes
    assert (x2 - x1, y2 - y1) == pytest.approx((0.2, 0.2))
    assert toy.feature("frames").read(ids[1]).dtype == np.uint8


def test_what_is_opened_prints_what_it_holds(root):
    toy = earshot.open(root)
    assert repr(toy) == (
        f"<CachedDataset '{root}': 25 samples; splits: test 8, train 17; "
        "features: flow, frames, sequences, spectrograms, waveforms>"
    )
    frames = toy.feature("frames")
    assert repr(frames) == f"<FeatureReader '{root / 'frames'}': arrays of 24 of 24 samples>"


def test_samples_without_a_feature_are_left_out_and_counted(root):
    toy = earshot.open(root)
    assert len(toy.sample_ids("train")) == 17
    assert len(toy.samples("train", features=["frames", "flow"])) == 16
    assert toy.missing("train", features=["frames", "flow"]) == {"frames: not computed yet": 1}
    assert toy.missing("test", features=["frames"]) == {}
    # A generator would be used up after the first sample.
    assert toy.missing("train", features=iter(["frames"])) == {"frames: not computed yet": 1}


def test_a_split_without_any_usable_sample_is_empty(root, tmp_path):
    rows = [{"sample_id": "absent", "clip_id": "absent", "splits": ["train"]}]
    write_table(tmp_path / "other.parquet", rows, SAMPLES)
    toy = earshot.open(root, samples_path=tmp_path / "other.parquet")
    assert toy.samples("train", features=["frames"]) == []


def test_the_table_may_lie_in_the_folder_itself(root, tmp_path):
    table = tmp_path / "manifests" / "toy" / "samples.parquet"
    shutil.move(table, root / "samples.parquet")
    assert len(earshot.open(root)) == 25
    shutil.move(root / "samples.parquet", tmp_path / "elsewhere.parquet")
    assert len(earshot.open(root, samples_path=tmp_path / "elsewhere.parquet")) == 25
    with pytest.raises(DataError, match=r"table of samples is neither there nor at .*manifests"):
        earshot.open(root)


@pytest.mark.parametrize(
    ("ids", "words"),
    [(["a", "b", "a"], "has 'a' more than once"), (["a", None], "has a row without an id")],
)
def test_one_id_is_one_sample(root, tmp_path, ids, words):
    rows = [{"sample_id": name, "clip_id": "c", "splits": ["train"]} for name in ids]
    path = tmp_path / "other.parquet"
    write_table(path, rows, SAMPLES)
    with pytest.raises(DataError, match=f"other.parquet: {words}, expected each sample in one"):
        earshot.open(root, samples_path=path)


def test_a_sample_without_splits_is_in_none(root, tmp_path):
    rows = [{"sample_id": "a", "clip_id": "c"}, {"sample_id": "b", "splits": ["train"]}]
    path = tmp_path / "other.parquet"
    write_table(path, rows, SAMPLES)
    toy = earshot.open(root, samples_path=path)
    assert toy.splits == {"train": 1} and toy.sample_ids("train") == ["b"]
    assert [sample.splits for sample in toy.samples()] == [(), ("train",)]


def test_folders_that_are_no_dataset(root, tmp_path):
    with pytest.raises(DataError, match=rf"folder of one feature, expected .*: {root}$"):
        earshot.open(root / "frames")
    with pytest.raises(DataError, match="table of samples is neither there nor at"):
        earshot.open("/")
    toy = earshot.open(root)
    for call in (toy.sample_ids, toy.samples, toy.missing):
        with pytest.raises(DataError, match="features is 'flow', expected a list"):
            call("train", features="flow")


def test_wrong_names_are_told_with_the_right_ones(root, tmp_path):
    toy = earshot.open(root)
    with pytest.raises(DataError, match="not found, expected a dataset's folder"):
        earshot.open(tmp_path / "nowhere")
    # From another folder than the one that the path was meant for.
    with pytest.raises(DataError, match=f"^{Path.cwd()}/cache/nowhere: not found"):
        earshot.open("cache/nowhere")
    with pytest.raises(DataError, match="no split 'tset'; it has test, train"):
        toy.sample_ids("tset")
    with pytest.raises(DataError, match="depth is not cached; cached: flow, frames, seq"):
        toy.feature("depth")
    with pytest.raises(DataError, match="toy: no sample 'nobody'"):
        toy["nobody"]
