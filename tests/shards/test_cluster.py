"""Dask: workers that crash, hang or are killed do not change the result."""

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from earshot.errors import ParameterError, RunError
from earshot.reader import FeatureReader
from pipeline.base.os_errors import describe_exit
from pipeline.base.parameters import build as build_parameters
from pipeline.features import flow
from pipeline.kernels.farneback import load_refine_level
from pipeline.shards import task_run
from pipeline.shards.workers.cluster import ClusterParameters, open_client
from pipeline.shards.workers.crash_log import CrashLog
from pipeline.shards.workers.worker_watch import WorkerWatch
from tests.helpers.cache.dask_cluster import Cluster
from tests.helpers.cache.fake_cache import build, contents
from tests.helpers.cache.fake_features import make_dataset, make_feature

TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(24)}


def local(**options):
    return ClusterParameters(**{"workers": 2, "dashboard": False} | options)


def test_clips_that_crash_hang_or_take_all_memory_fail_and_the_others_do_not(tmp_path, capsys):
    poison = {"clip002": "segfault", "clip010": "hang", "clip018": "greedy"}
    tables = make_dataset(tmp_path, TEXTS | poison)
    report = build(
        tmp_path,
        tables,
        cluster=local(max_attempts=1, clip_timeout_seconds=10.0, memory_limit_gib=0.5),
        shard_samples=8,
    )
    assert (report.ok, report.failed) == (21, {"crashed": 2, "timeout": 1})
    err = capsys.readouterr().err
    assert "is gone (it was ended by SIGSEGV, a crash in a decoder or library)" in err
    assert "is gone (it used more memory than cluster.memory_limit_gib allows (0." in err
    assert "Dask: Worker" in err and "exceeded 95% memory budget" in err
    reader = FeatureReader(tmp_path / "frames")
    assert [reader.reason(f"{clip_id}_0") for clip_id in poison] == [
        "crashed",
        "timeout",
        "crashed",
    ]
    assert build(tmp_path, tables).computed == 0  # remembered


@pytest.mark.parametrize(
    ("machine_gib", "workers", "limit_gib"), [(16, 2, 8), (16, 1, 16), (1, 4, 0.5)]
)
def test_few_workers_share_all_of_the_memory(monkeypatch, machine_gib, workers, limit_gib):
    """One 4K video can take more memory than the share of one core."""
    options_of_cluster = {}

    def stop(**options):
        options_of_cluster.update(options)
        raise RuntimeError("stop")

    monkeypatch.setattr("distributed.LocalCluster", stop)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", machine_gib * 2**30)
    with (
        pytest.raises(RunError, match="could not be started"),
        open_client(local(workers=workers), num_tasks=9, is_quiet=True),
    ):
        pass
    assert options_of_cluster["memory_limit"] == limit_gib * 2**30


def test_an_address_where_nobody_answers(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    for address in ("tcp://127.0.0.1:9", "nonsense", "tcp://no.such.host.invalid:8786"):
        cluster = ClusterParameters(scheduler_address=address, connect_timeout_seconds=1.0)
        with pytest.raises(
            RunError, match=rf"cluster\.scheduler_address {address}: no Dask scheduler answers"
        ):
            build(tmp_path, tables, cluster=cluster)


def test_a_file_of_a_scheduler_that_has_ended(tmp_path):
    """The file stays; whoever reads the message knows the file, not the address."""
    path = tmp_path / "scheduler.json"
    path.write_text('{"type": "Scheduler", "address": "tcp://127.0.0.1:9"}')
    cluster = ClusterParameters(connect_timeout_seconds=1.0)
    cluster = cluster.fill_from({"DASK_SCHEDULER_FILE": str(path)})
    words = (
        rf"cluster\.scheduler_file {path} names tcp://127\.0\.0\.1:9: no Dask .*--scheduler-file"
    )
    with pytest.raises(RunError, match=words):
        build(tmp_path, make_dataset(tmp_path, TEXTS), cluster=cluster)


def test_an_address_where_something_else_answers(tmp_path):
    """A web server's answer, read as the length of a message, would need exabytes of memory."""
    tables = make_dataset(tmp_path, TEXTS)

    def answer():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        cluster = ClusterParameters(scheduler_address=address, connect_timeout_seconds=1.0)
        with pytest.raises(RunError, match=r"no Dask scheduler answers"):
            build(tmp_path, tables, cluster=cluster)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"clip_timeout_seconds": 0}, "clip_timeout_seconds is 0.0"),
        ({"silence_timeout_seconds": -1}, "silence_timeout_seconds is -1.0"),
        ({"clip_timeout_seconds": float("nan")}, "clip_timeout_seconds is nan"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"memory_limit_gib": -1}, "memory_limit_gib is -1.0, expected 0.25 or more, or 0"),
        ({"memory_limit_gib": 0.05}, "memory_limit_gib is 0.05, expected 0.25 or more, or 0"),
        (
            {"memory_limit_gib": float("nan")},
            "memory_limit_gib is nan, expected a finite number",
        ),
        ({"wokers": 1}, "unknown key cluster.wokers"),
    ],
)
def test_parameters_out_of_range(values, message):
    with pytest.raises(ParameterError, match=message):
        build_parameters(ClusterParameters, values, "cluster")


def test_a_clip_is_skipped_after_tries_that_it_ended_itself(tmp_path):
    log = CrashLog(tmp_path, max_attempts=2)
    survived = log.begin_try("task", "tcp://a")
    survived.begin_clip("good")
    survived.remove()
    assert log.find_clips_to_skip("task") == {}
    for clip_id in ("bad", "other", "bad"):
        log.begin_try("task", "tcp://a").begin_clip(clip_id)
    log.begin_try("task", "tcp://a").begin_writing()
    log.begin_try("another", "tcp://a").begin_clip("other")
    assert log.find_clips_to_skip("task") == {"bad": "crashed"}
    path, worker, size = log.find_latest_try("task")
    assert worker == "tcp://a"
    long = log.begin_try("long", "tcp://b")
    long.begin_clip("film")
    sizes = []
    for _ in range(3):
        long.note_progress()
        sizes.append(log.find_latest_try("long")[2])
    assert sizes == sorted(set(sizes))  # it grows: not hung
    assert log.find_latest_try("task")[2] == size
    log.mark_hung(sorted(tmp_path.glob("task.*.jsonl"))[0])
    assert log.find_clips_to_skip("task") == {"bad": "timeout"}
    with open(path, "ab") as file:
        file.write(b'{"clip": "ba')  # died while noting
    assert log.find_clips_to_skip("task") == {"bad": "timeout"}


def _disturb_when_working(store_dir: Path, actions, num_shards=1):
    """Run the actions once some shards are done, from a thread."""

    def run():
        deadline = time.monotonic() + 60
        while len(list(store_dir.glob("*.h5"))) < num_shards and time.monotonic() < deadline:
            time.sleep(0.02)
        for action in actions:
            action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "worker_options", [("--no-nanny",), pytest.param(("--nanny",), marks=pytest.mark.slow)]
)
def test_one_worker_killed_and_one_stopped_the_result_is_complete_and_identical(
    tmp_path, worker_options
):
    texts = {clip_id: f"sleep:0.05 {text}" for clip_id, text in TEXTS.items()}
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    tables = make_dataset(undisturbed, texts)
    make_dataset(disturbed, texts)
    build(undisturbed, tables, shard_samples=2)
    with Cluster(tmp_path, 3, *worker_options) as cluster:
        thread = _disturb_when_working(
            disturbed / "store" / "frames",
            [
                lambda: os.killpg(cluster.workers[0].pid, signal.SIGKILL),
                lambda: os.killpg(cluster.workers[1].pid, signal.SIGSTOP),
            ],
        )
        report = build(
            disturbed,
            tables,
            shard_samples=2,
            cluster=ClusterParameters(
                scheduler_address=cluster.address,
                clip_timeout_seconds=30.0,
                silence_timeout_seconds=10.0,  # a loaded machine is slow to answer
            ),
        )
        thread.join()
    assert (report.ok, report.failed) == (24, {})
    assert contents(disturbed / "frames") == contents(undisturbed / "frames")


def test_no_task_waits_at_a_worker_in_the_end(tmp_path, monkeypatch):
    """Else one worker has two tasks left when the other has none."""
    tasks_of_workers = []
    check = WorkerWatch.check

    def look_and_check(watch):
        tasks_of_workers.extend(map(len, watch._client.processing().values()))
        check(watch)

    monkeypatch.setattr(WorkerWatch, "check", look_and_check)
    monkeypatch.setattr(task_run, "_POLL_SECONDS", 0.1)
    texts = {clip_id: f"sleep:0.2 {text}" for clip_id, text in TEXTS.items()}
    report = build(tmp_path, make_dataset(tmp_path, texts), shard_samples=2, cluster=local())
    assert report.ok == 24
    # Dask knows what is a group only when it has some of the tasks.
    assert max(tasks_of_workers[len(tasks_of_workers) // 2 :]) == 1


def test_a_scheduler_that_dies_ends_the_run_and_loses_nothing(tmp_path):
    tables = make_dataset(
        tmp_path, {clip_id: f"sleep:0.2 {text}" for clip_id, text in TEXTS.items()}
    )
    store = tmp_path / "store" / "frames"
    with Cluster(tmp_path, 1, "--no-nanny") as cluster:
        thread = _disturb_when_working(store, [cluster.scheduler.kill])
        with pytest.raises(RunError, match=r"the scheduler at tcp://.* is gone"):
            build(
                tmp_path,
                tables,
                shard_samples=2,
                cluster=ClusterParameters(scheduler_address=cluster.address),
            )
        thread.join()
    num_done = 2 * len(list(store.glob("*.h5")))
    assert num_done >= 2
    assert build(tmp_path, tables, shard_samples=2).computed == 24 - num_done


def test_local_workers_that_cannot_start_give_one_sentence(tmp_path, monkeypatch):
    import distributed

    def refuse(**options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(
        RunError, match=r"2 local worker processes could not be started .*Nanny failed to start"
    ):
        build(tmp_path, make_dataset(tmp_path, TEXTS), cluster=local())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-11, "it was ended by SIGSEGV, a crash in a decoder or library"),
        (-9, "it was ended by SIGKILL, as by a system that is out of memory"),
        (-15, "it was ended by SIGTERM"),
        (-250, "it was ended by signal 250"),
        (3, "it ended with exit code 3"),
    ],
)
def test_how_a_worker_ended_is_said_of_its_clip(tmp_path, code, words):
    assert describe_exit(code) == words
    log = CrashLog(tmp_path, max_attempts=1)
    log.begin_try("task", "tcp://a").begin_clip("bad")
    log.note_end("tcp://b", "another worker")
    assert log.find_ends("task") == {}
    log.note_end("tcp://a", words)
    assert log.find_ends("task") == {"bad": words}


def test_code_is_compiled_before_workers_start(tmp_path, monkeypatch):
    steps = []
    feature = dataclasses.replace(make_feature(), prepare=lambda: steps.append("compiled"))

    @contextlib.contextmanager
    def no_client(*_, **__):
        steps.append("workers")
        raise RunError("stop")
        yield

    monkeypatch.setattr(task_run, "open_client", no_client)
    with pytest.raises(RunError, match="stop"):
        build(tmp_path, make_dataset(tmp_path, TEXTS), feature=feature, cluster=local())
    assert steps == ["compiled", "workers"]


def test_a_worker_compiles_before_a_clip_can_be_the_suspect(monkeypatch):
    steps = []
    feature = dataclasses.replace(make_feature(), prepare=lambda: steps.append("compiled"))
    task = mock.Mock(shards=[mock.Mock(feature=feature)])
    log, packed = mock.Mock(), mock.Mock()
    packed.unpack.return_value = task, mock.Mock()
    log.find_clips_to_skip.return_value = {}
    log.begin_try.side_effect = lambda *_: steps.append("begun") or mock.Mock()
    monkeypatch.setattr("distributed.get_worker", mock.Mock())
    monkeypatch.setattr(task_run, "run_task", lambda *_, **__: steps.append("run"))

    task_run._run_on_worker(packed, log)
    assert steps == ["compiled", "begun", "run"]
    parameters = build_parameters(flow.Parameters, {}, "flow")
    assert flow.make_feature(parameters).prepare is load_refine_level
