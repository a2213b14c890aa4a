"""Where tasks run: local processes, or a Dask cluster whose scheduler has an address."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earshot.errors import RunError

if TYPE_CHECKING:
    from distributed import Client

# Importing Dask takes a second, so it is imported only where tasks run on it.

_SCHEDULER = "python -m dask scheduler --scheduler-file"
_LEAST_MEMORY_GIB = 0.25  # of a worker: with less it ends while it starts, again and again
_LOCAL_CONFIG = {
    # Results are small, so there is nothing to move to the disk. A paused worker would wait for
    # ever for memory that it cannot free.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # By default Dask gives up a worker for good if it is not back in 15 s after it died. On a busy
    # machine a worker takes longer to start.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
    # The crash log counts the deaths of workers, by clip.
    "distributed.scheduler.allowed-failures": 1_000_000,
    # A worker that had a second task waiting would still do it when the others are done.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.admin.log-format": "%(name)s %(message)s",
    # A process that has started CUDA must not fork, and this one may have.
    "distributed.worker.multiprocessing-method": "spawn",
}


@dataclass(frozen=True)
class ClusterParameters:
    """Where tasks run. Nothing here changes what is computed."""

    workers: int | None = None  # local processes; null: one per core; 0: none, but this process
    # tcp://host:port of a running cluster, instead of local processes.
    scheduler_address: str | None = None
    # The file that `dask scheduler --scheduler-file FILE` writes, in place of the address.
    scheduler_file: str | None = None
    clip_timeout_seconds: float = 300.0  # a worker that makes no progress for so long hangs
    silence_timeout_seconds: float = 30.0  # so does one that sends no heartbeat for so long
    max_attempts: int = 3  # a clip that ended so many workers is skipped
    # Of a local worker, which is restarted above it; 0: the machine's memory / workers.
    memory_limit_gib: float = 0.0
    connect_timeout_seconds: float = 15.0  # until the scheduler at scheduler_address must answer
    dashboard: bool = True  # run Dask's dashboard beside a local cluster, and print its link

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}, expected 0 or more, or null")

        # `not ... > 0` is also true for NaN, which YAML can hold.
        for name in ("clip_timeout_seconds", "silence_timeout_seconds", "connect_timeout_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")

        if self.memory_limit_gib != 0 and not _LEAST_MEMORY_GIB <= self.memory_limit_gib < math.inf:
            raise ValueError(
                f"memory_limit_gib is {self.memory_limit_gib}, expected {_LEAST_MEMORY_GIB} or "
                "more, or 0 for a share of the machine's"
            )
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}, expected 1 or more")

    def find_idle(self) -> dict[str, str]:
        """Return the settings that change nothing beside the others -> why."""
        if self.scheduler_address:
            why = "tasks run on the cluster at scheduler_address"
            return {"scheduler_file": why, "memory_limit_gib": why}
        if self.scheduler_file:
            return {"memory_limit_gib": "tasks run on the cluster of scheduler_file"}
        return {}

    def fill_from(self, environment: Mapping[str, str]) -> "ClusterParameters":
        """Find the address of the scheduler.

        Where params.yaml names none, ``DASK_SCHEDULER_ADDRESS`` or ``DASK_SCHEDULER_FILE`` may. A
        scheduler's file is read.

        Raises:
            RunError: The file is not there, or is not that of a scheduler.
        """
        if self.scheduler_address:
            return dataclasses.replace(self, scheduler_file=None)
        # What params.yaml names counts more than the environment.
        file = self.scheduler_file
        address = None if file else environment.get("DASK_SCHEDULER_ADDRESS") or None
        if not address:
            file = file or environment.get("DASK_SCHEDULER_FILE")
            address = _read_scheduler_file(Path(file).expanduser()) if file else None
        # The file stays: a message about an address that nobody wrote would help nobody.
        return dataclasses.replace(self, scheduler_address=address, scheduler_file=file)


def _read_scheduler_file(path: Path) -> str:
    try:
        return json.loads(path.read_text())["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = "not found" if isinstance(error, FileNotFoundError) else "not a scheduler's file"
        raise RunError(
            f"cluster.scheduler_file {path}: {found}; start a scheduler that writes it: "
            f"{_SCHEDULER} {path}"
        ) from None


@contextlib.contextmanager
def open_client(
    parameters: ClusterParameters, *, num_tasks: int, is_quiet: bool
) -> Iterator["Client"]:
    """Yield a client of the cluster at ``scheduler_address``, or of a local one.

    A local cluster ends with the context.

    Args:
        parameters: Where tasks run.
        num_tasks: No more local workers than this are started.
        is_quiet: Do not print the link to the dashboard.

    Raises:
        RunError: No scheduler answers at the address, or no local worker can start.
    """
    if parameters.scheduler_address is not None:
        with _connect(parameters) as client:
            _print_dashboard(client.dashboard_link, is_quiet)
            yield client
        return

    # More workers than tasks would only cost time and memory to start.
    num_workers = min(parameters.workers or os.cpu_count() or 1, num_tasks)
    with _start_local_cluster(parameters, num_workers) as client:
        if parameters.dashboard:
            _print_dashboard(client.cluster.dashboard_link, is_quiet)
        yield client


def _connect(parameters: ClusterParameters) -> "Client":
    from distributed import Client

    address, timeout_seconds = parameters.scheduler_address, parameters.connect_timeout_seconds
    assert address is not None
    try:
        _check_address(address, timeout_seconds=timeout_seconds)
    except Exception as error:  # something else than Dask can answer there, with anything
        where = f"cluster.scheduler_address {address}"
        advice = "start one with `python -m dask scheduler` or set it to null"
        if parameters.scheduler_file is not None:
            # The file of a scheduler stays when the scheduler has ended.
            where = f"cluster.scheduler_file {parameters.scheduler_file} names {address}"
            advice = f"start one that writes it: {_SCHEDULER} {parameters.scheduler_file}"
        raise RunError(
            f"{where}: no Dask scheduler answers ({type(error).__name__}); {advice}"
        ) from None

    # Not as the default client: the caller's process can have a Dask client of its own.
    return Client(address, timeout=timeout_seconds, set_as_default=False)


def _check_address(address: str, *, timeout_seconds: float) -> None:
    """Connect once without a client: a client that cannot connect takes half a minute to end."""
    from distributed.comm import connect

    async def connect_once() -> None:
        """Open a connection and close it."""
        connection = await connect(address, timeout=timeout_seconds)
        await connection.close()

    # Use another thread: the main thread of a notebook already runs an event loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, connect_once()).result()


@contextlib.contextmanager
def _start_local_cluster(parameters: ClusterParameters, num_workers: int) -> Iterator["Client"]:
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    from pipeline.shards.workers.worker_exits import WatchedNanny, shown_log_of_nannies

    # Dask would give each worker the memory of one core, also if there are few workers. On a
    # machine with many cores that is too little for one 4K video.
    share = max(MEMORY_LIMIT // num_workers, int(2 * _LEAST_MEMORY_GIB * 2**30))
    memory_limit = int(parameters.memory_limit_gib * 2**30) or share

    with dask.config.set(_LOCAL_CONFIG), shown_log_of_nannies():
        try:
            # One thread each: a worker is one core, and its death costs one task.
            cluster = LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                processes=True,
                worker_class=WatchedNanny,
                memory_limit=memory_limit,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": parameters.dashboard},
                silence_logs=logging.CRITICAL,
            )
        except (RuntimeError, OSError) as error:  # Dask says "Nanny failed to start"
            raise RunError(
                f"{num_workers} local worker processes could not be started "
                f"({type(error).__name__}: {error}); free memory, or set cluster.workers to a "
                "smaller number"
            ) from error

        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def _print_dashboard(link: str | None, is_quiet: bool) -> None:
    if link and not is_quiet:
        print(f"Dask dashboard: {link}", file=sys.stderr)
