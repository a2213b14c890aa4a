"""Archives: hostile names, links, bombs and damage."""

import io
import shutil
import stat
import tarfile
import zipfile
from collections import Counter

import pytest

from earshot.errors import DataError
from pipeline.base import archives
from pipeline.base.archives import iter_tar, unpack_archive

HOSTILE_NAMES = [
    "../escape.txt",
    "/tmp/escape.txt",
    "a/../../escape.txt",
    "C:/escape.txt",
    "a\\..\\escape.txt",
    "a//b",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_archives_cannot_write_outside_their_folder(tmp_path, name):
    zip_path, tar_path = tmp_path / "a.zip", tmp_path / "a.tar"
    with zipfile.ZipFile(zip_path, "w") as archive:
        archive.writestr("fine.txt", "fine")
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, "bad")
    with tarfile.open(tar_path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"bad"))
    for path in (zip_path, tar_path):
        with pytest.raises(DataError, match=r"unsafe name"):
            unpack_archive(path, tmp_path / "inner" / "folder")
    assert not list(tmp_path.rglob("*escape*"))
    assert not list((tmp_path / "inner").iterdir())


def test_links_bombs_and_broken_archives_are_refused(tmp_path):
    link_path = tmp_path / "link.tar"
    with tarfile.open(link_path, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
    with pytest.raises(DataError, match="member 'link' is a link or device"):
        unpack_archive(link_path, tmp_path / "out")
    refused = []
    assert list(iter_tar(link_path, on_refusal=lambda *facts: refused.append(facts))) == []
    assert refused[0][0] == "link"
    zip_path = tmp_path / "link.zip"
    with zipfile.ZipFile(zip_path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    with pytest.raises(DataError, match="member 'link' is a link or device"):
        unpack_archive(zip_path, tmp_path / "out")
    with zipfile.ZipFile(zip_path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    data = zip_path.read_bytes()
    zip_path.write_bytes(
        data.replace((10_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    )
    with pytest.raises(DataError, match=r"announces|cannot be unpacked"):
        unpack_archive(zip_path, tmp_path / "out")
    zip_path.write_bytes(data[:-30])
    with pytest.raises(DataError):
        unpack_archive(zip_path, tmp_path / "out")
    (tmp_path / "a.tar.gz").write_bytes(b"no tar")
    with pytest.raises(DataError, match="not a readable tar"):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert Counter(path.name.startswith(".tmp-") for path in tmp_path.iterdir())[True] == 0


def test_headers_and_counts_of_a_tar_are_bounded(tmp_path, monkeypatch):
    """tarfile keeps long names and all members in memory, whatever the archive says."""
    path = tmp_path / "name.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a/" * 1_000_000 + "b"))
    with pytest.raises(DataError, match="has a header of 2000002 bytes"):
        list(iter_tar(path))

    path = tmp_path / "many.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(20):
            archive.addfile(tarfile.TarInfo(str(number)))
    assert len([name for name, _, _ in iter_tar(path)]) == 20
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 19)
    with pytest.raises(DataError, match="has more than 19 members"):
        unpack_archive(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_that_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "zeros.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 30_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 28) + 20_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="zeros unpacks to 30000000 bytes"):
        unpack_archive(path, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["zeros.tar.gz"]
