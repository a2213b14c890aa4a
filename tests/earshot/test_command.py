"""``python -m earshot`` with the standard library alone."""

import shutil
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT


def run_without_packages(folder) -> str:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "earshot", "status"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    return done.stderr


def test_a_package_that_is_missing_is_named():
    assert run_without_packages(ROOT) == (
        "error: pipeline.commands.command_line needs the package click, which is not installed; "
        "install earshot[train]\n"
    )


@pytest.mark.parametrize("has_users_file", [False, True])
def test_without_the_upper_rooms_there_is_one_sentence(tmp_path, has_users_file):
    shutil.copytree(ROOT / "earshot", tmp_path / "earshot")
    expected = f"'pipeline', which is not at {tmp_path}; install all of earshot"
    if has_users_file:
        (tmp_path / "pipeline.py").touch()
        expected = f"is hidden by {tmp_path}/pipeline.py, which has the name of earshot's folder"
    assert expected in run_without_packages(tmp_path)
