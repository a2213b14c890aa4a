"""Watch the workers of a run, and replace those that hang."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.shards.workers.cluster import ClusterParameters
from pipeline.shards.workers.crash_log import CrashLog

if TYPE_CHECKING:
    from distributed import Client
    from distributed.scheduler import Scheduler

# Dask's keys of tasks are "<this word>-<task>-<number of the try>-<folder of the log>". The first
# word makes them one group. Tasks of a group wait at the scheduler until a worker is free. Others
# wait at the workers, and in the end one worker has some left while the others have none.
KEY_WORD = "extract"

_MIN_WAIT_SECONDS = 30.0  # for a first worker, or for new ones when all are gone
_RESTART_TIMEOUT_SECONDS = 10.0
_END_WAIT_SECONDS = 5.0  # until it is known how a worker ended
_UNKNOWN_END = "a crash, or more memory than it may use: cluster.memory_limit_gib"


class NoWorkersError(Exception):
    """The scheduler has had no workers for too long."""


class WorkerWatch:
    """Looks at all workers each time ``check`` is called.

    | a worker | how that is seen | what happens |
    |---|---|---|
    | hangs in a clip | its notes do not grow for ``clip_timeout_seconds`` | it is replaced |
    | does not answer | no heartbeat for ``silence_timeout_seconds`` | it is replaced |
    | is gone | the scheduler does not list it any more | a message is printed |

    All times are measured with this machine's clock: that of the scheduler may differ.
    """

    def __init__(self, client: "Client", parameters: ClusterParameters, log: CrashLog):
        self._client, self._parameters, self._log = client, parameters, log
        self._is_local = parameters.scheduler_address is None

        # Of each try, the size of its notes and when they had grown to it.
        self._note_sizes: dict[Path, tuple[int, float]] = {}
        # Of each worker, the scheduler's time of its last heartbeat and when we saw it first.
        self._heartbeats: dict[str, tuple[float, float]] = {}
        self._known_workers: set[str] = set()  # at the last check
        # The workers that are gone and not printed yet, and since when.
        self._gone: dict[str, float] = {}
        # The workers whose end needs no message any more.
        self._told: set[str] = set(self._list_exits())

        self._without_workers_since: float | None = None
        # The workers that were restarted because of their software, and their nannies. A nanny is
        # the process that starts a worker; it keeps its address when the worker gets another.
        self._outdated: set[str] = set()
        self._used_nannies: set[str] = set()

    def check(self) -> None:
        """Replace hung workers, and print which workers are gone.

        Raises:
            NoWorkersError: There have been no workers for too long.
            OSError, ValueError: Dask's errors when the scheduler is gone.
        """
        now = time.monotonic()
        workers = self._list_workers()
        self._note_lost_workers(set(workers), now)
        self.print_lost_workers()
        self._check_any_left(workers, now)

        silent = {
            address
            for address, info in workers.items()
            if self._is_silent(address, info["last_seen"], now)
        }
        for address in silent | self._find_hung_workers(now):
            self._replace(address, has_nanny=bool(workers.get(address, {}).get("nanny")))

    def _list_workers(self) -> dict[str, dict[str, Any]]:
        """Return all workers by address.

        This asks the scheduler itself. ``Client.scheduler_info`` is not reliable: a thread of the
        client now and then replaces its list of workers with an empty one.
        """
        return self._client.run_on_scheduler(_describe_workers)

    def _find_hung_workers(self, now: float) -> set[str]:
        hung = set()
        for address, keys in self._client.processing().items():
            for key in keys:
                # Another client of the scheduler may have any keys; its tasks have no try here.
                task_id = str(key).removeprefix(f"{KEY_WORD}-").split("-")[0]
                latest = self._log.find_latest_try(task_id)
                # The worker has not begun the task yet, or another worker tried it later.
                if latest is None or latest.worker != address:
                    continue

                # A long clip is no hanging worker: its notes grow with each moment.
                size, since = self._note_sizes.get(latest.path, (None, now))
                if size != latest.size:
                    self._note_sizes[latest.path] = (latest.size, now)
                elif now - since > self._parameters.clip_timeout_seconds:
                    self._log.mark_hung(latest.path)
                    hung.add(address)
        return hung

    def _is_silent(self, address: str, last_seen: float, now: float) -> bool:
        if self._heartbeats.get(address, (None, 0.0))[0] != last_seen:
            self._heartbeats[address] = (last_seen, now)
        return now - self._heartbeats[address][1] > self._parameters.silence_timeout_seconds

    def _note_lost_workers(self, addresses: set[str], now: float) -> None:
        # A worker that ends at once was never in our list; the nanny that started it knows it.
        lost = (self._known_workers - addresses) | set(self._list_exits())
        for address in lost - self._told:
            self._gone.setdefault(address, now)
        self._known_workers = addresses

    def print_lost_workers(self, *, is_last: bool = False) -> None:
        """Print which workers are gone and, of a local cluster, how they ended.

        Args:
            is_last: Do not wait until it is known how they ended.
        """
        exits = self._list_exits()
        now = time.monotonic()
        if is_last:
            self._note_lost_workers(self._known_workers, now)

        for address, since in sorted(self._gone.items()):
            how = exits.get(address)
            # The nanny sees the end of its worker a little later than the scheduler does.
            is_late = is_last or now - since > _END_WAIT_SECONDS
            if how is None and self._is_local and not is_late:
                continue

            del self._gone[address]
            self._told.add(address)
            if how is not None:
                self._log.note_end(address, how)
            print(
                f"worker {address} is gone ({how or _UNKNOWN_END}); its task goes to another",
                file=sys.stderr,
            )

    def _list_exits(self) -> dict[str, str]:
        if not self._is_local:
            return {}  # they end on machines where nobody watches
        from pipeline.shards.workers.worker_exits import list_exits

        return list_exits()

    def _check_any_left(self, workers: Mapping[str, Any], now: float) -> None:
        wait_seconds = max(_MIN_WAIT_SECONDS, self._parameters.clip_timeout_seconds)
        if workers:
            self._without_workers_since = None
        elif self._without_workers_since is None:
            self._without_workers_since = now
        elif now - self._without_workers_since > wait_seconds:
            raise NoWorkersError

    def restart_outdated(self, address: str) -> bool:
        """Restart a worker that has other code or libraries than this process, once.

        Returns:
            Whether its tasks may be tried again. False if nothing can restart the worker, or if it
            differs after a restart as well.
        """
        # Its other tasks were refused by the same process.
        if address in self._outdated:
            return True

        workers = self._list_workers()
        nanny = workers.get(address, {}).get("nanny")
        if not nanny or nanny in self._used_nannies:
            return False

        print(
            f"worker {address} has other code or libraries than this run; it is restarted",
            file=sys.stderr,
        )
        self._told.add(address)
        self._outdated.add(address)
        self._used_nannies.add(nanny)
        return self._restart(address)

    def _replace(self, address: str, *, has_nanny: bool) -> None:
        """Restart a worker, or remove it from the cluster where that is impossible."""
        self._told.add(address)
        print(f"worker {address} makes no progress; its task goes to another", file=sys.stderr)

        if not (has_nanny and self._restart(address)):
            self._client.run_on_scheduler(_remove_worker, address=address)

    def _restart(self, address: str) -> bool:
        """Let its nanny restart a worker; print why that fails."""
        try:
            self._client.restart_workers(
                [address], timeout=_RESTART_TIMEOUT_SECONDS, raise_for_error=True
            )
        except Exception as error:  # a stopped process or a dead machine: no nanny answers
            print(
                f"worker {address} cannot be restarted ({type(error).__name__}); "
                "going on without it",
                file=sys.stderr,
            )
            return False
        return True


def _describe_workers(dask_scheduler: "Scheduler | None" = None) -> dict[str, dict[str, Any]]:
    """Return the last heartbeat and the nanny of each worker; runs on the scheduler."""
    assert dask_scheduler is not None
    return {
        address: {"last_seen": worker.last_seen, "nanny": worker.nanny}
        for address, worker in dask_scheduler.workers.items()
    }


async def _remove_worker(dask_scheduler: "Scheduler | None" = None, address: str = "") -> None:
    """Remove a worker from the cluster, so that its tasks go to others; runs on the scheduler."""
    assert dask_scheduler is not None
    await dask_scheduler.remove_worker(address, stimulus_id=f"earshot-remove-{time.time()}")
