"""Cached features travel over S3 with the commands of docs/sharing.md, word by word."""

import logging
import shutil
import subprocess
from pathlib import Path

import boto3
import numpy as np
import pytest
from dvc.cli import main as run_dvc
from moto.server import ThreadedMotoServer

import earshot
from tests.helpers.cache.toy_dataset import write_toy_dataset
from tests.helpers.manual_pages import read_commands

_BUCKET, _KEY, _SECRET = "lab-data", "key-of-the-test", "secret-of-the-test"


@pytest.fixture
def endpoint():
    """Start an S3 server on this machine, with a bucket; return its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    about = {"aws_access_key_id": _KEY, "aws_secret_access_key": _SECRET}
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **about)
    client.create_bucket(Bucket=_BUCKET)
    yield address
    server.stop()


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    """Keep DVC and boto from the configuration of this user."""
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *words: str) -> None:
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


def read_remote_commands() -> list[list[str]]:
    """Return the commands that add a remote on S3, and push."""
    commands = [command.words for command in read_commands("docs/sharing.md")]
    start = commands.index(("pip", "install", ".[s3]"))
    end = commands.index(("dvc", "push"), start)
    return [list(words[1:]) for words in commands[start + 1 : end + 1]]


def make_project(folder: Path, monkeypatch) -> None:
    """Write a repository whose cached features DVC keeps, and go there."""
    write_toy_dataset(folder, num_samples=6)
    monkeypatch.chdir(folder)
    git(folder, "init", "-q")
    for words in (
        ["init"],
        ["config", "core.analytics", "false"],
        ["add", "cache/toy", "manifests"],
    ):
        assert run_dvc([*words, "-q"]) == 0
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "features")


def read_frames(folder: Path) -> dict[str, np.ndarray]:
    reader = earshot.open(folder / "cache" / "toy").feature("frames")
    return {name: reader.read(name) for name in reader.sample_ids}


def test_a_colleague_pulls_what_was_pushed(endpoint, tmp_path, monkeypatch):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    make_project(ours, monkeypatch)
    replaced = {
        "s3://BUCKET/earshot": f"s3://{_BUCKET}/earshot",
        "https://s3.example.org": endpoint,
        "KEY": _KEY,
        "SECRET": _SECRET,
    }
    for words in read_remote_commands():
        assert run_dvc([replaced.get(word, word) for word in words]) == 0

    # The keys of the bucket are not in Git.
    git(ours, "commit", "-qam", "remote")
    tracked = subprocess.check_output(["git", "grep", "-c", "", "--", "."], cwd=ours, text=True)
    assert ".dvc/config:" in tracked and "config.local" not in tracked
    found = subprocess.run(["git", "grep", "-e", _SECRET, "-e", _KEY], cwd=ours)
    assert found.returncode == 1

    # A colleague has their own keys.
    git(tmp_path, "clone", "-q", str(ours), str(theirs))
    shutil.copy(ours / ".dvc" / "config.local", theirs / ".dvc")
    monkeypatch.chdir(theirs)
    assert run_dvc(["pull", "-q"]) == 0
    expected, pulled = read_frames(ours), read_frames(theirs)
    assert len(pulled) == 6 and all((pulled[name] == expected[name]).all() for name in expected)


def test_without_the_bucket_nothing_is_pushed(endpoint, tmp_path, monkeypatch, caplog):
    make_project(tmp_path / "ours", monkeypatch)
    for words in (
        ["remote", "add", "-d", "lab", "s3://no-such-bucket/earshot"],
        ["remote", "modify", "lab", "endpointurl", endpoint],
        ["remote", "modify", "--local", "lab", "access_key_id", _KEY],
        ["remote", "modify", "--local", "lab", "secret_access_key", _SECRET],
    ):
        assert run_dvc(words) == 0
    assert run_dvc(["push"]) != 0
    assert "The specified bucket does not exist" in caplog.text
