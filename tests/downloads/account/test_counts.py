"""Counts of clips: totals add up, each split, each reason and its outlook."""

import pyarrow as pa
import pytest

from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.downloads.account.counts import count_clips, count_reasons, count_splits
from tests.helpers.command_helpers import make_project

STATUSES = [
    *[("ok", None)] * 4,
    *[("missing", "gone")] * 3,
    ("missing", "network"),
    *[("pending", None)] * 2,
]


@pytest.fixture
def project(tmp_path) -> Project:
    """A list of ten clips; the odd ones are also in the split train."""
    project = make_project(tmp_path)
    clips = [
        dict.fromkeys(CLIPS.columns.names)
        | {"clip_id": str(n), "splits": ["train", "all"] if n % 2 else ["all"]}
        for n in range(10)
    ]
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    return project


def write_downloads(project: Project) -> None:
    """Write a row for each clip."""
    downloads = [
        dict.fromkeys(DOWNLOADS.columns.names)
        | {"clip_id": str(n), "status": status, "reason": reason, "attempts": 1}
        | {"bytes": 10 if status == "ok" else None}
        for n, (status, reason) in enumerate(STATUSES)
    ]
    write_table(project.downloads_table_path("vggsound"), downloads, DOWNLOADS)


def test_totals_add_up(project):
    assert not count_clips(project, "flickr").has_sources
    assert count_clips(project, "vggsound").num_pending == 10

    write_downloads(project)
    counts = count_clips(project, "vggsound")
    assert counts.num_requested == counts.num_ok + counts.num_missing + counts.num_pending == 10
    assert (counts.num_bytes, counts.reasons) == (40, {"gone": 3, "network": 1})


def test_counts_of_splits_and_reasons(project):
    write_downloads(project)
    clips = read_table(project.clips_table_path("vggsound"), CLIPS)
    downloads = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)

    assert count_splits(clips, downloads) == {
        "all": {"requested": 10, "ok": 4, "missing": 4, "pending": 2, "gone": 3, "network": 1},
        "train": {"requested": 5, "ok": 2, "missing": 2, "pending": 1, "gone": 1, "network": 1},
    }
    rows = [(row["reason"], row["clips"], row["share"]) for row in count_reasons(downloads)]
    assert rows == [("gone", 3, 0.3), ("network", 1, 0.1)]


def test_a_reason_is_permanent_when_all_its_clips_are_confirmed():
    confirmed = [("unavailable", True), ("corrupt", True), ("unavailable", False)]
    rows = [
        {"status": "missing", "reason": reason, "is_confirmed": is_confirmed}
        for reason, is_confirmed in confirmed
    ]
    outlooks = {row["reason"]: row["outlook"] for row in count_reasons(pa.Table.from_pylist(rows))}
    assert outlooks == {"unavailable": "confirm", "corrupt": "permanent"}
