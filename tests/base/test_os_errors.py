"""Disks that are full or read-only: one sentence, nothing broken, and the command resumes later."""

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from earshot.errors import RunError
from earshot.tables import INDEX, read_table
from eval.score import main as score_main
from pipeline.__main__ import main as pipeline_main
from pipeline.commands import status
from pipeline.features.feature import Moment
from pipeline.shards.plan import ClipWork
from pipeline.shards.requests import find_clips
from pipeline.shards.tasks import extract_clip
from stages.common import run_stage
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import TEXTS, build
from tests.helpers.cache.fake_features import make_dataset, make_feature


def test_a_full_disk_is_told_in_one_sentence_and_breaks_nothing(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, TEXTS)
    write_bytes, num_written = Path.write_bytes, 0

    def fills_up(path, data):
        nonlocal num_written
        num_written += path.name.endswith(".h5")
        if num_written > 3:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    with pytest.raises(
        RunError, match=r"store/frames: no space left on the device; .* make room and run the same"
    ):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert not list((tmp_path / "store" / "frames").glob(".tmp-*"))

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(
        "pipeline.shards.build.write_table", full
    )  # of the index: everything else is there by then
    with pytest.raises(RunError, match=r"no space left on the device"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert not (tmp_path / "frames" / "index.parquet").exists()
    report = build(tmp_path, tables)
    assert (report.ok, report.computed) == (60, 0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "this user has no right to it; .* kept: grant it"),
        (errno.EROFS, "the file system is read-only; .* kept: make it writable"),
    ],
)
def test_a_folder_that_may_not_be_written_is_told_in_one_sentence(
    tmp_path, monkeypatch, code, words
):
    tables = make_dataset(tmp_path, TEXTS)

    def refuse(path, data):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(RunError, match=rf"store/frames: {words} and run the same"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert build(tmp_path, tables).ok == 60


def test_a_disk_that_is_full_when_progress_is_noted_is_no_fault_of_the_clip(tmp_path):
    samples, downloads = make_dataset(tmp_path, {"a": "1"}, samples_per_clip=3)
    clips, absences = find_clips(downloads, tmp_path / "clips")
    work = ClipWork(
        clips["a"],
        tuple(Moment(row["sample_id"], row["time_seconds"]) for row in samples.to_pylist()),
    )

    class FullDisk:
        def begin_clip(self, clip_id):
            self.clip_id = clip_id

        def note_progress(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert not absences
    with pytest.raises(OSError, match="No space left"):
        extract_clip(
            work, [make_feature()], fake_features.extract, skip_reasons=None, notes=FullDisk()
        )


def test_a_clip_that_may_not_be_read_now_is_tried_again(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2"})

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("pipeline.shards.tasks.sha256_of", refuse)
    assert build(tmp_path, tables).failed == {"no_file": 2}
    detail = read_table(tmp_path / "frames" / "index.parquet", INDEX).column("detail")[0].as_py()
    assert detail == "a.txt: cannot be read (Permission denied)"
    monkeypatch.undo()
    report = build(tmp_path, tables)
    assert (report.ok, report.failed, report.computed) == (2, {}, 2)


def _build_with_small_files(folder, tables, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        build(folder, tables)
    except RunError as error:
        queue.put(str(error))


def test_the_systems_own_refusal_to_write_is_told_too(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_build_with_small_files, args=(tmp_path, tables, queue))
    process.start()
    assert "limit on the size of files is too small" in queue.get(timeout=30)
    process.join()
    assert not list((tmp_path / "store" / "frames").glob("*.h5"))
    assert build(tmp_path, tables).computed == 60


@pytest.mark.parametrize("start", ["stage", "command", "score"])
def test_whatever_is_refused_is_told_without_a_traceback_and_a_bug_with_one(
    tmp_path, monkeypatch, capsys, start
):
    """A stage, a command and the scoring of maps: on a full disk, and with a bug."""
    (tmp_path / "params.yaml").write_text("datasets: [sample]\n")
    monkeypatch.chdir(tmp_path)
    code = errno.ENOSPC

    def refuse(*_):
        raise OSError(code, os.strerror(code), "reports/.tmp-0a1b2c3d-x")

    def run():
        if start == "stage":
            monkeypatch.setattr("sys.argv", ["stage"])
            with pytest.raises(SystemExit) as stopped:
                run_stage(refuse)
            return stopped.value.code
        if start == "command":
            monkeypatch.setattr(status, "count_clips", refuse)
            return pipeline_main(["status"])
        monkeypatch.setattr("eval.score.score_file", refuse)
        return score_main(["maps.npz", "--dataset", "sample"])

    assert run() == 1
    message = (
        "error: reports/x: no space left on the device; make room and run the same command again\n"
    )
    assert capsys.readouterr().err == message
    code = errno.EIO
    assert run() == 1
    assert "error: reports/x: input/output error; mend it" in capsys.readouterr().err
    code = errno.ENAMETOOLONG
    assert run() == 2
    message = "error: reports/x: file name too long; give another name, or move what is there\n"
    assert capsys.readouterr().err == message
    code = errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        run()
