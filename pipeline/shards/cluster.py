"""Tasks on Dask: a local cluster by default, or any cluster whose scheduler has an address.

A worker that dies, hangs or runs out of memory costs the attempt it was in. The scheduler gives the task to another
worker; a worker that makes no progress is restarted, or, where that is impossible (a stopped process, a dead machine),
struck from the cluster. A clip that takes down ``max_attempts`` attempts is set aside with its reason, and the rest of
its task goes on (``pipeline/shards/crash_log.py``).
"""

import asyncio
import contextlib
import ctypes
import logging
import math
import os
import queue
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from earshot.errors import EarshotError, RunError
from pipeline.base.os_errors import is_os_error
from pipeline.shards.crash_log import ATTEMPTS_PREFIX, AttemptLog

_POLL_SECONDS = 1.0
_LAG_SECONDS = 60.0  # that a network file system may need to show what another machine wrote
_LEAST_MEMORY_GIB = 0.25  # of a worker: with less it ends while it starts, again and again


@dataclass(frozen=True)
class ClusterParameters:
    """Where tasks run. Nothing of it changes what is computed."""

    workers: int | None = None  # local processes; null: one a core; 0: in this process
    scheduler_address: str | None = (
        None  # tcp://host:port of a running cluster, instead of local processes
    )
    clip_timeout_seconds: float = 300.0  # without progress for that long a worker counts as hung
    silence_timeout_seconds: float = (
        30.0  # without a heartbeat for that long (stopped, swapped out) likewise
    )
    max_attempts: int = 3  # so often may reading a clip end its worker before the clip is set aside
    memory_limit_gib: float = (
        0.0  # of a local worker; above it the worker is restarted; 0: the machine's / workers
    )
    connect_timeout_seconds: float = 15.0  # for the scheduler at scheduler_address to answer
    dashboard: bool = True  # run Dask's dashboard beside a local cluster and print its link

    def __post_init__(self):
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}, expected 0 or more, or null")
        for name in ("clip_timeout_seconds", "silence_timeout_seconds", "connect_timeout_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        if self.memory_limit_gib != 0 and not _LEAST_MEMORY_GIB <= self.memory_limit_gib < math.inf:
            raise ValueError(
                f"memory_limit_gib is {self.memory_limit_gib}, expected {_LEAST_MEMORY_GIB} or more, or 0 for a share "
                "of the machine's"
            )
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}, expected 1 or more")


def run_tasks(
    function: Callable,
    tasks: Mapping[str, object],
    *,
    parameters: ClusterParameters,
    shared_dir: Path,
    is_quiet: bool = False,
) -> Iterator[object]:
    """Yield ``function(task, set_aside=..., attempt=...)`` of every task, as they end; in any order.

    ``tasks``: by their ids. ``function`` must be importable (or picklable) on workers and idempotent: a task may run
    twice. ``shared_dir`` is a folder that all workers see.
    """
    if not tasks:
        return
    if parameters.workers == 0 and parameters.scheduler_address is None:
        for task in tasks.values():
            yield function(task)
            _return_free_memory()
        return
    log = AttemptLog(
        shared_dir / f"{ATTEMPTS_PREFIX}{secrets.token_hex(4)}",
        max_attempts=parameters.max_attempts,
    )
    log.folder.mkdir(parents=True)
    try:
        with _connect(parameters, num_tasks=len(tasks), is_quiet=is_quiet) as client:
            yield from _Run(client, function, tasks, parameters, log)
    finally:
        shutil.rmtree(log.folder, ignore_errors=True)


@contextlib.contextmanager
def _connect(parameters: ClusterParameters, *, num_tasks: int, is_quiet: bool) -> Iterator:
    """A client of the given cluster, or of a local one that ends with it."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    if parameters.scheduler_address is not None:
        try:
            _shake_hands(
                parameters.scheduler_address, timeout_seconds=parameters.connect_timeout_seconds
            )
        except (
            Exception
        ) as error:  # whatever listens there need not be Dask, and its answer can be anything
            raise RunError(
                f"cluster.scheduler_address {parameters.scheduler_address}: no Dask scheduler answers "
                f"({type(error).__name__}); start one with `python -m dask scheduler` or set it to null"
            ) from None
        client = Client(
            parameters.scheduler_address,
            timeout=parameters.connect_timeout_seconds,
            set_as_default=False,
        )
        with client:
            _print_dashboard(client.dashboard_link, is_quiet)
            yield client
        return
    num_workers = min(parameters.workers or os.cpu_count() or 1, num_tasks)
    # Dask's own choice is the share of one core, however few the workers: on many cores too little for one 4K video.
    share = max(MEMORY_LIMIT // num_workers, int(2 * _LEAST_MEMORY_GIB * 2**30))
    limit = int(parameters.memory_limit_gib * 2**30) or share
    # Results are tiny, so there is nothing to spill; a paused worker would wait for ever for memory it cannot free.
    config = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.scheduler.allowed-failures": 1_000_000,  # deaths are counted here, by clip
        "distributed.admin.log-format": "%(name)s %(message)s",
    }
    with dask.config.set(config):
        try:
            cluster = LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=limit,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": parameters.dashboard},
                silence_logs=logging.CRITICAL,
            )
        except (RuntimeError, OSError) as error:  # distributed: "Nanny failed to start"
            raise RunError(
                f"{num_workers} local worker processes could not be started ({type(error).__name__}: {error}); "
                "free memory, or set cluster.workers to a smaller number"
            ) from error
        with cluster, Client(cluster, set_as_default=False) as client:
            if parameters.dashboard:
                _print_dashboard(cluster.dashboard_link, is_quiet)
            yield client


def _shake_hands(address: str, *, timeout_seconds: float) -> None:
    """Connect once without a client: one that fails to connect waits half a minute more when it is collected."""
    from distributed.comm import connect

    async def connect_once():
        connection = await connect(address, timeout=timeout_seconds)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:  # a notebook's thread has a loop of its own already
        pool.submit(asyncio.run, connect_once()).result()


def _print_dashboard(link: str | None, is_quiet: bool) -> None:
    if link and not is_quiet:
        print(f"Dask dashboard: {link}", file=sys.stderr)


def _call(function: Callable, task_id: str, task: object, log: AttemptLog) -> None:
    """Runs on a worker: one attempt at a task, whose result goes to the log."""
    import cv2
    from distributed import get_worker

    cv2.setNumThreads(1)  # a worker is one core
    set_aside = log.set_aside(task_id)
    attempt = log.begin(task_id, get_worker().address)
    try:
        log.write_result(task_id, function(task, set_aside=set_aside, attempt=attempt))
    except MemoryError:
        attempt.fail()  # counts against the clip, as if the kernel had ended the process
        raise
    except BaseException:
        attempt.end()
        raise
    attempt.end()
    _return_free_memory()


def _return_free_memory() -> None:
    """Give the system what the C library keeps: holes between decoders' buffers would grow a worker by 50 kB a clip."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


class _Run:
    """The client's side of one run: hands out tasks, collects results, and looks after workers that do not answer."""

    def __init__(
        self, client, function: Callable, tasks: Mapping[str, object], parameters, log: AttemptLog
    ):
        self._client, self._function, self._tasks = client, function, tasks
        self._parameters, self._log = parameters, log
        self._ended: queue.SimpleQueue = queue.SimpleQueue()
        self._futures: dict[str, object] = {}
        self._num_errors: dict[str, int] = {}
        self._progress: dict[
            Path, tuple[int, float]
        ] = {}  # of an attempt: its file's size, and since when
        self._heartbeats: dict[
            str, tuple[float, float]
        ] = {}  # of a worker: its last one, and since when
        self._known_workers: set[str] = (
            set()
        )  # at the last look, but for those that were replaced since
        self._without_workers_since: float | None = None
        self._without_result: dict[str, float] = {}
        self._address = client.scheduler.address

    def __iter__(self) -> Iterator[object]:
        try:
            for task_id in self._tasks:
                self._submit(task_id)
            last_look = time.monotonic()
            while self._futures:
                with contextlib.suppress(queue.Empty):
                    future = self._ended.get(timeout=_POLL_SECONDS)
                    yield from self._collect(future)
                if time.monotonic() - last_look >= _POLL_SECONDS:
                    try:
                        self._look_after_workers()
                    except (
                        OSError,
                        ValueError,
                    ):  # distributed: a closed connection, a closed client
                        raise self._scheduler_is_gone() from None
                    last_look = time.monotonic()
        finally:
            self._client.cancel(list(self._futures.values()), force=True)

    def _submit(self, task_id: str) -> None:
        number = self._num_errors.get(task_id, 0)
        future = self._client.submit(
            _call,
            self._function,
            task_id,
            self._tasks[task_id],
            self._log,
            key=f"{task_id}-{number}-{self._log.folder.name}",
            pure=False,
        )
        self._futures[task_id] = future
        future.add_done_callback(lambda future, task_id=task_id: self._ended.put((task_id, future)))

    def _collect(self, ended: tuple) -> Iterator[object]:
        task_id, future = ended
        if self._futures.get(task_id) is not future:
            return  # replaced meanwhile
        result = self._log.read_result(task_id)
        if result is not None:
            del self._futures[task_id]
            yield result
        elif future.status == "error":
            self._judge(task_id, future.exception())
        elif future.status in ("cancelled", "lost"):
            raise self._scheduler_is_gone()
        else:  # its worker was lost at the last moment and another does it once more, or the folder lags behind
            if (
                time.monotonic() - self._without_result.setdefault(task_id, time.monotonic())
                > _LAG_SECONDS
            ):
                self._judge(
                    task_id, FileNotFoundError(f"no result of {task_id} in {self._log.folder}")
                )
                return
            time.sleep(_POLL_SECONDS / 10)
            future.add_done_callback(lambda future: self._ended.put((task_id, future)))

    def _scheduler_is_gone(self) -> RunError:
        return RunError(
            f"the scheduler at {self._address} is gone or lost the work; finished shards are kept: "
            "run the same command again"
        )

    def _judge(self, task_id: str, error: Exception) -> None:
        """End the run with an error that concerns all tasks; try the task again after any other."""
        if isinstance(error, EarshotError) or is_os_error(error):
            raise error
        # The scheduler, which unpacks the tasks first, hides its ImportError in a RuntimeError.
        if isinstance(error, ImportError) or "deserialization of the task graph" in str(error):
            raise RunError(
                f"the scheduler at {self._address} or its workers cannot import what the tasks need; start both in the "
                "root of this checkout, with its virtual environment: `python -m dask scheduler`, "
                f"`python -m dask worker {self._address}`"
            )
        self._retry(task_id, error)

    def _retry(self, task_id: str, error: Exception) -> None:
        """Once more: a worker's death (dask says KilledWorker), lack of memory, a broken file system."""
        self._num_errors[task_id] = self._num_errors.get(task_id, 0) + 1
        if self._num_errors[task_id] > 2 * self._parameters.max_attempts:
            raise RunError(
                f"task {task_id} failed {self._num_errors[task_id]} times, the last time with {type(error).__name__}: "
                f"{' '.join(str(error).split())}; finished shards are kept"
            )
        self._submit(task_id)

    def _look_after_workers(self) -> None:
        """Restart or strike workers whose attempt stands still or who stopped answering."""
        limit = self._parameters.clip_timeout_seconds
        now = time.monotonic()
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self._tell_of_lost_workers(set(workers))
        self._check_that_workers_are_left(bool(workers), now)
        hung = {
            address
            for address, info in workers.items()
            if self._is_silent(address, info["last_seen"], now)
        }
        for address, keys in self._client.processing().items():
            for key in keys:
                current = self._log.current(str(key).split("-")[0])
                if current is None or current[1] != address:
                    continue
                path, _, size = current
                if self._progress.get(path, (None, 0.0))[0] != size:
                    self._progress[path] = (size, now)
                elif now - self._progress[path][1] > limit:
                    self._log.mark_hung(path)
                    hung.add(address)
        for address in hung:
            self._replace_worker(address, has_nanny=bool(workers.get(address, {}).get("nanny")))

    def _is_silent(self, address: str, last_seen: float, now: float) -> bool:
        """Whether the worker has sent no heartbeat in time; by this machine's clock, the scheduler's may differ."""
        if self._heartbeats.get(address, (None, 0.0))[0] != last_seen:
            self._heartbeats[address] = (last_seen, now)
        return now - self._heartbeats[address][1] > self._parameters.silence_timeout_seconds

    def _tell_of_lost_workers(self, addresses: set[str]) -> None:
        for address in sorted(self._known_workers - addresses):
            print(
                f"worker {address} is gone (a crash, or more memory than it may use: cluster.memory_limit_gib); "
                "its task goes to another",
                file=sys.stderr,
            )
        self._known_workers = addresses

    def _check_that_workers_are_left(self, is_any: bool, now: float) -> None:
        if is_any:
            self._without_workers_since = None
        elif self._without_workers_since is None:
            self._without_workers_since = now
        elif now - self._without_workers_since > max(30.0, self._parameters.clip_timeout_seconds):
            raise RunError(
                f"the scheduler at {self._address} has no workers left, {len(self._futures)} of "
                f"{len(self._tasks)} tasks remain; finished shards are kept: start workers and run it again"
            )

    def _replace_worker(self, address: str, *, has_nanny: bool) -> None:
        self._known_workers.discard(address)
        print(f"worker {address} makes no progress; its task goes to another", file=sys.stderr)
        if has_nanny:
            try:
                self._client.restart_workers([address], timeout=10, raise_for_error=True)
            except Exception as error:  # whatever prevents it, the worker is struck
                print(
                    f"worker {address} cannot be restarted ({type(error).__name__}); going on without",
                    file=sys.stderr,
                )
            else:
                return
        self._client.run_on_scheduler(_strike_worker, address=address)


async def _strike_worker(dask_scheduler=None, address: str = "") -> None:
    """Runs on the scheduler: forget the worker, so that its tasks go to others."""
    await dask_scheduler.remove_worker(address, stimulus_id=f"earshot-strike-{time.time()}")
