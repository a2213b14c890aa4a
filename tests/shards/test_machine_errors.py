"""The machine's trouble while a feature is computed is not the clip's failure."""

import errno
import os
import resource
from unittest import mock

import av
import pytest

from earshot.errors import MediaError, RunError
from pipeline.features.feature import Extracted
from pipeline.media.files import container, machine
from pipeline.media.reader import ClipReader
from pipeline.shards import task_run
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import build
from tests.helpers.cache.fake_features import make_dataset
from tests.helpers.downloads.download_helpers import make_clip

CODES = (errno.ENOMEM, errno.EMFILE, errno.EIO, errno.ESTALE)
TEXTS = {"a": "1", "b": "2"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(task_run, "_POLL_SECONDS", 0.0)


class Failing:
    """An extractor that fails so many times, then works."""

    def __init__(self, num_failures: float, fail):
        self.num_failures, self.fail = num_failures, fail

    def __call__(self, path, moments, features):
        self.num_failures -= 1
        if self.num_failures >= 0:
            yield from self.fail(path, moments, features)
        else:
            yield from fake_features.extract(path, moments, features)


def raise_error(error: BaseException):
    def fail(*_):
        raise error
        yield

    return fail


@pytest.mark.parametrize("error", [*(OSError(n, os.strerror(n)) for n in CODES), MemoryError()])
def test_trouble_that_passes_leaves_no_trace_and_trouble_that_lasts_stops_the_run(tmp_path, error):
    tables = make_dataset(tmp_path, TEXTS)
    with pytest.raises(
        RunError, match=r"failed 7 times, .*; finished shards are kept: put this machine in order"
    ):
        build(tmp_path, tables, extract=Failing(float("inf"), raise_error(error)))

    report = build(tmp_path, tables, extract=Failing(2, raise_error(error)))
    assert (report.ok, report.failed, report.computed) == (2, {}, 2)


def test_a_file_whose_disk_fails_stops_the_run(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, TEXTS)
    fail = raise_error(OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
    monkeypatch.setattr("pipeline.shards.tasks.sha256_of", lambda path: next(fail()))
    with pytest.raises(RunError, match="Stale file handle; finished shards are kept"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert build(tmp_path, tables).ok == 2


def say(word: str):
    def fail(path, moments, features):
        failed = Extracted(None, reason="corrupt", detail=f"{path}: cannot be read: {word}")
        return [{feature.name: failed for feature in features} for _ in moments]

    return fail


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOMEM])
def test_what_ffmpeg_says_of_damaged_files_too_is_read_again(tmp_path, code):
    tables = make_dataset(tmp_path, TEXTS)
    # For a moment only: read again.
    assert build(tmp_path, tables, extract=Failing(1, say(os.strerror(code)))).ok == 2


def test_a_clip_that_is_read_twice_with_the_same_error_is_damaged(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, TEXTS)
    damaged = Failing(float("inf"), say("Input/output error"))
    assert build(tmp_path, tables, extract=damaged).failed == {"corrupt": 2}

    # But where the machine cannot read it either, nothing is known about it.
    other = make_dataset(tmp_path / "other", TEXTS)
    monkeypatch.setattr(machine, "_SOME_MEMORY_BYTES", 1 << 62)
    with pytest.raises(RunError, match=r"Cannot allocate memory; finished shards are kept"):
        build(tmp_path / "other", other, extract=damaged)


def test_too_many_open_files_is_no_fault_of_the_file(tmp_path):
    path = make_clip(tmp_path / "a.mp4", seconds=1.0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + 1, limits[1]))
        with pytest.raises(OSError, match="Too many open files") as raised:
            ClipReader(path)
        assert raised.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(descriptor)
    with ClipReader(path) as reader:
        assert reader.info.has_video


def test_an_io_error_of_ffmpeg_is_the_files_own(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", seconds=1.0)

    def fail(*_, **__):
        raise av.error.OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(container.av, "open", fail)
    with pytest.raises(MediaError, match="cannot be read: Input/output error"):
        ClipReader(path)


@pytest.mark.parametrize(("lacks_memory", "fate"), [(True, "remove"), (False, "keep")])
def test_a_worker_suspects_the_clip_only_where_the_machine_has_memory(
    monkeypatch, lacks_memory, fate
):
    log, packed, notes = mock.Mock(), mock.Mock(), mock.Mock()
    packed.unpack.return_value = mock.Mock(shards=[]), mock.Mock()
    log.find_clips_to_skip.return_value, log.begin_try.return_value = {}, notes
    monkeypatch.setattr("distributed.get_worker", mock.Mock())
    monkeypatch.setattr(task_run, "run_task", mock.Mock(side_effect=MemoryError))
    monkeypatch.setattr(task_run, "lacks_memory", lambda: lacks_memory)

    with pytest.raises(MemoryError):
        task_run._run_on_worker(packed, log)
    assert [call[0] for call in notes.method_calls] == [fate]
