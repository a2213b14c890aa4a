"""Imports: a second file for a clip, and archives that unpack to more than they should."""

import io
import shutil
import tarfile

import pytest

from earshot.errors import RunError
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.downloads.download_helpers import clips_table
from tests.helpers.downloads.import_runs import run_import

ROWS = [("a", "http://127.0.0.1:9/a")]


def write_tar(path, members: dict[str, bytes], mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("is_tar", [False, True])
def test_a_good_second_file_is_imported_when_the_first_is_rejected(tmp_path, media, is_tar):
    good = (media / "clip0.mp4").read_bytes()
    files = {"1/a.mp4": good[:3000], "2/a.mkv": good[:4000], "3/a.mp4": good, "4/a.mp4": good}
    if is_tar:
        write_tar(tmp_path / "source.tar.gz", files)
    for name, data in {} if is_tar else files.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True)
        (tmp_path / "source" / name).write_bytes(data)

    source = "source.tar.gz" if is_tar else "source"
    report = run_import(tmp_path, clips_table(*ROWS), source, num_workers=2)
    assert report.imported == ["a"]
    assert [row[2] for row in report.rejected] == ["corrupt", "corrupt"]
    assert report.foreign[0][0].endswith("4/a.mp4")
    assert len(report.foreign) == 1
    assert (tmp_path / "clips" / "a.mp4").read_bytes() == good
    assert not (tmp_path / "clips" / ".work" / "import").exists()


def test_a_good_second_sound_is_joined_when_the_first_is_rejected(tmp_path, media):
    folder = tmp_path / "source"
    for name in ("1", "2", "3"):
        (folder / name).mkdir(parents=True)
    shutil.copyfile(media / "mute.mp4", folder / "3" / "a.mp4")
    (folder / "1" / "a.wav").write_bytes(b"RIFF no sound")
    shutil.copyfile(media / "sound_only.mp4", folder / "2" / "a.m4a")
    # Three parts, of which the bad sound came first.
    report = run_import(tmp_path, clips_table(*ROWS), "source")
    assert [row[1] for row in report.rejected][:1] == ["a"]
    shutil.copyfile(media / "mute.mp4", folder / "1" / "a.mp4")
    report = run_import(tmp_path, clips_table(*ROWS), "source")
    assert report.imported == ["a"]


def test_a_member_that_unpacks_to_too_much_is_left_alone(tmp_path, media):
    """A few kilobytes of tar become many megabytes: declared sizes are bounded."""
    good = (media / "clip0.mp4").read_bytes()
    write_tar(tmp_path / "bomb.tar.gz", {"1/a.mp4": bytes(50_000_000), "2/a.mp4": good})
    report = run_import(tmp_path, clips_table(*ROWS), "bomb.tar.gz", max_gigabytes=0.01)
    assert report.imported == ["a"]
    name, cause = report.foreign[0]
    assert name.endswith("bomb.tar.gz!1/a.mp4")
    assert cause == ("unpacks to 50000000 bytes, expected at most download.max_gigabytes (0.01)")


def test_an_import_stops_before_the_disk_is_full(tmp_path, media):
    write_tar(tmp_path / "a.tar.gz", {"a.mp4": (media / "clip0.mp4").read_bytes()})
    with pytest.raises(RunError, match=r"must stay free \(download\.min_free_gigabytes\)"):
        run_import(tmp_path, clips_table(*ROWS), "a.tar.gz", min_free_gigabytes=1e9)
    assert read_entries(tmp_path / "attempts.jsonl") == []
    assert run_import(tmp_path, clips_table(*ROWS), "a.tar.gz").imported == ["a"]
