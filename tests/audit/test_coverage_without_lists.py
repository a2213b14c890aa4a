"""A folder of lists that is gone must not stop what comes after all work."""

import pyarrow as pa

from earshot.tables import CLIPS, DOWNLOADS, write_table
from pipeline.audit.coverage import audit_coverage
from pipeline.downloads.account.counts import count_clips
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import clips_table


def make(tmp_path):
    sources = {"vggsound": {"lists_dir": str(tmp_path / "gone")}}
    project = make_project(tmp_path / "project", sources=sources)
    table = clips_table(("a", "file:///a.mp4"))
    write_table(project.clips_table_path("vggsound"), table, CLIPS)
    return project


def test_the_audit_says_that_the_lists_are_gone_and_goes_on(tmp_path, capsys):
    project = make(tmp_path)
    assert audit_coverage(project, "vggsound") == []
    assert "gone" in capsys.readouterr().err
    assert run(capsys, project, "audit")[0] == 0


def test_status_counts_listed_clips_only(tmp_path):
    """The table of downloads is older than the list: it still has clip b."""
    project = make(tmp_path)
    rows = [
        {"clip_id": "b", "status": "ok", "bytes": 5, "path": "b.mp4", "sha256": "0"},
        {"clip_id": "a", "status": "ok", "bytes": 3, "path": "a.mp4", "sha256": "1"},
    ]
    table = pa.Table.from_pylist(rows, schema=DOWNLOADS.columns)
    write_table(project.downloads_table_path("vggsound"), table, DOWNLOADS)
    counts = count_clips(project, "vggsound")
    assert (counts.num_requested, counts.num_ok, counts.num_pending) == (1, 1, 0)
    assert counts.num_bytes == 3
