"""Splits from the tables, validation samples where a dataset has none, disjoint sets."""

import pyarrow as pa
import pytest

from earshot.errors import DataError
from train.data.splits import find_boxes, find_split_ids, find_videos, hold_out, require_disjoint


def test_ids_and_videos_come_from_the_tables():
    samples = pa.table(
        {
            "sample_id": ["a", "b", "c"],
            "clip_id": ["x", "x", "y"],
            "splits": [["train"], ["val"], None],
        }
    )
    clips = pa.table({"clip_id": ["x", "y"], "video_id": ["v", "w"]})
    assert find_split_ids(samples, "train") == ["a"]
    assert find_split_ids(samples, "test") == []
    assert find_videos(samples, clips) == {"a": "v", "b": "v", "c": "w"}


def test_held_out_samples_share_no_video_with_training_and_grow_with_the_number():
    video_of = {f"s{i}": f"v{i // 3}" for i in range(300)}
    train, val = hold_out(list(video_of), video_of, num_samples=12)
    assert sorted(train + val) == sorted(video_of)
    assert len(val) == 12
    assert not {video_of[name] for name in train} & {video_of[name] for name in val}
    more = hold_out(list(video_of), video_of, num_samples=24)[1]
    assert set(val) < set(more)


def test_never_more_than_about_a_tenth_is_held_out():
    video_of = {f"s{i}": f"v{i}" for i in range(50)}
    assert len(hold_out(list(video_of), video_of, num_samples=500)[1]) == 5


def test_boxes_come_in_the_order_that_was_asked():
    samples = pa.table({"sample_id": ["a", "b"], "boxes": [[[0.0, 0.0, 1.0, 1.0]], []]})
    assert find_boxes(samples, ["b", "a"]) == [[], [[0.0, 0.0, 1.0, 1.0]]]


def test_a_shared_video_or_sample_is_refused():
    video_of = {"a": "v1", "b": "v1", "c": "v2"}
    with pytest.raises(
        DataError, match=r"train and val splits share 1 videos \(v1\); expected none"
    ):
        require_disjoint({"train": ["a"], "val": ["b"]}, video_of=video_of)
    with pytest.raises(DataError, match="has no video id"):
        require_disjoint({"train": ["a"], "val": []}, video_of={})
    require_disjoint({"train": ["a"], "val": ["c"]}, video_of=video_of)
    require_disjoint({"train": ["a"], "val": ["a"], "test": ["b"]}, video_of=None, selection="test")
