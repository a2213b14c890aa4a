"""Read files in a process of its own: a file that crashes a decoder must not end the import."""

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from earshot.errors import MediaError
from pipeline.base.os_errors import describe_exit

_LIMIT_SECONDS = 900.0  # for one file; the longest take a minute


@dataclass(frozen=True)
class _Raised:
    """The answer of a function that raised an error."""

    error: Exception


class ReaderProcesses:
    """One process for each thread that reads files, started when it is first needed.

    Spawned processes do not inherit locks that another thread holds at that moment.
    """

    def __init__(self) -> None:
        self._own = threading.local()  # of each thread: its process and the pipe to it
        self._started: list[SpawnProcess] = []

    def call(self, function: Callable, *arguments: Any, **named: Any) -> Any:
        """Call a function in the process of this thread.

        Args:
            function: of a module; its arguments and its result can be pickled.

        Returns:
            What the function returns.

        Raises:
            MediaError: ``corrupt`` where the process ends or gives no answer. Errors of the
                function are raised here, too.
        """
        pipe = self._get_pipe()
        pipe.send((function, arguments, named))
        try:
            # A decoder can run in circles in a damaged file.
            if not pipe.poll(_LIMIT_SECONDS):
                self._forget_process()
                raise MediaError("corrupt", f"reading it took longer than {_LIMIT_SECONDS:g} s")
            answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            exit_code = self._forget_process()
            raise MediaError(
                "corrupt", f"reading it ended the process that read it: {describe_exit(exit_code)}"
            ) from None

        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    def close(self) -> None:
        """End all processes."""
        for process in self._started:
            process.kill()
            process.join()

    def _get_pipe(self) -> Connection:
        if getattr(self._own, "pipe", None) is None:
            # A fork would copy locks that other threads hold at the moment, and nobody would
            # release them.
            context = multiprocessing.get_context("spawn")
            self._own.pipe, theirs = context.Pipe()
            self._own.process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._own.process.start()
            theirs.close()  # so that the end of the process ends the pipe
            self._started.append(self._own.process)
        return self._own.pipe

    def _forget_process(self) -> int:
        """End this thread's process, so that the next call starts another; return its code."""
        process = self._own.process
        # It may be ending by itself. Its exit code then says more than that of a kill.
        process.join(timeout=10)
        process.kill()
        process.join()
        self._own.pipe.close()
        self._own.pipe = None
        self._started.remove(process)
        return process.exitcode


def _serve(pipe: Connection) -> None:
    """Answer calls until the other side is gone."""
    while True:
        try:
            function, arguments, named = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments, **named)
        except Exception as error:
            answer = _Raised(error)
        pipe.send(answer)
