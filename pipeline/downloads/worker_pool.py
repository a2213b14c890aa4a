"""Start worker processes that fetch videos, talk to them, replace them, and kill them when late.

Fetching runs in processes, because a process can always be ended. A thread can wait for ever for a
stalled server, and yt-dlp's registries belong to the process and grow. Each worker leads its own
process group. Killing the group also ends the worker's ffmpeg. When this process dies, the standard
input of the workers closes, and they end by themselves.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.downloads.messages import FetchAnswer, FetchRequest
from pipeline.downloads.parameters import FetchParameters

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_START_LIMIT_SECONDS = 120.0
_CLOSE_LIMIT_SECONDS = 10.0
_READ_BYTES = 1 << 16
_LOG_TAIL_BYTES = 2000
_LOG_TAIL_LINES = 4


@dataclass(frozen=True)
class WorkerLost:
    """A worker ended by itself (``text`` says how), or gave no answer in time."""

    text: str = ""
    is_late: bool = False


class Worker:
    """One process that fetches one video at a time.

    Attributes:
        is_ready: whether it has started and answers requests.
        is_busy: whether it has a request that it has not answered.
        num_fetched: how many requests it was given.
    """

    def __init__(
        self, parameters: FetchParameters, *, private_dir: Path, first_url: str | None = None
    ):
        """Start the process.

        Args:
            parameters: of all its requests.
            private_dir: for its log and its copy of the cookies.
            first_url: load what URLs like this one need before reporting ready; None: nothing.
        """
        private_dir.mkdir(parents=True, exist_ok=True)
        self._log_path = private_dir / "stderr.log"
        self._buffer = b""
        self.num_fetched = 0
        self.is_ready, self.is_busy = False, False
        self._deadline: float | None = time.monotonic() + _START_LIMIT_SECONDS

        # In a session of its own the worker leads a process group, which `kill` ends as a whole.
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.downloads.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=_PACKAGE_ROOT,  # where `-m` looks for modules first
                start_new_session=True,
            )

        # Read answers without blocking: the engine checks all workers in turn.
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self.stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self.stdout.fileno(), False)

        self._send(
            {
                "parameters": asdict(parameters),
                "private_dir": str(private_dir),
                "first_url": first_url,
            }
        )

    def start(self, request: FetchRequest, *, limit_seconds: float) -> None:
        """Hand over a request; ``poll`` gives its answer."""
        self.is_busy = True
        self.num_fetched += 1
        self._deadline = time.monotonic() + limit_seconds
        self._send(request)

    def poll(self) -> FetchAnswer | WorkerLost | None:
        """Return the answer if it is there, ``WorkerLost`` if none will come, else None."""
        has_ended = self._collect()

        # A whole line is an answer; the first one only says that the worker is ready. A worker can
        # end just after it answered, so read its answer first.
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            answer = json.loads(line)
            self._deadline = None
            if self.is_ready:
                self.is_busy = False
                return answer
            self.is_ready = True

        if has_ended:
            code = _describe_exit(self._process.wait())
            return WorkerLost(f"the worker process ended with {code}: {self._read_log_tail()}")
        if self._deadline is not None and time.monotonic() > self._deadline:
            return WorkerLost(is_late=True)
        return None

    def _collect(self) -> bool:
        """Read what has arrived; return whether the process has closed its output."""
        while True:
            try:
                block = os.read(self.stdout.fileno(), _READ_BYTES)
            except BlockingIOError:
                return False
            if not block:
                return True
            self._buffer += block

    def kill(self) -> None:
        """End the process and everything it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.poll()

        # Collect the exit status and close the pipes: otherwise they pile up over weeks.
        self._process.wait()
        self._stdin.close()
        self.stdout.close()

    def close(self) -> None:
        """Let an idle process write its cookies and end."""
        try:
            # None asks the worker to end.
            self._send(None)
            self._process.wait(_CLOSE_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def _send(self, value: Any) -> None:
        try:
            self._stdin.write(json.dumps(value).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            return  # the process has ended; ``poll`` says how

    def _read_log_tail(self) -> str:
        try:
            data = self._log_path.read_bytes()[-_LOG_TAIL_BYTES:]
        except FileNotFoundError:
            return ""
        lines = data.decode("utf-8", "replace").split("\n")
        return " ".join(" ".join(lines[-_LOG_TAIL_LINES:]).split())


class WorkerPool:
    """The workers of one run, at most ``max_workers`` at a time."""

    def __init__(self, parameters: FetchParameters, *, max_workers: int, work_dir: Path):
        self._parameters, self._max_workers, self._work_dir = parameters, max_workers, work_dir
        self._num_started = 0
        self.workers: list[Worker] = []

    def find_idle(self) -> Worker | None:
        """Return a worker that is ready and has no request."""
        return next((w for w in self.workers if w.is_ready and not w.is_busy), None)

    def start_worker(self, *, num_queued: int, first_url: str | None) -> bool:
        """Start one more worker if that helps; return whether it did.

        Args:
            num_queued: videos that wait; no more workers than this start at the same time.
            first_url: see ``Worker``.
        """
        # A starting worker takes one of the queued videos.
        num_starting = sum(not worker.is_ready for worker in self.workers)
        if len(self.workers) >= self._max_workers or num_starting >= num_queued:
            return False

        self._num_started += 1
        private_dir = self._work_dir / f"worker-{self._num_started}"
        self.workers.append(Worker(self._parameters, private_dir=private_dir, first_url=first_url))
        return True

    def remove(self, worker: Worker) -> None:
        """Kill a worker and forget it."""
        worker.kill()
        self.workers.remove(worker)

    def close(self, worker: Worker) -> None:
        """End an idle worker; with cookies, wait until yt-dlp has written the changed ones."""
        if self._parameters.cookies_path:
            worker.close()
        self.remove(worker)

    def close_all(self) -> None:
        """End all workers; they must be idle."""
        for worker in list(self.workers):
            self.close(worker)

    def kill_all(self) -> None:
        """Kill all workers, whatever they do."""
        for worker in list(self.workers):
            self.remove(worker)

    def wait(self, *, limit_seconds: float) -> None:
        """Sleep until a worker answers or becomes ready, at most ``limit_seconds``."""
        # Idle workers say nothing.
        expected = [worker for worker in self.workers if worker.is_busy or not worker.is_ready]
        _wait_for_any(expected, limit_seconds=limit_seconds)


def _wait_for_any(workers: Sequence[Worker], *, limit_seconds: float) -> None:
    if not workers:
        time.sleep(limit_seconds)
        return
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.stdout, selectors.EVENT_READ)
        selector.select(limit_seconds)


def _describe_exit(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
