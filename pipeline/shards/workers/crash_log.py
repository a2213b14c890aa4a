"""Find the clip that ends worker processes, from notes that the workers leave.

A worker can end at any instruction (a decoder crashes, the kernel kills it because it uses too
much memory), or it can hang. Then it cannot report which clip it was reading. So it writes the clip
down before it reads it. These are the files of one run, in a folder that all workers see.
``T`` is the id of a task, ``0000`` counts the tries at it:

| file | written by | when | content |
|---|---|---|---|
| ``T.0000.jsonl`` | worker | the try begins | ``{"worker": address}`` |
| | | before a clip is read | ``{"clip": id}``: this clip is the suspect |
| | | a moment of the clip is done | ``{}``: the file grows, so the worker does not hang |
| | | all clips are read | ``{"clip": null}``: no clip is the suspect |
| | | the try ends or raises | the file is removed; after a clip's ``MemoryError`` it stays |
| ``T.0000.hung`` | client | the file has not grown in time | nothing |
| ``T.0000.ended`` | client | its worker is gone | how the worker ended |
| ``T.result`` | worker | the task is done | the pickled result |

A ``.jsonl`` file that stays belongs to a worker that is gone, and its last clip is the suspect. A
clip that is the suspect in ``max_attempts`` files of one task is skipped in the next try. Its
samples fail with the reason ``timeout`` if one of these files has a ``.hung`` beside it, otherwise
``crashed``.

Results are files as well: the client can collect them even if the worker dies right after the task.
The folder belongs to one run, so that no clip is a suspect because a user interrupted a run.
"""

import contextlib
import json
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from earshot.files import publish_bytes

FOLDER_PREFIX = ".crash-log-"


class TaskNotes:
    """The notes of one try at a task, as the worker writes them."""

    def __init__(self, path: Path, worker: str):
        self._path = path
        # Unbuffered, so that nothing is lost when the process dies.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._write({"worker": worker})

    def _write(self, note: dict[str, str | None]) -> None:
        os.write(self._descriptor, (json.dumps(note) + "\n").encode())

    def begin_clip(self, clip_id: str) -> None:
        """Note that this clip is read from now on."""
        self._write({"clip": clip_id})

    def note_progress(self) -> None:
        """Note that one more moment of the clip is done."""
        self._write({})

    def begin_writing(self) -> None:
        """Note that all clips are read."""
        self._write({"clip": None})

    def keep(self) -> None:
        """End the try because of the clip that it was reading: the file stays."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """End the try, with its result or with an exception that the client sees."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


class LatestTry(NamedTuple):
    """The newest try at a task that has not ended."""

    path: Path  # of its notes
    worker: str  # address
    size: int  # of its notes, in bytes; it grows with each moment


class CrashLog:
    """The notes and results of all tasks of one run."""

    def __init__(self, folder: Path | str, *, max_attempts: int):
        self.folder = Path(folder)
        self.max_attempts = max_attempts

    def begin_try(self, task_id: str, worker: str) -> TaskNotes:
        """Open the notes of the next try at a task; ``worker`` is the address of who tries."""
        # Two workers can begin at once, if Dask gave up on a worker that is still alive.
        number = len(list(self.folder.glob(f"{task_id}.*.jsonl")))
        while True:
            try:
                return TaskNotes(self.folder / f"{task_id}.{number:04d}.jsonl", worker)
            except FileExistsError:
                number += 1

    def write_result(self, task_id: str, result: object) -> None:
        """Write what a task returned."""
        publish_bytes(self._result_path(task_id), pickle.dumps(result))

    def read_result(self, task_id: str) -> Any | None:
        """Return what a task returned; None while it is not done."""
        path = self._result_path(task_id)
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def _result_path(self, task_id: str) -> Path:
        return self.folder / f"{task_id}.result"

    def find_clips_to_skip(self, task_id: str) -> dict[str, str]:
        """Return the clips that ended too many tries at a task.

        Returns:
            By clip id, ``crashed`` or ``timeout``.
        """
        # A try that ended has no file, so each file stands for one lost worker.
        num_lost_tries: Counter[str] = Counter()
        hung: set[str] = set()
        for path in sorted(self.folder.glob(f"{task_id}.*.jsonl")):
            suspect = _read_notes(path).get("clip")
            # The worker died outside of a clip, so that no clip is to blame.
            if suspect is None:
                continue
            num_lost_tries[suspect] += 1
            if _hung_path(path).exists():
                hung.add(suspect)

        return {
            clip_id: "timeout" if clip_id in hung else "crashed"
            for clip_id, count in num_lost_tries.items()
            if count >= self.max_attempts
        }

    def find_latest_try(self, task_id: str) -> LatestTry | None:
        """Return the newest try at a task that has not ended."""
        paths = sorted(self.folder.glob(f"{task_id}.*.jsonl"))
        if not paths:
            return None
        try:
            notes = _read_notes(paths[-1])
            return LatestTry(paths[-1], notes.get("worker") or "", paths[-1].stat().st_size)
        except FileNotFoundError:
            return None  # it has ended meanwhile

    def note_end(self, worker: str, how: str) -> None:
        """Note how a worker ended, beside the notes of its tries that have not ended."""
        for path in self.folder.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                if _read_notes(path).get("worker") == worker:
                    _end_path(path).write_text(how)

    def find_ends(self, task_id: str) -> dict[str, str]:
        """Return clip id -> how the last worker that read the clip ended, where that is known."""
        ends = {}
        for path in sorted(self.folder.glob(f"{task_id}.*.jsonl")):
            suspect = _read_notes(path).get("clip")
            if suspect is not None and _end_path(path).exists():
                ends[suspect] = _end_path(path).read_text()
        return ends

    def mark_hung(self, path: Path) -> None:
        """Mark the try with these notes as one that made no progress in time."""
        _hung_path(path).touch()


def _hung_path(path: Path) -> Path:
    return path.with_suffix(".hung")


def _end_path(path: Path) -> Path:
    return path.with_suffix(".ended")


def _read_notes(path: Path) -> dict[str, str | None]:
    """Return the last value of each key. An incomplete last line (its writer died) is ignored."""
    notes: dict[str, str | None] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        notes.update(json.loads(line))
    return notes
