"""Finding ffmpeg: the package's, the machine's, or a given one."""

import shutil

import imageio_ffmpeg
import pytest

from earshot.errors import EarshotError
from pipeline.media.files.ffmpeg import find_ffmpeg, read_version


def make_program(path, text):
    """Write a shell script that can be executed."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_pinned_ffmpeg_comes_first_and_the_machines_own_stands_in(tmp_path, monkeypatch):
    """An old program in the PATH, as Debian 12 has one, changes nothing."""
    program = make_program(tmp_path / "ffmpeg", "echo ffmpeg version 5.1-test Copyright")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_version(program) == "5.1-test"
    assert find_ffmpeg() == find_ffmpeg("package") != program
    assert find_ffmpeg("system") == program

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", refuse)
    assert find_ffmpeg() == program
    program.unlink()
    with pytest.raises(EarshotError, match="not found on this machine's PATH"):
        find_ffmpeg("system")


def refuse():
    raise RuntimeError("No ffmpeg exe could be found")


def test_package_ffmpeg_runs():
    assert any(character.isdigit() for character in read_version(find_ffmpeg("package")))


def test_given_path_must_be_executable(tmp_path):
    program = make_program(tmp_path / "mine", "exit 0")
    assert find_ffmpeg(program) == program
    program.chmod(0o644)
    with pytest.raises(EarshotError, match="mine is not an executable file"):
        find_ffmpeg(program)
    with pytest.raises(EarshotError, match="absent is not an executable file"):
        find_ffmpeg(tmp_path / "absent")


def test_no_ffmpeg_anywhere_is_reported(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", refuse)
    with pytest.raises(EarshotError, match="install it, or the package imageio-ffmpeg"):
        find_ffmpeg()
    with pytest.raises(EarshotError, match="imageio-ffmpeg has none"):
        find_ffmpeg("package")


def test_a_program_that_is_not_ffmpeg_is_reported(tmp_path):
    with pytest.raises(EarshotError, match="does not answer -version like ffmpeg"):
        read_version(make_program(tmp_path / "fake", "echo hello"))
    with pytest.raises(EarshotError, match="does not run"):
        read_version(tmp_path / "absent")
