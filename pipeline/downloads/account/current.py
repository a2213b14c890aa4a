"""Take the account of downloads from its table, where nothing happened since it was written.

Deriving the rows of 200,000 clips from the ledger takes half a minute, and commands have seconds.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.downloads.account.ledger import find_fault, iter_lines
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import TableRules, exclude_flags, read_downloads_if_there

_TAIL_BYTES = 1 << 16  # longer than any entry


def find_current_downloads(
    clips: pa.Table, paths: AccountPaths, *, listed_at: float, rules: TableRules
) -> pa.Table | None:
    """Return what ``derive_from_ledger`` would, without reading the ledger.

    Args:
        clips: CLIPS rows, the list.
        paths: the files of the account.
        listed_at: when the list was written, in seconds since 1970 UTC.
        rules: of clips that are there twice, or not wanted. Details of pending clips are not
            written anew.

    Returns:
        DOWNLOADS rows; None if the list, the ledger, the files or the rules may have changed since
        the table was written.
    """
    if paths.table_path is None:
        return None
    table = read_downloads_if_there(paths.table_path)
    if table is None or not table["clip_id"].equals(clips["clip_id"]):
        return None
    if not _follows_duplicates(table, rules):
        return None

    # Without a ledger, the table was pulled, and its rows stay whatever files are here.
    if paths.ledger_path.exists() and paths.ledger_path.stat().st_size:
        written_at = paths.table_path.stat().st_mtime
        if written_at < max(listed_at, paths.ledger_path.stat().st_mtime):
            return None
        if not _has_last_attempt(table, paths.ledger_path) or not _has_files(table, paths):
            return None
    return exclude_flags(table, rules.excluded_flags)


def _follows_duplicates(table: pa.Table, rules: TableRules) -> bool:
    """Return whether clips with the same bytes are in the table as the rules say."""
    if rules.allow_duplicates:
        return not pc.any(pc.equal(table["reason"], "duplicate")).as_py()
    hashes = table.filter(pc.equal(table["status"], "ok"))["sha256"]
    return pc.count_distinct(hashes).as_py() == len(hashes)


def _has_last_attempt(table: pa.Table, ledger_path: Path) -> bool:
    """Return whether the table knows the ledger's last entry: an older table may be newer here."""
    entry = _read_last_entry(ledger_path)
    if entry is None or entry["type"] not in ("attempt", "found"):
        return entry is not None
    row = pc.index(table["clip_id"], entry["clip_id"]).as_py()
    attempted_at = table["last_attempt"][row].as_py() if row >= 0 else None
    return attempted_at is not None and attempted_at.timestamp() == int(entry["time"])


def _read_last_entry(ledger_path: Path) -> dict[str, Any] | None:
    """Return the last entry of a ledger; None if its end is torn or damaged."""
    with open(ledger_path, "rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - _TAIL_BYTES, 0))
        *_, last, rest = [b"", *file.read().split(b"\n")]
    # No line, or a damaged one, has no entry.
    entry = next((entry for _, _, entry in iter_lines([last + b"\n"], ledger_path)), None)
    is_whole = not rest and entry is not None and find_fault(entry) is None
    return entry if is_whole else None


def _has_files(table: pa.Table, paths: AccountPaths) -> bool:
    """Return whether the files of all clips that are ok are here."""
    names = table.filter(pc.equal(table["status"], "ok"))["path"]
    found: Collection[str] = os.listdir(paths.clips_dir) if paths.clips_dir.is_dir() else ()
    return pc.all(pc.is_in(names, pa.array(found, pa.string()))).as_py() is not False
