"""Worker processes that fetch: started rarely, recycled often, killed when late.

yt-dlp's registries are process-wide and grow, and a stalled server can hold a thread for ever; a process can be ended
whatever it does. Each worker leads a process group of its own, so that killing it takes its ffmpeg along, and ends by
itself when this process is gone (its standard input closes).
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from pipeline.downloads.messages import FetchParameters

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_START_LIMIT_SECONDS = 120.0
_LOG_TAIL_BYTES = 2000


class Worker:
    """One process that fetches one video at a time.

    ``first_url``: prepare for URLs like this one; ``is_ready``: it has. ``task``: what its owner last gave it (the
    owner's own field).
    """

    def __init__(
        self, parameters: FetchParameters, *, private_dir: Path, first_url: str | None = None
    ):
        private_dir.mkdir(parents=True, exist_ok=True)
        self._log_path = private_dir / "stderr.log"
        self._buffer = b""
        self.num_fetched, self.request, self.task = 0, None, None
        self.is_ready = False
        self.deadline = time.monotonic() + _START_LIMIT_SECONDS
        with open(self._log_path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.downloads.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=_PACKAGE_ROOT,  # where `-m` looks for modules first
                start_new_session=True,
            )
        os.set_blocking(self.process.stdout.fileno(), False)
        self._send(
            {
                "parameters": asdict(parameters),
                "private_dir": str(private_dir),
                "first_url": first_url,
            }
        )

    @property
    def is_busy(self) -> bool:
        return self.request is not None

    def start(self, request: dict, *, limit_seconds: float) -> None:
        """Hand over a request; its answer comes from ``poll``."""
        self.request, self.num_fetched = request, self.num_fetched + 1
        self.deadline = time.monotonic() + limit_seconds
        self._send(request)

    def poll(self) -> dict | None:
        """The answer if it is there, ``{"crash": text}`` if the process ended or is late, else None."""
        while True:
            try:
                block = os.read(self.process.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not block:
                self.process.wait()
                return {
                    "crash": f"the worker process ended with {_exit_words(self.process.returncode)}: {self._log_tail()}"
                }
            self._buffer += block
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            answer = json.loads(line)
            self.deadline = None
            if not self.is_ready:
                self.is_ready = True
                continue
            self.request = None
            return answer
        if self.deadline is not None and time.monotonic() > self.deadline:
            return {"late": True}
        return None

    def kill(self) -> None:
        """End the process and everything it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.poll()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self, *, limit_seconds: float = 10.0) -> None:
        """Let an idle process write its cookies and go."""
        try:
            self._send(None)
            self.process.wait(limit_seconds)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._log_tail()
        self.kill()

    def _send(self, value) -> None:
        try:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # the end of its output tells why

    def _log_tail(self) -> str:
        try:
            lines = (
                self._log_path.read_bytes()[-_LOG_TAIL_BYTES:]
                .decode("utf-8", "replace")
                .split("\n")
            )
        except FileNotFoundError:
            return ""
        return " ".join(" ".join(lines[-4:]).split())


def wait_for_any(workers: list[Worker], *, limit_seconds: float) -> None:
    """Sleep until a worker says something or the time is over."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.process.stdout, selectors.EVENT_READ)
        if workers:
            selector.select(max(limit_seconds, 0.0))
        elif limit_seconds > 0:
            time.sleep(limit_seconds)


def _exit_words(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {-returncode}"
    return f"exit code {returncode}"
