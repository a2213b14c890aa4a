"""The ledger: every attempt to get a clip, one JSON object a line, appended and never changed.

It outlives every rerun; ``downloads.parquet`` is derived from it. An entry is on the disk (fsync) before anything
follows from it. A process that dies in the middle of a line leaves a torn last line: readers pass over it, the next
writer cuts it off. One process writes at a time (a lock file beside it, which the system frees with the process).

Entries (``type`` tells them apart, ``time`` is seconds since 1970 UTC):

- ``attempt``: ``clip_id``, the request (``url start_seconds end_seconds``), ``outcome`` (``ok`` or ``failed``),
  ``versions``; if failed ``reason``, ``text`` (raw) and ``by`` (``text``: the reason was read from the text and can be
  classified again; ``check``: it was seen on the file); if ok ``file`` (path, bytes, sha256, what probing found).
- ``retry``: ``clip_id``; what came before no longer keeps the clip from being attempted.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from earshot.errors import DataError, RunError
from earshot.files import sync
from pipeline.base.locks import LockHeldError, hold_lock


class Ledger:
    """A ledger opened for appending by this process alone; a context manager.

    ``entries`` are those found on opening. Raises ``RunError`` when another process has it.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        self._cleanup = contextlib.ExitStack()
        try:
            try:
                lock_path = self.path.with_name(f".lock-{self.path.name}")
                self._cleanup.enter_context(hold_lock(lock_path))
            except LockHeldError:
                raise RunError(
                    f"{self.path}: another process is downloading into this ledger; wait for it or "
                    "stop it"
                ) from None
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._cleanup.callback(os.close, self._descriptor)
            if is_new:
                sync(self.path.parent)
            data = _read_all(self._descriptor)
            self.entries, self._num_bytes = parse(data, self.path)
            if self._num_bytes < len(data):
                os.ftruncate(self._descriptor, self._num_bytes)
                os.fsync(self._descriptor)
        except BaseException:
            self._cleanup.close()
            raise

    def append(self, entries: Iterable[Mapping]) -> None:
        """Write entries and wait until they are on the disk; all of them or none."""
        data = b"".join(_encode(entry) for entry in entries)
        if not data:
            return
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._num_bytes + written)
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self._num_bytes)
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._num_bytes += len(data)

    def close(self) -> None:
        self._cleanup.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def read_entries(path: Path | str) -> list[dict]:
    """All whole entries of a ledger, also while another process writes it; none when there is no file."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return parse(data, path)[0]


def parse(data: bytes, path: Path | str) -> tuple[list[dict], int]:
    """The entries of a ledger's bytes and the number of bytes that they take.

    Only the end can be torn: a broken line that whole ones follow means that somebody changed the file, and is refused.
    """
    entries, num_bytes, broken_line = [], 0, None
    end = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:end].split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "type" not in entry or "clip_id" not in entry:
            broken_line = broken_line or number
            continue
        if broken_line is not None:
            raise DataError(
                f"{path}, line {broken_line}: not an entry of a ledger, although whole entries follow it"
            )
        entries.append(entry)
        num_bytes += len(line) + 1
    return entries, num_bytes


def _encode(entry: Mapping) -> bytes:
    # ASCII escapes also carry file names that are not UTF-8 (lone surrogates).
    return (
        json.dumps(entry, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
        + b"\n"
    )


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
