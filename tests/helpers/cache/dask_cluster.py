"""A Dask cluster of processes of its own, as users start one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from tests.helpers.paths import ROOT


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(
        self,
        folder: Path,
        num_workers: int,
        *worker_options: str,
        paths: str = f"{ROOT}:{ROOT / 'tests'}",
    ):
        # An environment that `make setup` made imports its checkout from anywhere. Without `site`
        # Python does not read the file that says so.
        self._python = [sys.executable] if paths else [sys.executable, "-S"]
        packages = sysconfig.get_paths()["purelib"]
        self._environment = os.environ | {"PYTHONPATH": paths or packages}
        self._folder, self._worker_options = folder, worker_options
        self._scheduler_file = folder / "scheduler.json"
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(self._scheduler_file),
        ]
        self.scheduler = self._start("scheduler", *options)
        self.address = self._wait_for_address()
        self.workers = [self.start_worker() for _ in range(num_workers)]

    def _wait_for_address(self):
        deadline = time.monotonic() + 120  # a busy machine starts Dask slowly
        while True:
            # Dask does not write the file in one step.
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads(self._scheduler_file.read_text())["address"]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _start(self, command, *options):
        return subprocess.Popen(
            [*self._python, "-m", "distributed.cli.dask_" + command, *options],
            env=self._environment,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start_worker(self):
        options = ["--nthreads", "1", "--no-dashboard", *self._worker_options]
        return self._start("worker", self.address, *options)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in (*self.workers, self.scheduler):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
