"""Links and copies of files."""

import errno
import os

import pytest

from earshot.errors import DataError
from pipeline.base.disk import link_file, require_space


@pytest.mark.parametrize("present", ["nothing", "another file", "a dead link", "the same file"])
def test_a_link_replaces_what_is_there(tmp_path, present):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    if present == "another file":
        target.write_text("old")
    elif present == "a dead link":
        target.symlink_to(tmp_path / "absent")
    elif present == "the same file":
        os.link(source, target)
    link_file(source, target, otherwise="copy")
    assert target.samefile(source)
    assert not target.is_symlink()


def test_a_symbolic_link_stands_for_its_file(tmp_path):
    (tmp_path / "file").write_text("data")
    (tmp_path / "alias").symlink_to("file")
    link_file(tmp_path / "alias", tmp_path / "target", otherwise="copy")
    assert (tmp_path / "target").samefile(tmp_path / "file")
    assert not (tmp_path / "target").is_symlink()


@pytest.mark.parametrize("otherwise", ["copy", "symlink"])
def test_a_disk_without_hard_links(tmp_path, monkeypatch, otherwise):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("data")
    target.write_text("old")

    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    link_file(source, target, otherwise=otherwise)
    assert target.read_text() == "data"
    assert target.is_symlink() == (otherwise == "symlink")
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_room_for_more_than_the_disk_has(tmp_path):
    require_space(tmp_path, 0, "a file has 0 bytes")
    with pytest.raises(DataError, match=r"bytes are free, but a\.zip unpacks to .*; make room"):
        require_space(tmp_path, 1 << 60, f"a.zip unpacks to {1 << 60} bytes")
