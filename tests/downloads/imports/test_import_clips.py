"""Import of clips: foreign and broken files, tar files, kill and resume."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from earshot.errors import DataError, ParameterError, RunError
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.downloads.account.ledger import Ledger, read_entries
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import derive_from_ledger
from pipeline.downloads.engine import download_clips
from pipeline.downloads.imports import import_clips as import_module
from pipeline.downloads.parameters import DownloadParameters
from tests.helpers.command_helpers import call
from tests.helpers.downloads.import_runs import clips_table, run_import
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import ROOT


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A clip, its picture and its sound alone, a still; other sounds make other bytes."""
    folder = tmp_path_factory.mktemp("media")
    make_clip(folder / "clip.mp4", size="64x48", fps="8")
    make_clip(folder / "long.mp4", size="64x48", fps="8", seconds=9)
    make_clip(folder / "picture.mp4", size="64x48", fps="8", sound=None)
    make_clip(folder / "sound.wav", picture=None)
    cv2.imwrite(
        str(folder / "still.jpg"), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    )
    cv2.imwrite(
        str(folder / "still.png"), np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    )
    (folder / "broken.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:2000])
    return folder


def unlike(path, target, number):
    """A copy with other bytes and the same content (a comment box at the end of an mp4)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(
        path.read_bytes() + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
    )
    return target


def run_download(tmp_path, clips):
    """Run the download stage after an import: no clip can be fetched from port 9."""
    parameters = DownloadParameters(
        num_quick_attempts=1, max_wait_seconds=0, max_failed_fraction=1.0, num_site_retries=0
    )
    table = download_clips(
        clips,
        AccountPaths(tmp_path / "clips", tmp_path / "attempts.jsonl"),
        parameters=parameters,
        dataset="x",
        is_quiet=True,
    )
    return {row["clip_id"]: row for row in table.to_pylist()}


def test_a_folder_of_all_kinds_of_files(tmp_path, media, capsys):
    ids = [
        f"{letter}-cdefghij__0000{number}"
        for letter, number in zip("abcdefgh", range(10, 18), strict=True)
    ]
    folder = tmp_path / "have it"
    unlike(media / "clip.mp4", folder / f"{ids[0]}.mp4", 0)
    unlike(media / "clip.mp4", folder / "deep" / f"{ids[1][:11]}_11000_15000.mp4", 1)
    for kind, suffix, source in (("video", "mp4", "picture.mp4"), ("audio", "wav", "sound.wav")):
        (folder / kind).mkdir()
        shutil.copy(media / source, folder / kind / f"{ids[2]}.{suffix}")
    for kind, suffix, source in (("frames", "jpg", "still.jpg"), ("sounds", "wav", "sound.wav")):
        (folder / kind).mkdir()
        shutil.copy(media / source, folder / kind / f"{ids[3]}.{suffix}")
    shutil.copy(media / "broken.mp4", folder / f"{ids[4]}.mp4")
    shutil.copy(media / "picture.mp4", folder / f"{ids[5]}.mp4")
    shutil.copy(media / "long.mp4", folder / f"{ids[6][:11]}.mp4")
    (folder / "zzzzzzzzzzz_000001.mp4").write_bytes(b"other")
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.mp4").write_text("x")
    (folder / "loop").symlink_to(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    clips = clips_table(*ids)
    report = run_import(tmp_path, clips, "have it")

    assert sorted(report.imported) == ids[:4]

    reasons = {clip_id: reason for _, clip_id, reason, _ in report.rejected}
    assert reasons == {ids[4]: "corrupt", ids[5]: "no_audio", ids[6]: "too_long"}
    # The last line of progress counts them, too.
    assert capsys.readouterr().err.endswith(", failed 3\n")

    foreign = {Path(name).name: why for name, why in report.foreign}
    assert foreign == {
        "zzzzzzzzzzz_000001.mp4": "the list has no clip of this name",
        "notes.txt": "a clip is made of no file of kind .txt",
    }
    assert report.num_hidden == 1
    assert {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == before  # left alone

    rows = run_download(tmp_path, clips)
    assert [rows[clip_id]["status"] for clip_id in ids] == ["ok"] * 4 + ["missing"] * 4
    assert {rows[clip_id]["attempts"] for clip_id in ids[:4]} == {1}  # nothing of them was fetched
    assert "still" in rows[ids[3]]["flags"]
    assert rows[ids[2]]["audio_codec"] == "pcm_s16le"
    assert os.stat(tmp_path / "clips" / rows[ids[0]]["path"]).st_nlink == 2  # linked

    again = run_import(tmp_path, clips, "have it")
    assert (again.imported, sorted(again.present)) == ([], ids[:4])


def test_stills_keep_their_pixels(tmp_path, media):
    clips = clips_table("1234500001", "1234500002")
    for number, suffix in ((1, "jpg"), (2, "png")):
        shutil.copy(media / f"still.{suffix}", tmp_path / f"123450000{number}.{suffix}")
        unlike(media / "sound.wav", tmp_path / f"123450000{number}.wav", number)
    report = run_import(
        tmp_path,
        clips,
        *(f"123450000{n}.{s}" for n, s in ((1, "jpg"), (1, "wav"), (2, "png"), (2, "wav"))),
    )

    assert sorted(report.imported) == ["1234500001", "1234500002"]

    with av.open(str(tmp_path / "clips" / "1234500001.mkv")) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert set(packets) == {(media / "still.jpg").read_bytes()}
    assert len(packets) == 32

    with av.open(str(tmp_path / "clips" / "1234500002.mkv")) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert all((frame == cv2.imread(str(media / "still.png"))).all() for frame in frames)


def add_member(archive, name, data, **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tars_are_streamed_and_cannot_escape(tmp_path, media, mode):
    ids = ["a-cdefghij__000010", "b-cdefghij__000011", "c-cdefghij__000012"]
    path = tmp_path / ("clips.tar" if mode == "w" else "clips.tar.gz")
    clip = unlike(media / "clip.mp4", tmp_path / "other.mp4", 7).read_bytes()
    with tarfile.open(path, mode) as archive:
        add_member(archive, f"scratch/video/{ids[0]}.mp4", clip)
        add_member(archive, f"../../{ids[1]}.mp4", clip)
        add_member(archive, f"/tmp/{ids[1]}.mp4", clip)
        add_member(archive, f"{ids[1]}.mp4", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add_member(archive, f"audio/{ids[2]}.wav", (media / "sound.wav").read_bytes())
        add_member(archive, "unknown.mp4", clip)
        add_member(archive, f"video/{ids[2]}.mp4", (media / "picture.mp4").read_bytes())
    outside = {entry.name for entry in tmp_path.iterdir()}
    clips = clips_table(*ids)
    report = run_import(tmp_path, clips, path.name)

    assert sorted(report.imported) == [ids[0], ids[2]]
    assert len(report.foreign) == 4
    assert sum("unsafe name" in why for _, why in report.foreign) == 2
    assert sum("is a link or device" in why for _, why in report.foreign) == 1
    assert {entry.name for entry in tmp_path.iterdir()} - outside == {"clips", "attempts.jsonl"}
    assert not Path("/tmp", f"{ids[1]}.mp4").exists()
    assert sorted(p.name for p in (tmp_path / "clips").iterdir() if not p.name.startswith(".")) == [
        f"{ids[0]}.mp4",
        f"{ids[2]}.mkv",
    ]

    (tmp_path / "torn.tar").write_bytes((tmp_path / path.name).read_bytes()[:700])
    ((name, why),) = run_import(tmp_path, clips, "torn.tar").damaged
    assert name.endswith("torn.tar") and "torn.tar: not a readable tar file" in why


def test_copies_survive_their_source(tmp_path, media):
    clips = clips_table("a-cdefghij__000010")
    unlike(media / "clip.mp4", tmp_path / "in" / "a-cdefghij__000010.mp4", 1)
    run_import(tmp_path, clips, "in", mode="copy")
    path = tmp_path / "clips" / "a-cdefghij__000010.mp4"
    assert path.stat().st_nlink == 1
    entry = read_entries(tmp_path / "attempts.jsonl")[0]
    assert (entry["outcome"], entry["file"]["bytes"]) == ("ok", path.stat().st_size)
    assert entry["origin"].endswith("in/a-cdefghij__000010.mp4")


def test_a_killed_import_goes_on(tmp_path, media):
    ids = [f"{number:02d}cdefghijk_000010" for number in range(24)]
    for number, clip_id in enumerate(ids):
        unlike(media / "clip.mp4", tmp_path / "in" / f"{clip_id}.mp4", number)
    clips = clips_table(*ids)
    write_table(tmp_path / "clips.parquet", clips, CLIPS)
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.helpers.downloads.import_runs import run_import\n"
        "from earshot.tables import *\n"
        "root = Path(sys.argv[1]); clips = read_table(root / 'clips.parquet', CLIPS)\n"
        "run_import(root, clips, 'in')"
    )
    random = np.random.default_rng(3)
    num_kills = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, start_new_session=True
        )
        deadline = time.monotonic() + 30
        num_before = len(read_entries(tmp_path / "attempts.jsonl"))
        while (
            len(read_entries(tmp_path / "attempts.jsonl")) <= num_before and process.poll() is None
        ):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.05))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            num_kills += 1
        assert process.wait() in (0, -signal.SIGKILL)

    assert num_kills >= 2

    rows = run_download_of_ok(tmp_path, clips)
    report = run_import(tmp_path, clips, "in")
    assert set(report.present) >= rows

    entries = [
        entry for entry in read_entries(tmp_path / "attempts.jsonl") if entry["outcome"] == "ok"
    ]
    assert run_download_of_ok(tmp_path, clips) == set(ids)
    assert len({entry["clip_id"] for entry in entries}) == len(ids)


def test_a_kill_between_ledger_and_rename_is_rolled_forward(tmp_path, media):
    clips = clips_table("a-cdefghij__000010")
    unlike(media / "clip.mp4", tmp_path / "in" / "a-cdefghij__000010.mp4", 1)
    write_table(tmp_path / "clips.parquet", clips, CLIPS)
    script = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; import pipeline.downloads.imports.import_clips as module\n"
        "from tests.helpers.downloads.import_runs import clips_table, run_import\n"
        "from earshot.tables import *\n"
        "module.publish_clip = lambda *_: os._exit(9)\n"
        "root = Path(sys.argv[1]); clips = read_table(root / 'clips.parquet', CLIPS)\n"
        "run_import(root, clips, 'in', mode='copy')"
    )

    assert (
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False
        ).returncode
        == 9
    )
    assert run_download_of_ok(tmp_path, clips) == set()

    report = run_import(tmp_path, clips, "in")
    assert (report.imported, report.present) == ([], ["a-cdefghij__000010"])
    assert len(read_entries(tmp_path / "attempts.jsonl")) == 1
    assert run_download_of_ok(tmp_path, clips) == {"a-cdefghij__000010"}
    assert not (tmp_path / "clips" / ".work" / "import").exists()


def run_download_of_ok(tmp_path, clips):
    """Ids that are whole on disk, as the table that derives from the ledger says."""
    entries = read_entries(tmp_path / "attempts.jsonl")
    table = derive_from_ledger(clips, entries, clips_dir=tmp_path / "clips")
    return {row["clip_id"] for row in table.to_pylist() if row["status"] == "ok"}


def test_the_table_is_written_under_the_lock_of_the_ledger(tmp_path, media, monkeypatch):
    """A download that starts meanwhile would write it as well."""
    clips = clips_table("a-cdefghij__000010")
    unlike(media / "clip.mp4", tmp_path / "in" / "a-cdefghij__000010.mp4", 1)
    table_path = tmp_path / "downloads.parquet"

    def write(path, downloads, schema):
        with pytest.raises(RunError, match="another process is downloading into this ledger"):
            Ledger(tmp_path / "attempts.jsonl")
        write_table(path, downloads, schema)

    monkeypatch.setattr(import_module, "write_table", write)
    run_import(tmp_path, clips, "in", table_path=table_path)
    assert read_table(table_path, DOWNLOADS)["status"].to_pylist() == ["ok"]

    # An import that was killed before it wrote the table finds all clips present.
    table_path.unlink()
    assert run_import(tmp_path, clips, "in", table_path=table_path).present
    assert read_table(table_path, DOWNLOADS)["status"].to_pylist() == ["ok"]


def test_the_command_writes_the_table_and_names_what_it_left(tmp_path, media, capsys):
    clips = clips_table("a-cdefghij__000010", "b-cdefghij__000010")
    project = Project(tmp_path, {"datasets": ["vggsound"], "download": {}})
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    unlike(media / "clip.mp4", tmp_path / "in" / "a-cdefghij__000010.mp4", 1)
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")

    assert call(project, "import", "--quiet", str(tmp_path / "in")) == 0

    output = capsys.readouterr().out
    assert (
        "vggsound: 1 clips imported, 0 were there, 0 rejected, 1 files left alone, 0 hidden"
        in output
    )
    assert "the list has no clip of this name" in output

    downloads = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)
    assert dict(
        zip(*(downloads.column(name).to_pylist() for name in ("clip_id", "status")), strict=True)
    ) == {
        "a-cdefghij__000010": "ok",
        "b-cdefghij__000010": "pending",
    }

    (tmp_path / "nothing").mkdir()
    assert call(project, "import", "--quiet", str(tmp_path / "nothing")) == 1

    with pytest.raises(DataError, match="nowhere: not found, expected a folder"):
        call(project, "import", str(tmp_path / "nowhere"))
    # Before the lists of a dataset are fetched that has none yet.
    project.clips_table_path(project.datasets[0]).unlink()
    with pytest.raises(DataError, match="nowhere: not found, expected a folder"):
        call(project, "import", str(tmp_path / "nowhere"))
    two = Project(tmp_path, {"datasets": ["vggsound", "flickr"], "download": {}})
    with pytest.raises(ParameterError, match="say which with --dataset"):
        call(two, "import", str(tmp_path / "nowhere"))
