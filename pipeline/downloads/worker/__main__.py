"""The program of a worker process: read requests, answer them, end with the parent.

``python -m pipeline.downloads.worker`` reads its settings and then requests from its standard
input, one JSON object a line, and answers each with one line on its standard output (see
``pipeline/downloads/messages.py``).

The process is alone in its process group. When its parent closes the pipe or dies, it kills the
group (itself, ffmpeg, a JavaScript runtime), so that nothing goes on downloading.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.base.parameters import build
from pipeline.downloads.messages import FetchRequest
from pipeline.downloads.parameters import FetchParameters
from pipeline.downloads.worker.fetcher import Fetcher


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    # Whatever prints to standard output must not reach the parent as an answer.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    # In a thread of its own, so that the end of the pipe is noticed during a download, too.
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()

    # The first line has the settings; the answer says that requests may come.
    settings = lines.get()
    fetcher = Fetcher(
        build(FetchParameters, settings["parameters"], "download"),
        private_dir=Path(settings["private_dir"]),
    )
    if settings["first_url"] is not None:
        fetcher.prepare(settings["first_url"])
    answers.write(_encode({"is_ready": True}))

    for request in _iter_requests(lines):
        answers.write(_encode(fetcher.fetch(request)))
    fetcher.close()


def _iter_requests(lines: queue.SimpleQueue[Any]) -> Iterator[FetchRequest]:
    """Yield requests until the parent sends null: the end, with time to write cookies."""
    while (request := lines.get()) is not None:
        yield request


def _encode(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _read_lines(lines: queue.SimpleQueue[Any]) -> None:
    """Queue each line; when the pipe ends, the parent is gone: kill the process group at once."""
    for line in sys.stdin.buffer:
        lines.put(json.loads(line))
    # The group includes what a download has started, such as ffmpeg.
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
