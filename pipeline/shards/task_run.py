"""Run tasks on Dask workers, and survive those that crash or hang.

If a worker dies, hangs or runs out of memory, one task is tried again. If a clip ends its worker
again and again, only the samples of this clip fail:

    client (TaskRun)                         worker (_run_on_worker)

    submit task T  ----------------------->  note each clip of T before it is read
                                             the decoder crashes in clip b: the process is gone
    Dask gives T to another worker  ------>  it dies in clip b, too
      (a worker that hangs is restarted by
      the client first: WorkerWatch)
                    ... ``max_attempts`` workers have died in clip b ...
                                    ------>  clip b is skipped, the other clips of T are read
    read the result of T  <----------------  write the shards and the result of T

``crash_log.py`` describes the notes and who writes them. A worker refuses its tasks if its code or
libraries differ from those of the client (``software.py``). It is restarted once.
"""

import contextlib
import ctypes
import queue
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earshot.errors import EarshotError, RunError
from pipeline.base.os_errors import is_machine_error, is_os_error
from pipeline.features.extract import prepare_features
from pipeline.media.files.machine import lacks_memory
from pipeline.shards.plan import Task
from pipeline.shards.tasks import Extract, TaskResult, run_task
from pipeline.shards.workers.cluster import ClusterParameters, open_client
from pipeline.shards.workers.crash_log import FOLDER_PREFIX, CrashLog
from pipeline.shards.workers.software import LOADED, Software, WorkerDiffersError, require_software
from pipeline.shards.workers.worker_watch import KEY_WORD, NoWorkersError, WorkerWatch

if TYPE_CHECKING:
    from distributed import Client, Future

_POLL_SECONDS = 1.0
_LAG_SECONDS = 60.0  # until a network file system shows what another machine wrote


def run_tasks(
    tasks: Sequence[Task],
    *,
    extract: Extract,
    parameters: ClusterParameters,
    shared_dir: Path,
    is_quiet: bool = False,
) -> Iterator[TaskResult]:
    """Run tasks and yield their results as they end, in any order.

    Args:
        tasks: A task may run twice, so it must give the same shards each time.
        extract: What computes the arrays of a clip; workers must be able to import it.
        parameters: Where the tasks run.
        shared_dir: A folder that this process and all workers see.
        is_quiet: Do not print the link to Dask's dashboard.

    Raises:
        RunError: The scheduler or all workers are gone, or a task fails again and again.
    """
    if not tasks:
        return
    is_local = parameters.scheduler_address is None
    if is_local:
        _prepare(tasks)
    if is_local and parameters.workers == 0:
        # No notes: a clip that ends this process ends the run.
        for task in tasks:
            yield _run_here(task, extract, max_errors=2 * parameters.max_attempts)
            _return_free_memory()
        return

    # Each run has a folder of its own, so that no clip is a suspect because a run was interrupted.
    folder = shared_dir / f"{FOLDER_PREFIX}{secrets.token_hex(4)}"
    log = CrashLog(folder, max_attempts=parameters.max_attempts)
    folder.mkdir(parents=True)
    try:
        with open_client(parameters, num_tasks=len(tasks), is_quiet=is_quiet) as client:
            yield from TaskRun(client, tasks, extract, parameters, log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(tasks: Sequence[Task]) -> None:
    """Compile what the features need, so that workers load it from the disk; refuse what is absent.

    A worker sends no heartbeat while it compiles. On a busy machine it would be silent for too
    long. The client would then think that the worker hangs, and that its clip is the cause.
    """
    prepare_features([shard.feature for task in tasks for shard in task.shards])


def _run_here(task: Task, extract: Extract, *, max_errors: int) -> TaskResult:
    """Run a task in this process; try it again after errors of this machine."""
    num_errors = 0
    while True:
        try:
            return run_task(task, extract=extract)
        except (OSError, MemoryError) as error:
            # A full disk would stop the next try as well. Too little memory can be over soon.
            if is_os_error(error) or not is_machine_error(error):
                raise
            num_errors += 1
            if num_errors > max_errors:
                raise _make_task_error(task.task_id, num_errors, error) from error
            time.sleep(_POLL_SECONDS / 10 * num_errors)


def _make_task_error(task_id: str, number: int, error: BaseException) -> RunError:
    return RunError(
        f"task {task_id} failed {number} times, the last time with "
        f"{type(error).__name__}: {' '.join(str(error).split())}; finished shards are kept: put "
        "this machine in order and run the same command again"
    )


@dataclass(frozen=True)
class _PackedTask:
    """A task on its way to a worker.

    The task is pickled here and not by Dask: a worker that differs from the client refuses it
    before it imports any module of a feature.
    """

    planned_with: Software
    feature_names: tuple[str, ...]
    pickled: bytes

    @classmethod
    def pack(cls, task: Task, extract: Extract) -> "_PackedTask":
        from distributed.protocol import pickle

        names = tuple(shard.feature.name for shard in task.shards)
        return cls(LOADED, names, pickle.dumps((task, extract)))

    def unpack(self, *, worker: str) -> tuple[Task, Extract]:
        from distributed.protocol import pickle

        require_software(self.planned_with, self.feature_names, worker=worker)
        return pickle.loads(self.pickled)


def _run_on_worker(packed: _PackedTask, log: CrashLog) -> None:
    """Try a task once, and write its result to the log; runs on a worker."""
    import cv2
    from distributed import get_worker

    address = get_worker().address
    task, extract = packed.unpack(worker=address)
    cv2.setNumThreads(1)  # a worker is one core

    # A worker on another machine may have to compile. No clip is the suspect meanwhile.
    _prepare([task])

    # Clips that ended too many workers before are skipped this time.
    skip_reasons = log.find_clips_to_skip(task.task_id)
    ends = log.find_ends(task.task_id) if skip_reasons else {}
    notes = log.begin_try(task.task_id, address)
    try:
        result = run_task(task, extract=extract, skip_reasons=skip_reasons, ends=ends, notes=notes)
        log.write_result(task.task_id, result)
    except MemoryError:
        if lacks_memory():
            notes.remove()  # the machine's trouble: the task is tried again
        else:
            # There is memory, but not what the clip asks for. It is the suspect, as if the kernel
            # had ended the process.
            notes.keep()
        raise
    except BaseException:
        notes.remove()
        raise
    notes.remove()
    _return_free_memory()


def _return_free_memory() -> None:
    """Return to the system what the C library keeps.

    The holes between the decoders' buffers would otherwise let a worker grow by 50 kB a clip.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


class TaskRun:
    """The client's side of a run: submits tasks, collects results, tries failed tasks again."""

    def __init__(
        self,
        client: "Client",
        tasks: Sequence[Task],
        extract: Extract,
        parameters: ClusterParameters,
        log: CrashLog,
    ):
        self._client, self._extract, self._log = client, extract, log
        self._tasks = {task.task_id: task for task in tasks}
        self._max_errors = 2 * parameters.max_attempts  # of one task
        self._watch = WorkerWatch(client, parameters, log)
        self._scheduler_address = client.scheduler.address

        self._futures: dict[str, Future] = {}  # of the tasks that are not done, by id
        self._ended: queue.SimpleQueue[tuple[str, Future]] = queue.SimpleQueue()
        self._num_submitted: dict[str, int] = {}
        self._num_errors: dict[str, int] = {}
        # By task: since when it has ended without a visible result.
        self._missing_since: dict[str, float] = {}

    def __iter__(self) -> Iterator[TaskResult]:
        try:
            for task_id in self._tasks:
                self._submit(task_id)

            # Futures report their end through a queue, because Dask calls back from its own thread.
            last_check = time.monotonic()
            while self._futures:
                with contextlib.suppress(queue.Empty):
                    task_id, future = self._ended.get(timeout=_POLL_SECONDS)
                    result = self._collect(task_id, future)
                    if result is not None:
                        yield result

                if time.monotonic() - last_check >= _POLL_SECONDS:
                    self._check_workers()
                    last_check = time.monotonic()
        finally:
            self._watch.print_lost_workers(is_last=True)
            # After an error, or if the caller stops early, nobody waits for the remaining tasks.
            self._client.cancel(list(self._futures.values()), force=True)

    def _submit(self, task_id: str) -> None:
        # Dask would return the old future for a key that it knows.
        number = self._num_submitted[task_id] = self._num_submitted.get(task_id, 0) + 1
        future = self._client.submit(
            _run_on_worker,
            _PackedTask.pack(self._tasks[task_id], self._extract),
            self._log,
            key=f"{KEY_WORD}-{task_id}-{number}-{self._log.folder.name}",
            pure=False,
        )
        self._futures[task_id] = future
        self._watch_end(task_id, future)

    def _watch_end(self, task_id: str, future: "Future") -> None:
        future.add_done_callback(lambda future: self._ended.put((task_id, future)))

    def _collect(self, task_id: str, future: "Future") -> TaskResult | None:
        """Handle a future that has ended; return the task's result if there is one."""
        if task_id not in self._futures or self._futures[task_id] is not future:
            return None  # a later try has taken its place

        # A result counts even if Dask lost the worker right after it was written.
        result = self._log.read_result(task_id)
        if result is not None:
            del self._futures[task_id]
            return result

        # Dask cancels futures, or calls them lost, when the scheduler forgets the work.
        if future.status == "error":
            self._handle_error(task_id, future.exception())
        elif future.status in ("cancelled", "lost"):
            raise self._make_scheduler_error()
        else:
            self._wait_for_result(task_id, future)
        return None

    def _wait_for_result(self, task_id: str, future: "Future") -> None:
        """Look again soon for the result of a task that Dask calls finished.

        Either its worker was lost at the last moment and another repeats the task, or the network
        file system does not show the result yet.
        """
        since = self._missing_since.setdefault(task_id, time.monotonic())
        if time.monotonic() - since > _LAG_SECONDS:
            error = FileNotFoundError(f"no result of {task_id} in {self._log.folder}")
            self._handle_error(task_id, error)
            return
        time.sleep(_POLL_SECONDS / 10)
        self._watch_end(task_id, future)

    def _handle_error(self, task_id: str, error: BaseException) -> None:
        """End the run if an error concerns all tasks; otherwise try the task again."""
        # A worker that was started before an update has the new code after a restart.
        if isinstance(error, WorkerDiffersError) and self._watch.restart_outdated(error.worker):
            self._submit(task_id)
            return

        # A full disk, for example, would stop every other task as well.
        if isinstance(error, EarshotError) or is_os_error(error):
            raise error

        # The scheduler unpacks the tasks first. It hides its ImportError in a RuntimeError.
        if isinstance(error, ImportError) or "deserialization of the task graph" in str(error):
            address = self._scheduler_address
            raise RunError(
                f"the scheduler at {address} or its workers cannot import what the tasks need; "
                "start both in the root of this checkout, with its virtual environment: "
                f"`python -m dask scheduler`, `python -m dask worker {address}`"
            )

        # What remains: a worker's death (Dask says KilledWorker), too little memory, a bad disk.
        number = self._num_errors[task_id] = self._num_errors.get(task_id, 0) + 1
        if number > self._max_errors:
            raise _make_task_error(task_id, number, error)
        self._submit(task_id)

    def _check_workers(self) -> None:
        try:
            self._watch.check()
        except NoWorkersError:
            raise RunError(
                f"the scheduler at {self._scheduler_address} has no workers left, "
                f"{len(self._futures)} of {len(self._tasks)} tasks remain; finished shards are "
                "kept: start workers and run it again"
            ) from None
        except (OSError, ValueError):  # Dask's errors for a closed connection, a closed client
            raise self._make_scheduler_error() from None

    def _make_scheduler_error(self) -> RunError:
        return RunError(
            f"the scheduler at {self._scheduler_address} is gone or lost the work; finished shards "
            "are kept: run the same command again"
        )
