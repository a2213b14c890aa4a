"""Joined files carry a key of their sources."""

import os
import shutil

import pytest

from earshot.errors import MediaError
from pipeline.media import joined_files
from pipeline.media.joined_files import JoinedFiles
from pipeline.media.reader import probe
from tests.helpers.media.clip_factory import make_clip


@pytest.fixture
def release(tmp_path):
    """Make one clip in two sizes, and its sound."""
    codec = ("-c:v", "mpeg4")
    for name, size in (("fast", "96x64"), ("slow", "64x48")):
        (tmp_path / name).mkdir()
        make_clip(tmp_path / name / "a.mp4", *codec, size=size, fps="8", sound=None, seconds=2)
    make_clip(tmp_path / "a.wav", picture=None, seconds=2)
    return tmp_path


def join(release, folder):
    files = JoinedFiles(release / "remote")
    path = files.make("a", release / folder / "a.mp4", release / "a.wav")
    files.save()
    return path


def test_another_source_gives_another_name_and_replaces_the_old_file(release):
    first = join(release, "fast")
    second = join(release, "slow")
    assert first.name != second.name
    assert (first.exists(), probe(second).width) == (False, 64)
    assert first.name.startswith("a-")
    # The same files again, wherever and whenever they were written, give the same name.
    (release / "moved").mkdir()
    shutil.copy(release / "fast" / "a.mp4", release / "moved" / "a.mp4")
    os.utime(release / "moved" / "a.mp4", (1, 1))
    assert join(release, "moved") == first

    # The sound counts as well.
    make_clip(release / "a.wav", picture=None, seconds=1)
    assert join(release, "moved") != first


def test_unchanged_sources_are_neither_read_nor_joined(release, monkeypatch):
    path = join(release, "fast")
    for name in ("mux", "sha256_of"):
        monkeypatch.setattr(joined_files, name, None)
    assert join(release, "fast") == path


def test_a_record_of_an_earlier_version_is_replaced(release):
    remote = release / "remote"
    remote.mkdir()
    (remote / "a.mkv").write_bytes(b"joined before names had keys")
    (remote / "sources.json").write_text('{"a": [["x", 1, 2], ["y", 3, 4]]}')
    assert join(release, "fast").exists()
    assert not (remote / "a.mkv").exists()


def test_a_source_that_cannot_be_read_is_named(release, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(joined_files, "sha256_of", refuse)
    with pytest.raises(MediaError, match=r"a\.mp4: cannot be read \(Permission denied\)"):
        join(release, "fast")
