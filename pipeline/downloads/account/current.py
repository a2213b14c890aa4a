"""Take the account of downloads from its table; derive only the rows that it does not have yet.

Deriving the rows of 200,000 clips from the ledger takes ten seconds and a gigabyte. A download that
runs for days writes its table every few minutes, so few clips have newer entries.
"""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from pipeline.downloads.account.ledger import find_fault, iter_lines
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import (
    TableRules,
    derive_from_ledger,
    exclude_flags,
    read_downloads_if_there,
)

_TAIL_BYTES = 1 << 16  # longer than any entry
_TAIL_GROWTH = 4  # if the table knows no entry of the end


def find_current_downloads(
    clips: pa.Table, paths: AccountPaths, *, listed_at: float, rules: TableRules
) -> pa.Table | None:
    """Return what ``derive_from_ledger`` would, from the table and the end of the ledger.

    Args:
        clips: CLIPS rows, the list.
        paths: the files of the account.
        listed_at: when the list was written, in seconds since 1970 UTC.
        rules: of clips that are there twice, or not wanted. Details of pending clips are not
            written anew.

    Returns:
        DOWNLOADS rows; None if the list, the files or the rules may have changed since the table
        was written, or if nothing of the ledger is in it.
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
        if paths.table_path.stat().st_mtime < listed_at:
            return None
        renewed = _renew_rows(table, clips, paths, rules)
        if renewed is None or not _has_files(renewed, paths):
            return None
        table = renewed
    return exclude_flags(table, rules.excluded_flags)


def _follows_duplicates(table: pa.Table, rules: TableRules) -> bool:
    """Return whether clips with the same bytes are in the table as the rules say."""
    if rules.allow_duplicates:
        return not pc.any(pc.equal(table["reason"], "duplicate")).as_py()
    hashes = table.filter(pc.equal(table["status"], "ok"))["sha256"]
    return pc.count_distinct(hashes).as_py() == len(hashes)


def _renew_rows(
    table: pa.Table, clips: pa.Table, paths: AccountPaths, rules: TableRules
) -> pa.Table | None:
    """Return the table with new rows of the clips that the ledger knows more about, or None."""
    try:
        changed = _find_changed_clips(table, paths)
        if changed is None:
            return None
        if not changed:
            return table

        with open(paths.ledger_path, "rb") as file:
            lines = iter_lines(file, paths.ledger_path)
            entries = [entry for _, _, entry in lines if entry["clip_id"] in changed]

        # Derive the rows of these clips alone.
        is_changed = pa.array([name in changed for name in clips["clip_id"].to_pylist()])
        old, kept = table.filter(is_changed), table.filter(pc.invert(is_changed))
        new = derive_from_ledger(
            clips.filter(is_changed),
            entries,
            clips_dir=paths.clips_dir,
            # Flags are looked at in all rows together.
            rules=replace(rules, excluded_flags=frozenset()),
        ).cast(table.schema)
    except DataError:  # who reads all of the ledger names its line
        return None

    # Which of several clips with the same bytes is ok is a matter of all rows.
    hashes = pa.concat_arrays([one["sha256"].combine_chunks() for one in (old, new)])
    is_copied = pc.is_in(kept["sha256"], hashes.drop_null())
    if not rules.allow_duplicates and pc.any(is_copied).as_py():
        return None

    # Put the rows back into the order of the list.
    numbers = pa.array(range(len(table)))
    places = pa.concat_arrays([numbers.filter(pc.invert(is_changed)), numbers.filter(is_changed)])
    return pa.concat_tables([kept, new]).take(pc.sort_indices(places))


def _find_changed_clips(table: pa.Table, paths: AccountPaths) -> set[str] | None:
    """Return the clips of entries that came after the table; None if it knows no entry at all."""
    assert paths.table_path is not None
    ledger = paths.ledger_path.stat()
    is_table_newer = paths.table_path.stat().st_mtime >= ledger.st_mtime
    row_of = {name: row for row, name in enumerate(table["clip_id"].to_pylist())}

    # A table is made from a whole ledger: if it knows an attempt, it knows all that came before.
    num_bytes = _TAIL_BYTES
    while True:
        attempted: set[str] = set()
        marked: set[str] = set()
        entries = _read_last_entries(paths.ledger_path, num_bytes)
        for entry in reversed(entries):
            if find_fault(entry) is not None:
                return None
            if entry["type"] not in ("attempt", "found"):
                marked.add(entry["clip_id"])
            elif _is_last_attempt(entry, table, row_of.get(entry["clip_id"])):
                # A mark such as `retry` is in no column, so the times of the files decide.
                return attempted | marked if attempted or not is_table_newer else set()
            else:
                attempted.add(entry["clip_id"])

        # Not in these entries: look at more of them.
        if num_bytes >= ledger.st_size:
            return None
        num_bytes *= _TAIL_GROWTH


def _is_last_attempt(entry: dict[str, Any], table: pa.Table, row: int | None) -> bool:
    """Return whether an entry is the last attempt that a row (None: there is none) tells of."""
    attempted_at = None if row is None else table["last_attempt"][row].as_py()
    return attempted_at is not None and attempted_at.timestamp() == int(entry["time"])


def _read_last_entries(ledger_path: Path, num_bytes: int) -> list[dict[str, Any]]:
    """Return the entries whose lines begin in the last bytes of a ledger, oldest first."""
    with open(ledger_path, "rb") as file:
        start = max(os.fstat(file.fileno()).st_size - num_bytes, 0)
        file.seek(start)
        if start:
            file.readline()  # the rest of a line
        return [entry for _, _, entry in iter_lines(file, ledger_path)]


def _has_files(table: pa.Table, paths: AccountPaths) -> bool:
    """Return whether the files of all clips that are ok are here."""
    names = table.filter(pc.equal(table["status"], "ok"))["path"]
    found: Collection[str] = os.listdir(paths.clips_dir) if paths.clips_dir.is_dir() else ()
    return pc.all(pc.is_in(names, pa.array(found, pa.string()))).as_py() is not False
