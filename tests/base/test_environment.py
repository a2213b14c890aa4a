"""Setting up a checkout: uv installs the packages, and pip does where uv cannot."""

import importlib.util
import signal
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from tests.helpers.paths import ROOT

REQUIREMENTS = "torch==1.0 \\\n    --hash=sha256:0\nuv==0.1 \\\n    --hash=sha256:1\n    # via x\n"

FROZEN = b"numpy==2.0\nyt-dlp==2026.11.1\nyt-dlp-ejs==0.9\ndeno==3.0\n"


@pytest.fixture
def environment():
    """The script, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path, environment, monkeypatch):
    """A folder with requirements; ``commands`` lists what would have been run."""
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    return tmp_path


def record_commands(environment, monkeypatch, *, failing=()):
    """Replace running by recording; commands that contain a word of ``failing`` fail."""
    commands = []

    def run(command, *, check=False, capture_output=False, env=None):
        command = [str(word) for word in command]
        text = " ".join(command)
        if "-r" in command:
            with open(command[-1]) as file:
                text += f" [{file.readline().split()[0]}]"
        commands.append(text)
        is_failing = any(word in text for word in failing)
        if check and is_failing:
            raise subprocess.CalledProcessError(2, command)
        return subprocess.CompletedProcess(command, 2 if is_failing else 0, stdout=FROZEN)

    monkeypatch.setattr(environment.subprocess, "run", run)
    return commands


def test_pip_installs_uv_and_uv_the_rest_once(environment, folder, monkeypatch, capsys):
    commands = record_commands(environment, monkeypatch)
    for _ in range(2):
        environment.make_environment(folder / ".venv", folder / "requirements.txt")
    has_pip, install_uv, install_rest = commands
    assert "pip --version" in has_pip
    assert "-m pip install" in install_uv
    assert install_uv.endswith("uv.txt [uv==0.1]")
    assert "bin/uv pip install" in install_rest
    assert install_rest.endswith("requirements.txt [torch==1.0]")
    assert "uv did not" not in capsys.readouterr().out

    # Other requirements are installed again.
    (folder / "requirements.txt").write_text(REQUIREMENTS.replace("1.0", "2.0"))
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    assert commands[-1].endswith("requirements.txt [torch==2.0]")


@pytest.mark.parametrize("failing", ["bin/uv", "uv.txt"])
def test_where_uv_fails_pip_installs_everything(environment, folder, monkeypatch, capsys, failing):
    commands = record_commands(environment, monkeypatch, failing=[failing])
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    assert "-m pip install" in commands[-1]
    assert commands[-1].endswith("requirements.txt [torch==1.0]")
    assert capsys.readouterr().out.count("; pip installs them\n") == 1


def test_an_installation_that_fails_is_repeated(environment, folder, monkeypatch):
    record_commands(environment, monkeypatch, failing=["bin/uv", "pip install"])
    with pytest.raises(subprocess.CalledProcessError):
        environment.make_environment(folder / ".venv", folder / "requirements.txt")
    commands = record_commands(environment, monkeypatch)
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    assert len(commands) == 3


def test_the_pinned_uv_is_in_the_requirements(environment, folder, monkeypatch):
    """The script finds its version and hashes there."""
    commands = record_commands(environment, monkeypatch)
    environment.make_environment(folder / ".venv", ROOT / "requirements.txt")
    assert "[uv==" in commands[1]


def test_a_checkouts_own_environment_gets_its_command_once(environment, folder, monkeypatch):
    commands = record_commands(environment, monkeypatch)
    environment.install_checkout(folder / ".venv", folder)
    assert len(commands) == 1 and commands[0].endswith(f"--no-index -e {folder}")
    (folder / ".venv" / "bin" / "earshot").touch()
    environment.install_checkout(folder / ".venv", folder)

    # An environment elsewhere may serve several checkouts.
    (folder / "checkout").mkdir()
    environment.install_checkout(folder / "other", folder / "checkout")
    assert len(commands) == 1


def test_the_newest_downloader_survives_a_change_of_the_pins(environment, folder, monkeypatch):
    commands = record_commands(environment, monkeypatch)
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    environment.update_downloader(folder / ".venv")
    assert "--upgrade-package yt-dlp --upgrade-package yt-dlp-ejs" in commands[-2]
    written = (folder / ".venv" / ".downloader.txt").read_text()
    assert written == "yt-dlp==2026.11.1\nyt-dlp-ejs==0.9\ndeno==3.0\n"

    # The pins did not change, so nothing is installed again; then they do.
    num_commands = len(commands)
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    assert len(commands) == num_commands
    (folder / "requirements.txt").write_text(REQUIREMENTS.replace("1.0", "2.0"))
    environment.make_environment(folder / ".venv", folder / "requirements.txt")
    assert commands[-2].endswith("requirements.txt [torch==2.0]")
    assert commands[-1].endswith(".downloader.txt [yt-dlp==2026.11.1]")


def test_dvc_reads_parameters_with_the_parser_in_c():
    """DVC reads params.yaml once a stage and more. The other parser takes five times as long."""
    assert YAML(typ="safe").Parser.__module__ == "ruamel.yaml.clib._ruamel_yaml"


# DVC writes a file that holds an object whose writing kills the process.
KILLED_WRITER = """
import os, signal, site, sys
site.addsitedir(sys.argv[1])
from dvc.utils.serialize import modify_yaml
from ruamel.yaml.representer import RoundTripRepresenter

class Killer: pass

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

RoundTripRepresenter.add_representer(Killer, kill)
for value in (["first"] * 2000, ["second", Killer()]):
    with modify_yaml(sys.argv[2]) as data:
        data["stages"] = value
"""


def test_a_kill_of_dvc_while_it_writes_leaves_the_old_file(environment, tmp_path):
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for _ in range(2):
        environment.install_atomic_dvc(tmp_path / "venv")
    place, link = tmp_path / "place.lock", tmp_path / "dvc.lock"
    place.touch(0o640)
    link.symlink_to(place)

    command = [sys.executable, "-c", KILLED_WRITER, str(packages), str(link)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert YAML(typ="safe").load(place)["stages"] == ["first"] * 2000
    assert link.is_symlink() and place.stat().st_mode & 0o777 == 0o640
