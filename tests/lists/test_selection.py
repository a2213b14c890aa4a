"""Keys of every dataset that choose clips: ``ids``, ``limit`` and ``exclude_flags``."""

import pyarrow as pa
import pytest

from earshot.errors import DataError, ParameterError
from pipeline.base.parameters import build
from pipeline.datasets.dataset import find_user_paths, load, names
from pipeline.lists.selection import Chooser, Selection, read_left_out


@pytest.mark.parametrize("name", names())
def test_every_dataset_has_the_keys(name, tmp_path):
    about = load(name)
    needed = {"local": {"folder": "videos"}, "table": {"path": "birds.csv"}}.get(name, {})
    values = {**needed, "ids": "keep.txt", "limit": 3, "exclude_flags": ["silent", "still"]}
    parameters = build(about.parameters, values, f"sources.{name}", folder=tmp_path)
    assert parameters.exclude_flags == ("silent", "still")
    # `refresh` looks at the file of ids, whatever the dataset is.
    assert tmp_path / "keep.txt" in find_user_paths(about, parameters)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "limit is 0, expected 1 or more"),
        ({"ids": " "}, "ids is empty"),
        ({"exclude_flags": ["silnt"]}, "exclude_flags has 'silnt', did you mean silent"),
        ({"exclude_flags": "silent"}, "exclude_flags is 'silent', expected a list"),
    ],
)
def test_wrong_keys_are_told(values, message):
    with pytest.raises(ParameterError, match=message):
        build(Selection, values, "sources.x")


def test_a_clip_that_one_split_leaves_out_is_used_by_another():
    chooser = Chooser(Selection(limit=1))
    first = chooser.choose(["a", "b"])
    second = chooser.choose(["b"] if first == ["a"] else ["a"])
    assert {*first, *second} == {"a", "b"}
    assert read_left_out(chooser.finish(pa.table({}))) == {}


def test_a_file_of_ids_must_be_there_and_hold_ids(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: not found, expected a file with one id"):
        Chooser(Selection(ids=str(tmp_path / "none.txt")))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"empty\.txt: is empty, expected one id"):
        Chooser(Selection(ids=str(tmp_path / "empty.txt")))


def test_the_sample_dataset_renders_only_what_is_chosen(tmp_path):
    about = load("sample")
    (tmp_path / "ids.txt").write_text("train_0001\nsingle_0000\n")
    values = {"num_train": 3, "num_val": 1, "num_single": 2, "num_traffic": 0, "num_final": 0}
    values |= {"num_broken": 0, "num_workers": 1, "ids": str(tmp_path / "ids.txt")}
    clips, samples = about.build_tables(about.parameters(**values), cache_dir=tmp_path)
    assert clips["clip_id"].to_pylist() == ["train_0001", "single_0000"]
    assert samples["sample_id"].to_pylist() == ["train_0001", "single_0000"]
    assert len(list((tmp_path / "remote").glob("*.mp4"))) == 2
