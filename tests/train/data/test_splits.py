"""Splits from the tables, and validation samples where a dataset has none."""

import pyarrow as pa

from train.data.splits import hold_out, ids_in_split, videos_of_samples


def test_ids_and_videos_come_from_the_tables():
    samples = pa.table(
        {
            "sample_id": ["a", "b", "c"],
            "clip_id": ["x", "x", "y"],
            "splits": [["train"], ["val"], None],
        }
    )
    clips = pa.table({"clip_id": ["x", "y"], "video_id": ["v", "w"]})
    assert ids_in_split(samples, "train") == ["a"]
    assert ids_in_split(samples, "test") == []
    assert videos_of_samples(samples, clips) == {"a": "v", "b": "v", "c": "w"}


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
