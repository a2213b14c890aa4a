"""Let the ledger travel with the outputs: a copy of it is an output of the download stage.

A machine that pulled the outputs takes over the entries of the copy. The clips themselves are not
there, so each of them also gets an entry ``absent``: its row stays, and the clip is not attempted
before a user runs ``retry``.
"""

import contextlib
import gzip
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.errors import DataError
from earshot.files import publish
from pipeline.downloads.account.ledger import Ledger, iter_lines

_DAMAGED = "{path}: not a copy of a ledger ({error}); `dvc pull` brings it again"


def publish_copy(ledger_path: Path, copy_path: Path) -> None:
    """Write the compressed copy of a ledger; equal ledgers give equal bytes.

    Args:
        ledger_path: The ledger, JSON lines. If it does not exist, the copy is empty.
        copy_path: Where the copy (gzip) appears.
    """
    # In pieces: a ledger can have a million entries.
    with contextlib.ExitStack() as stack:
        temporary_path = stack.enter_context(publish(copy_path))
        target = stack.enter_context(open(temporary_path, "wb"))
        # No name and no time in the header, which would differ from copy to copy.
        copy = stack.enter_context(
            gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=target, mtime=0)
        )
        if ledger_path.exists():
            shutil.copyfileobj(stack.enter_context(open(ledger_path, "rb")), copy)


def adopt_copy(ledger: Ledger, copy_path: Path | None, table: pa.Table | None) -> None:
    """Add the entries of a pulled copy for clips that this ledger does not know.

    Args:
        ledger: of this machine, open.
        copy_path: the copy; nothing is done where there is none.
        table: the DOWNLOADS rows that came with it. Clips that are pending there will still be
            fetched.

    Raises:
        DataError: the copy is damaged.
    """
    if table is None or copy_path is None or not copy_path.exists():
        return
    # A clip with any entry here has a history of its own, to which the copy adds nothing.
    known = {entry["clip_id"] for _, entry in ledger.iter_entries()}
    columns = (table[name].to_pylist() for name in ("clip_id", "status"))
    statuses = {
        clip_id: status
        for clip_id, status in zip(*columns, strict=True)
        if status != "pending" and clip_id not in known
    }
    if not statuses:
        return

    found: dict[str, str] = {}

    def iter_new() -> Iterator[Mapping[str, Any]]:
        for entry in _read_copy(copy_path):
            if entry["clip_id"] in statuses:
                found[entry["clip_id"]] = statuses[entry["clip_id"]]
                yield entry
        # By now all entries of the copy have passed, so `found` is complete.
        yield from make_absence_marks(found)

    try:
        ledger.append(iter_new())
    except ValueError as error:  # a number that JSON cannot hold, such as NaN
        raise DataError(_DAMAGED.format(path=copy_path, error=error)) from None


def make_absence_marks(statuses: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the entries ``absent``: clips keep their status although their files are not here.

    Nothing is attempted before a `retry`.
    """
    now = round(time.time(), 3)
    return [
        {"type": "absent", "clip_id": clip_id, "status": status, "time": now}
        for clip_id, status in statuses.items()
    ]


def _read_copy(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rb") as file:
            for _, _, entry in iter_lines(file, path):
                yield entry
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(_DAMAGED.format(path=path, error=error)) from None
