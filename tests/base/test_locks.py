"""Locks between processes: they exclude, they wait, and a killed holder frees them."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys

import h5py
import pytest

from earshot.errors import RunError
from earshot.reader import FeatureReader
from pipeline.base.locks import LockHeldError, hold_lock
from tests.helpers.cache.fake_cache import build, check
from tests.helpers.cache.fake_features import make_dataset
from tests.helpers.paths import ROOT

HOLD = (
    "import sys, time; from pathlib import Path; from pipeline.base.locks import hold_lock\n"
    "with hold_lock(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)"
)


def start_holder(path):
    """Start a process that holds the lock until it is killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_a_second_holder_is_refused_or_waits_for_the_first(tmp_path):
    path = tmp_path / "folder" / "lock"
    holder = start_holder(path)
    with pytest.raises(LockHeldError), hold_lock(path):
        pytest.fail("two processes hold the lock")

    # The signal leaves no time for cleaning up, so only the system can free the lock.
    calls = []

    def kill_holder():
        calls.append("waits")
        os.kill(holder.pid, signal.SIGKILL)

    with hold_lock(path, on_wait=kill_holder):
        assert calls == ["waits"]
    assert not path.exists()
    holder.wait()


def test_a_free_lock_is_taken_without_waiting(tmp_path):
    path = tmp_path / "lock"
    for _ in range(2):
        with hold_lock(path, on_wait=lambda: pytest.fail("nobody holds the lock")):
            assert path.exists()
    with pytest.raises(ValueError, match="in the body"), hold_lock(path):
        raise ValueError("in the body")
    assert os.listdir(tmp_path) == []


def _increment(lock_path, count_path, num_times):
    for _ in range(num_times):
        with hold_lock(lock_path, on_wait=lambda: None):
            count_path.write_text(str(int(count_path.read_text()) + 1))


def test_no_two_processes_are_inside_at_once(tmp_path):
    """Every release removes the lock file, while others have it open."""
    lock_path, count_path = tmp_path / "lock", tmp_path / "count"
    count_path.write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_increment, args=(lock_path, count_path, 50)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert count_path.read_text() == "150"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch, code):
    """Writers end; readers need no lock."""
    tables = make_dataset(tmp_path, {"a": "1"})
    build(tmp_path, tables)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(RunError, match=r"store/frames: this file system has no locks .*mount it"):
        build(tmp_path, tables)
    assert not list((tmp_path / "store" / "frames").glob(".lock*"))
    assert check(tmp_path) == []
    assert FeatureReader(tmp_path / "frames").read("a_0").shape[0] == 8


def test_shards_are_read_without_a_lock(tmp_path, monkeypatch):
    """HDF5 locks files by itself unless it is told not to."""
    build(tmp_path, make_dataset(tmp_path, {"a": "1"}))
    opened = []
    real = h5py.File
    monkeypatch.setattr(
        "h5py.File", lambda *names, **options: opened.append(options) or real(*names, **options)
    )
    assert check(tmp_path) == []
    FeatureReader(tmp_path / "frames").read("a_0")
    assert opened and all(options.get("locking") is False for options in opened)
