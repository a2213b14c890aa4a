"""Rows of downloads.parquet from the ledger: confirmed reasons, and tables of an older version."""

from dataclasses import replace

import pyarrow as pa
import pytest

from earshot.errors import DataError
from earshot.tables import DOWNLOADS, read_table, write_table
from pipeline.downloads.account.counts import list_missing_clips
from pipeline.downloads.account.table import derive_from_ledger
from stages import download as download_stage
from tests.helpers.command_helpers import fill, make_project
from tests.helpers.downloads.download_helpers import answer, clips_table
from tests.helpers.downloads.misbehaving_server import Answer

DAY = 86400


def failure(clip_id: str, url: str, reason: str, *, day: int) -> dict:
    """An entry of the ledger."""
    return {
        **{"type": "attempt", "clip_id": clip_id, "time": day * DAY + 100.0, "url": url},
        **{"start_seconds": None, "end_seconds": None, "outcome": "failed", "reason": reason},
        **{"text": "gone?", "by": "check", "access": "", "versions": "x"},
    }


def test_a_reason_is_confirmed_on_another_day_and_at_once_for_a_file(tmp_path):
    urls = {"once": "http://a/1", "twice": "http://a/2", "file": "file:///a", "sure": "http://a/3"}
    entries = [failure(name, urls[name], "corrupt", day=1) for name in ("once", "twice", "file")]
    entries += [failure("twice", urls["twice"], "corrupt", day=2)]
    entries += [failure("sure", urls["sure"], "removed", day=day) for day in (1, 2)]
    table = derive_from_ledger(clips_table(*urls.items()), entries, clips_dir=tmp_path)
    found = dict(zip(table["clip_id"].to_pylist(), table["is_confirmed"].to_pylist(), strict=True))
    # `removed` needs no confirmation: it is permanent by itself.
    assert found == {"once": False, "twice": True, "file": True, "sure": False}
    assert set(table["detail"].to_pylist()) == {"gone?"}


def test_a_table_of_version_1_is_refused_and_written_again_without_fetching(
    tmp_path, media, server
):
    project = make_project(tmp_path / "project")
    clips = clips_table(
        ("a", server.add("/a.mp4", answer(media / "clip0.mp4"))),
        ("gone", server.add("/gone.mp4", Answer(status=404))),
    )
    fill(project, clips)
    table_path = project.downloads_table_path("vggsound")
    new = read_table(table_path, DOWNLOADS)
    columns = DOWNLOADS.columns.remove(DOWNLOADS.columns.get_field_index("is_confirmed"))
    version_1 = replace(DOWNLOADS, version=1, columns=columns)
    write_table(table_path, new.replace_schema_metadata(None), version_1)

    with pytest.raises(
        DataError,
        match=r"holds table downloads version 1, expected downloads version 2; run `dvc repro`",
    ):
        list_missing_clips(project, "vggsound")
    before = server.num_requests.copy()
    download_stage.main(project, "vggsound")

    assert server.num_requests == before
    assert pa.Table.equals(read_table(table_path, DOWNLOADS), new)
