"""Notes that a worker leaves about what it is doing, so that a clip that kills workers can be named and set aside.

A worker process may vanish at any instruction (a crash inside a decoder, the kernel's memory killer) or hang. Each
attempt at a task therefore writes the id of the clip that it is about to touch into a file of its own, and removes the
file when the task ends. What remains of an attempt names its suspect. The folder belongs to one run: an interrupted run
accuses nobody.
"""

import json
import os
import pickle
from collections import Counter
from pathlib import Path

from earshot.files import publish_bytes

ATTEMPTS_PREFIX = ".attempts-"  # of the folder's name


class Attempt:
    """One attempt at a task, as the worker notes it."""

    def __init__(self, path: Path, worker: str):
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._note({"worker": worker})

    def _note(self, fact: dict) -> None:
        os.write(self._descriptor, (json.dumps(fact) + "\n").encode())

    def begin_clip(self, clip_id: str) -> None:
        """From now on this clip is the suspect."""
        self._note({"clip": clip_id})

    def note_progress(self) -> None:
        """One more moment of the clip is done: it is long, not hung."""
        self._note({})

    def begin_writing(self) -> None:
        """All clips are through; nobody is the suspect."""
        self._note({"clip": None})

    def fail(self) -> None:
        """The task ended through the fault of the clip it was at: the file remains as evidence."""
        os.close(self._descriptor)

    def end(self) -> None:
        """The task ended, well or with an exception that its caller sees; nothing remains."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


class AttemptLog:
    """The attempts at all tasks of one run, in a folder that the client and its workers share."""

    def __init__(self, folder: Path | str, *, max_attempts: int):
        self.folder = Path(folder)
        self.max_attempts = max_attempts

    def begin(self, task_id: str, worker: str) -> Attempt:
        """Open the next attempt's file."""
        number = len(list(self.folder.glob(f"{task_id}.*.jsonl")))
        while True:
            try:
                return Attempt(self.folder / f"{task_id}.{number:04d}.jsonl", worker)
            except FileExistsError:
                number += 1

    def write_result(self, task_id: str, result: object) -> None:
        """Leave what the task returned, where a worker that is gone or stopped need not be asked for it."""
        publish_bytes(self.folder / f"{task_id}.result", pickle.dumps(result))

    def read_result(self, task_id: str) -> object | None:
        """What the task returned; None while no attempt has ended well."""
        path = self.folder / f"{task_id}.result"
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def set_aside(self, task_id: str) -> dict[str, str]:
        """Clips that ``max_attempts`` earlier attempts did not survive, with ``crashed`` or ``timeout``."""
        deaths: Counter[str] = Counter()
        hung: set[str] = set()
        for path in sorted(self.folder.glob(f"{task_id}.*.jsonl")):
            suspect = _read(path).get("clip")
            if suspect is not None:
                deaths[suspect] += 1
                if _hung_mark(path).exists():
                    hung.add(suspect)
        return {
            clip_id: "timeout" if clip_id in hung else "crashed"
            for clip_id, count in deaths.items()
            if count >= self.max_attempts
        }

    def current(self, task_id: str) -> tuple[Path, str, int] | None:
        """The newest unfinished attempt: its file, its worker and its size (which grows with each moment)."""
        paths = sorted(self.folder.glob(f"{task_id}.*.jsonl"))
        if not paths:
            return None
        try:
            return paths[-1], _read(paths[-1]).get("worker", ""), paths[-1].stat().st_size
        except FileNotFoundError:
            return None  # it ended meanwhile

    def mark_hung(self, path: Path) -> None:
        """Note that the attempt with this file made no progress in time."""
        _hung_mark(path).touch()


def _hung_mark(path: Path) -> Path:
    return path.with_suffix(".hung")


def _read(path: Path) -> dict:
    """The last word on each fact; half a line at the end (the writer died in it) does not count."""
    facts: dict = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        facts.update(json.loads(line))
    return facts
