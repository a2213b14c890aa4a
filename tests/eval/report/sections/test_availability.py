"""Counts of what is there: each table adds up, and each reason says whether to try again."""

from dataclasses import replace

import pyarrow as pa
import pytest

from eval.report.sections.availability import (
    SplitCount,
    count_clips,
    count_features,
    count_reasons,
    describe_reason,
    find_absent_clips,
)


def test_counts_add_up(built):
    dataset = built[1].datasets[0]
    rows = {row.split: row for row in count_clips(dataset)}
    assert rows["all"] == SplitCount("all", requested=15, ok=12, missing=2, pending=1)
    assert rows["train"] == SplitCount("train", requested=3, ok=0, missing=2, pending=1)
    assert list(rows) == ["all", "test", "single", "traffic", "train"]
    for row in rows.values():
        assert row.requested == row.ok + row.missing + row.pending

    reasons = {row.reason: row for row in count_reasons(find_absent_clips(dataset))}
    assert sum(row.num_clips for row in reasons.values()) == 3
    assert reasons["removed"].advice == "will not come by itself: look for a copy and import it"
    assert reasons["network"].advice.startswith("worth a retry")

    for feature in count_features(dataset):
        parts = (feature.ok, feature.missing, feature.failed, feature.absent)
        assert feature.requested == sum(parts) == 14
        assert feature.reasons == {"corrupt": 1}


def test_what_was_confirmed_is_permanent(built):
    dataset = built[1].datasets[0]
    clip_ids = dataset.clips["clip_id"].to_pylist()[:2]
    for is_last_confirmed, advice in (
        (True, "will not come by itself: "),
        (False, "once more on another day"),
    ):
        rows = [
            {"clip_id": name, "status": "missing", "reason": "corrupt", "detail": "noise"}
            | {"is_confirmed": is_confirmed}
            for name, is_confirmed in zip(clip_ids, (True, is_last_confirmed), strict=True)
        ]
        downloads = pa.Table.from_pylist(rows)
        [row] = count_reasons(find_absent_clips(replace(dataset, downloads=downloads)))
        assert row.advice.startswith(advice)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no_audio", "will not come by itself: the file has no sound"),
        ("corrupt", "will not come by itself: look for a copy and import it"),
        ("private", "will not come by itself: with the cookies of an account that may see it"),
        ("local", "worth a retry, once this machine is in order: free disk space"),
    ],
)
def test_advice_is_one_sentence(reason, words):
    assert describe_reason(reason, is_confirmed=reason != "local").startswith(words)


def test_clips_without_a_download_record_are_pending(built):
    dataset = replace(built[1].datasets[0], downloads=None)
    assert count_clips(dataset)[0] == SplitCount("all", 15, ok=0, missing=0, pending=15)


def test_clips_without_a_split_are_counted_too(built):
    dataset = built[1].datasets[0]
    rows = [{"clip_id": "a", "splits": None}, {"clip_id": "b", "splits": []}]
    clips = pa.Table.from_pylist(rows, schema=dataset.clips.select(["clip_id", "splits"]).schema)
    counts = count_clips(replace(dataset, clips=clips))
    assert [(row.split, row.requested) for row in counts] == [("all", 2), ("(no split)", 2)]
    nothing = count_clips(replace(dataset, clips=clips.slice(0, 0)))
    assert nothing == (SplitCount("all", 0, ok=0, missing=0, pending=0),)
