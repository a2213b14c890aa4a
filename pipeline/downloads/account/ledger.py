"""The ledger: every attempt to get a clip, one JSON object a line, added and never changed.

Every rerun keeps it; ``downloads.parquet`` is derived from it. An entry is on the disk (fsync)
before the run does anything that depends on it. A process that dies while it writes leaves an
incomplete last line: readers skip it, and the next writer cuts it off. One process writes at a
time: it holds a lock file beside the ledger, which the system frees when the process ends.

Entries have ``type``, ``clip_id`` and ``time`` (seconds since 1970 UTC):

- ``attempt``: the request (``url start_seconds end_seconds``), ``outcome`` (``ok`` or ``failed``),
  ``access`` and ``versions`` (credentials and tools), and

  - if failed: ``reason``, ``text`` (raw) and ``by``. ``by`` is ``text`` if the reason was read from
    the text and can be classified again, ``check`` if it was seen on the file.
  - if ok: ``file`` (path, bytes, sha256 and what validation found).

- ``found``: the clip was ``ok``, and is damaged all the same. A feature could not read it, and then
  not every picture could be decoded. It has the fields of a failed attempt and stands for one.
- ``retry``: a user wants another attempt; the attempts before it no longer count.
- ``intact``: the clip's file was written again, for example copied, and has the bytes that it had.
- ``absent``: the clip's file is not on this machine on purpose (``clips drop``), or another machine
  made the attempts. The clip keeps its ``status``; nothing is attempted before a ``retry``.
- ``refused``: the site refused most videos at that time, whatever its messages said; the attempts
  before it no longer count.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from earshot.errors import DataError, RunError
from earshot.files import sync
from pipeline.base.locks import LockHeldError, hold_lock

_READ_BYTES = 2048  # most entries are shorter
_WRITE_BYTES = 1 << 20


class Ledger:
    """A ledger that this process alone may write; a context manager.

    Attributes:
        path: of the file.
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
            # A new name survives a power cut only when its folder has been synced.
            if is_new:
                sync(self.path.parent)

            self._last_read: tuple[int, dict[str, Any]] | None = None  # a place and its entry

            # Cut off an incomplete last line: nothing depends on it yet.
            self._num_bytes = 0
            with open(self.path, "rb") as file:
                for place, line, _ in iter_lines(file, self.path):
                    self._num_bytes = place + len(line)
            if self._num_bytes < os.fstat(self._descriptor).st_size:
                os.ftruncate(self._descriptor, self._num_bytes)
                os.fsync(self._descriptor)
        except BaseException:
            # Also after Ctrl-C: nobody else could open the ledger.
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

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first."""
        return [entry for _, entry in self.iter_entries()]

    def iter_entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each entry, oldest first, with its place; only one is held in memory."""
        with open(self.path, "rb") as file:
            for place, _, entry in iter_lines(file, self.path):
                yield place, entry

    def read_entry(self, place: int) -> dict[str, Any]:
        """Return the entry at a place that ``iter_entries`` or ``append`` gave; do not change it.

        Raises:
            DataError: another program has cut off the file meanwhile.
        """
        # The same entry is often needed several times in a row.
        if self._last_read is not None and self._last_read[0] == place:
            return self._last_read[1]

        # `pread` moves no position, so reading does not disturb what is appended.
        data = os.pread(self._descriptor, _READ_BYTES, place)
        while b"\n" not in data:
            block = os.pread(self._descriptor, _READ_BYTES, place + len(data))
            if not block:
                raise DataError(f"{self.path}: was cut off while it was in use")
            data += block
        entry = json.loads(data[: data.index(b"\n")])
        self._last_read = place, entry
        return entry

    def append(self, entries: Iterable[Mapping[str, Any]]) -> list[int]:
        """Write entries and wait until they are on the disk; write all of them or none.

        Returns:
            The place of each entry, for ``read_entry``.

        Raises:
            RunError: the file cannot be written.
        """
        places: list[int] = []
        end, buffer = self._num_bytes, bytearray()

        # After an error the file ends where it ended before: no entry is half written.
        try:
            for entry in entries:
                places.append(end + len(buffer))
                buffer += _encode(entry)
                if len(buffer) >= _WRITE_BYTES:
                    end = self._write(buffer, end)
                    buffer.clear()
            end = self._write(buffer, end)
            if places:
                os.fsync(self._descriptor)
        except BaseException as error:
            os.ftruncate(self._descriptor, self._num_bytes)
            if isinstance(error, OSError):
                raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
            raise

        self._num_bytes = end
        return places

    def _write(self, data: bytes | bytearray, place: int) -> int:
        """Write at a place; return the place behind."""
        written = 0
        # One call can write less than it is given.
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], place + written)
        return place + written

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
    if not Path(path).exists():
        return []
    with open(path, "rb") as file:
        return [entry for _, _, entry in iter_lines(file, path)]


def iter_lines(
    lines: Iterable[bytes], path: Path | str
) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Yield the place, the bytes and the entry of each whole line of a ledger.

    A crash can damage only the end. If whole entries follow a damaged line, the file was edited.
    That is an error.

    Args:
        lines: the open file, or its lines.
        path: named in errors.
    """
    place, broken_line = 0, None
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):  # incomplete
            return
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        is_entry = isinstance(entry, dict) and isinstance(entry.get("clip_id"), str)
        if not is_entry or not isinstance(entry.get("type"), str):
            broken_line = broken_line or number
        elif broken_line is not None:
            raise DataError(
                f"{path}, line {broken_line}: not an entry of a ledger, "
                "although whole entries follow it"
            )
        else:
            yield place, line, entry
        place += len(line)


_SHA256 = re.compile("[0-9a-f]{64}")
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
_OPTIONAL_FIELDS: dict[str, tuple[type, ...]] = {
    "access": (str,),
    "retry_after_seconds": _NUMBER,
    "source": (dict, type(None)),
}
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
_OPTIONAL_FIELDS_OF_FILE: dict[str, tuple[type, ...]] = {"staged": (str,), "source_sha256": (str,)}
# The columns of `downloads.parquet` hold no larger numbers. Others are damage, too.
_LIMITS = {"time": 1e11, "bytes": 2**63, "width": 2**31, "height": 2**31, "sample_rate": 2**31}
_USUAL_LIMIT = 1e15
_RAW_TEXTS = ("text", "url")


def find_fault(entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an entry; None if it has all that its type needs.

    Entries of unknown types, which a newer version wrote, have no fault.
    """
    if entry["type"] not in ("attempt", "found"):
        return _find_wrong_field(entry, _FIELDS_OF_MARKS.get(entry["type"], {}))
    fault = _find_wrong_field(entry, _FIELDS)
    fault = fault or _find_wrong_field(entry, _OPTIONAL_FIELDS, are_optional=True)
    if fault is not None:
        return fault

    if entry["outcome"] == "failed":
        return _find_wrong_field(entry, _FIELDS_OF_FAILURE)
    if entry["outcome"] != "ok":
        return f"has the outcome {entry['outcome']!r}, expected ok or failed"

    file = entry.get("file")
    if not isinstance(file, dict):
        return "lacks the mapping file"
    fault = _find_wrong_field(file, _FIELDS_OF_FILE, prefix="file.")
    fault = fault or _find_wrong_field(
        file, _OPTIONAL_FIELDS_OF_FILE, prefix="file.", are_optional=True
    )
    return fault or _find_wrong_value(file)


def _find_wrong_value(file: Mapping[str, Any]) -> str | None:
    """Return which fact about a file cannot be right, though its type is."""
    if not _SHA256.fullmatch(file["sha256"]):
        return f"has file.sha256 {file['sha256']!r}, expected 64 hexadecimal digits"
    if not all(isinstance(flag, str) and _is_plain(flag) for flag in file["flags"]):
        return f"has file.flags {file['flags']!r}, expected names"

    # A file is moved and removed by these paths, so they must not lead out of the clips folder.
    if "/" in file["path"] or file["path"] in ("", ".", ".."):
        return f"has file.path {file['path']!r}, expected the name of a file"
    staged = file.get("staged", "")
    if staged.startswith("/") or ".." in staged.split("/"):
        return f"has file.staged {file['staged']!r}, expected a path below the clips folder"
    return None


def _find_wrong_field(
    values: Mapping[str, Any],
    fields: Mapping[str, tuple[type, ...]],
    *,
    prefix: str = "",
    are_optional: bool = False,
) -> str | None:
    for name, kinds in fields.items():
        if name not in values:
            if are_optional:
                continue
            return f"lacks the field {prefix}{name}"

        value = values[name]
        if not isinstance(value, kinds):
            expected = " or ".join(
                "null" if kind is type(None) else kind.__name__ for kind in kinds
            )
        elif isinstance(value, str):
            # Raw texts and addresses are no names of files and in no table as they are.
            if name in _RAW_TEXTS or _is_plain(value):
                continue
            expected = "UTF-8 without zeros"
        else:
            limit = _LIMITS.get(name, _USUAL_LIMIT)
            # Written so that NaN is out of bounds as well.
            if not isinstance(value, _NUMBER) or abs(value) < limit:
                continue
            expected = f"a number below {limit:g}"
        return f"has {prefix}{name} {value!r}, expected {expected}"
    return None


def _is_plain(text: str) -> bool:
    """Return whether a text can be the name of a file and a value of a table."""
    if text.isascii():
        return "\0" not in text
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False


def _encode(entry: Mapping[str, Any]) -> bytes:
    # Escapes to ASCII also carry file names that are not UTF-8 (lone surrogates).
    text = json.dumps(entry, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"
