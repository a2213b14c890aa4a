"""The ledger: every attempt to get a clip, one JSON object a line, added and never changed.

It outlives every rerun; ``downloads.parquet`` is derived from it. An entry is on the disk (fsync)
before anything is done that depends on it. A process that dies while it writes leaves an incomplete
last line: readers skip it, and the next writer cuts it off. One process writes at a time: it holds
a lock file beside the ledger, which the system frees when the process ends.

Entries have ``type``, ``clip_id`` and ``time`` (seconds since 1970 UTC):

- ``attempt``: the request (``url start_seconds end_seconds``), ``outcome`` (``ok`` or ``failed``),
  ``access`` and ``versions`` (credentials and tools), and

  - if failed: ``reason``, ``text`` (raw) and ``by``. ``by`` is ``text`` if the reason was read from
    the text and can be classified again, ``check`` if it was seen on the file.
  - if ok: ``file`` (path, bytes, sha256 and what validation found).

- ``retry``: a user wants another attempt; the attempts before it no longer count.
- ``intact``: the clip's file was written again, for example copied, and has the bytes that it had.
- ``absent``: the clip's file is not on this machine on purpose (``clips drop``), or another machine
  made the attempts. The clip keeps its ``status``; nothing is attempted before a ``retry``.
- ``refused``: the site refused most videos at that time, in whatever words; the attempts before it
  no longer count.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from earshot.errors import DataError, RunError
from earshot.files import sync
from pipeline.base.locks import LockHeldError, hold_lock


class Ledger:
    """A ledger that this process alone may write; a context manager.

    Attributes:
        path: of the file.
        entries: those found on opening, oldest first.
    """

    def __init__(self, path: Path | str, *, is_patient: bool = False):
        """Open a ledger, or create it.

        Args:
            path: of the file.
            is_patient: whether to wait until another process has closed it.

        Raises:
            RunError: another process has it open, and this one does not wait.
            DataError: a line in the middle is damaged.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        self._cleanup = contextlib.ExitStack()
        try:
            self._cleanup.enter_context(self._lock(is_patient))
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._cleanup.callback(os.close, self._descriptor)
            if is_new:
                sync(self.path.parent)

            # An incomplete last line was never acknowledged: nothing depends on it.
            data = _read_all(self._descriptor)
            self.entries, self._num_bytes = parse_entries(data, self.path)
            if self._num_bytes < len(data):
                os.ftruncate(self._descriptor, self._num_bytes)
                os.fsync(self._descriptor)
        except BaseException:
            self._cleanup.close()
            raise

    @contextlib.contextmanager
    def _lock(self, is_patient: bool) -> Iterator[None]:
        lock_path = self.path.with_name(f".lock-{self.path.name}")
        try:
            with hold_lock(lock_path, on_wait=self._report_waiting if is_patient else None):
                yield
        except LockHeldError:
            raise RunError(
                f"{self.path}: another process is downloading into this ledger; "
                "wait for it or stop it"
            ) from None

    def _report_waiting(self) -> None:
        print(
            f"{self.path}: another process is downloading into this ledger; this one waits",
            file=sys.stderr,
            flush=True,
        )

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write entries and wait until they are on the disk; write all of them or none.

        Raises:
            RunError: the file cannot be written.
        """
        data = b"".join(_encode(entry) for entry in entries)
        if not data:
            return

        # After an error the file ends where it ended before: no entry is half written.
        try:
            written = 0
            # One call can write less than it is given.
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._num_bytes + written)
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self._num_bytes)
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._num_bytes += len(data)

    def close(self) -> None:
        """Close the file and release the lock."""
        self._cleanup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_entries(path: Path | str) -> list[dict[str, Any]]:
    """Return all whole entries of a ledger, also while another process writes it.

    Args:
        path: of the ledger; an absent file has no entries.

    Raises:
        DataError: a line in the middle is damaged.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return parse_entries(data, path)[0]


def parse_entries(data: bytes, path: Path | str) -> tuple[list[dict[str, Any]], int]:
    """Return the entries of a ledger's bytes, and how many bytes they take.

    A crash can damage only the end. If whole entries follow a damaged line, somebody has edited the
    file, and it is refused.
    """
    entries: list[dict[str, Any]] = []
    num_bytes, broken_line = 0, None
    end = data.rfind(b"\n") + 1  # what follows is incomplete

    for number, line in enumerate(data[:end].split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        is_entry = isinstance(entry, dict) and isinstance(entry.get("clip_id"), str)
        if not is_entry or not isinstance(entry.get("type"), str):
            broken_line = broken_line or number
            continue

        # Whole entries after a damaged line: not the work of a crash.
        if broken_line is not None:
            raise DataError(
                f"{path}, line {broken_line}: not an entry of a ledger, "
                "although whole entries follow it"
            )

        entries.append(entry)
        # The next writer cuts the file off here, behind the last whole entry.
        num_bytes += len(line) + 1
    return entries, num_bytes


_NUMBER = (int, float)
_FIELDS: dict[str, tuple[type, ...]] = {
    "time": _NUMBER,
    "url": (str,),
    "start_seconds": (*_NUMBER, type(None)),
    "end_seconds": (*_NUMBER, type(None)),
    "outcome": (str,),
    "versions": (str,),
}
_FIELDS_OF_MARKS: dict[str, dict[str, tuple[type, ...]]] = {
    "intact": {"time": _NUMBER},
    "absent": {"status": (str,)},
}
_FIELDS_OF_FAILURE: dict[str, tuple[type, ...]] = {"reason": (str,), "text": (str,), "by": (str,)}
_FIELDS_OF_FILE: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "bytes": (int,),
    "sha256": (str,),
    "duration_seconds": _NUMBER,
    "width": (int,),
    "height": (int,),
    "fps": (*_NUMBER, type(None)),
    "video_codec": (str,),
    "audio_codec": (str, type(None)),
    "sample_rate": (int, type(None)),
    "flags": (list,),
}


def find_fault(entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an entry; None if it has all that its type needs.

    Entries of unknown types, which a newer version wrote, have no fault.
    """
    if entry["type"] != "attempt":
        return _find_wrong_field(entry, _FIELDS_OF_MARKS.get(entry["type"], {}))
    fault = _find_wrong_field(entry, _FIELDS)
    if fault is not None:
        return fault

    if entry["outcome"] == "failed":
        return _find_wrong_field(entry, _FIELDS_OF_FAILURE)
    if entry["outcome"] != "ok":
        return f"has the outcome {entry['outcome']!r}, expected ok or failed"
    file = entry.get("file")
    if not isinstance(file, dict):
        return "lacks the mapping file"
    return _find_wrong_field(file, _FIELDS_OF_FILE, prefix="file.")


def _find_wrong_field(
    values: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]], *, prefix: str = ""
) -> str | None:
    for name, kinds in fields.items():
        if name not in values:
            return f"lacks the field {prefix}{name}"
        if not isinstance(values[name], kinds):
            expected = " or ".join(
                "null" if kind is type(None) else kind.__name__ for kind in kinds
            )
            return f"has {prefix}{name} {values[name]!r}, expected {expected}"
    return None


def _encode(entry: Mapping[str, Any]) -> bytes:
    # Escapes to ASCII also carry file names that are not UTF-8 (lone surrogates).
    text = json.dumps(entry, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
