"""Rows of downloads.parquet from the ledger: confirmed reasons, and tables of an older version."""

import errno
import math
import os
from dataclasses import replace

import pyarrow as pa
import pytest

from earshot.errors import DataError
from earshot.tables import DOWNLOADS, read_table, write_table
from pipeline.downloads.account.counts import list_missing_clips
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
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


def success(**changes) -> dict:
    """An entry of a clip that arrived."""
    file = {
        **{"path": "a.mp4", "bytes": 5, "sha256": "0" * 64, "duration_seconds": 1.0, "flags": []},
        **{"width": 2, "height": 2, "fps": None, "sample_rate": None},
        **{"video_codec": "h264", "audio_codec": None},
    }
    return failure("a", "http://a/1", "", day=1) | {"outcome": "ok", "file": file | changes}


def test_half_of_an_emoji_in_the_text_of_a_site_does_no_harm(tmp_path):
    entry = failure("a", "http://a/1", "removed", day=1) | {"text": "no \ud83d such video"}
    table = derive_from_ledger(clips_table(("a", "http://a/1")), [entry], clips_dir=tmp_path)
    assert table["detail"].to_pylist() == ["no ? such video"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (failure("a", "", "x", day=1) | {"time": math.nan}, "time nan, expected a number below"),
        (failure("a", "", "x", day=1) | {"time": 1e300}, "time 1e.300, expected a number below"),
        (failure("a", "", "x", day=1) | {"versions": "\ud83d"}, "versions .*, expected UTF-8"),
        (failure("a", "", "x", day=1) | {"retry_after_seconds": "10"}, "retry_after_seconds '10'"),
        (failure("a", "", "x", day=1) | {"source": 5}, "source 5, expected dict or null"),
        (success(width=2**40), "file.width 1099511627776, expected a number below"),
        (success(flags=[1]), r"file.flags \[1\], expected names"),
        (success(path="../../a.mp4"), "file.path '../../a.mp4', expected the name of a file"),
        (success(path="/etc/passwd"), "file.path '/etc/passwd', expected the name of a file"),
        (success(path="a\0.mp4"), "file.path .*, expected UTF-8 without zeros"),
        (success(staged="../a.mp4"), "file.staged '../a.mp4', expected a path below"),
    ],
)
def test_values_that_no_run_writes_are_named(tmp_path, entry, words):
    clips = clips_table(("a", "http://a/1"))
    derive_from_ledger(clips, [success()], clips_dir=tmp_path)
    with pytest.raises(DataError, match=rf"attempts\.jsonl, line 1: .* has {words}.*; mend or"):
        derive_from_ledger(clips, [entry], clips_dir=tmp_path)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE, errno.EREMOTEIO])
def test_a_table_that_cannot_be_read_now_is_no_damage_and_stays(tmp_path, monkeypatch, code):
    """A pulled table is all that is known of its clips: without it, all would be fetched again."""
    row = {"clip_id": "a", "status": "ok", "path": "a.mp4", "bytes": 1, "sha256": "0" * 64}
    row |= {"is_confirmed": False, "attempts": 1, "flags": []}
    write_table(tmp_path / "downloads.parquet", [row], DOWNLOADS)
    before = (tmp_path / "downloads.parquet").read_bytes()

    def refuse(path, **_):
        raise OSError(code, "what Arrow says")  # without the name of the file

    monkeypatch.setattr("earshot.tables.pq.read_table", refuse)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        read_downloads_if_there(tmp_path / "downloads.parquet")
    assert (caught.value.errno, caught.value.filename) == (
        code,
        str(tmp_path / "downloads.parquet"),
    )
    assert (tmp_path / "downloads.parquet").read_bytes() == before
