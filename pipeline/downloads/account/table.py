"""Turn histories into the rows of ``downloads.parquet``.

Only the list of clips, the ledger and the files decide the rows. A run that was killed and resumed
gives the same rows as one that was not. A table of an older schema can be written again without
fetching anything.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.tables import DOWNLOADS, read_table
from pipeline.downloads.account.histories import read_histories
from pipeline.downloads.account.history import History, reason_of
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.reasons import find_reason

_DETAIL_CHARACTERS = 500
_NETWORK_IS_OFF = "network is off"
_ROWS_PER_BATCH = 2_000
_EXCLUDED = "excluded"  # the reason of clips that are here and not wanted
_HASH_DIGITS = 32  # of SHA-256, 128 bits: enough to tell a million files apart

# Columns that describe a clip's file; null where there is none.
FILE_COLUMNS = (
    "path",
    "bytes",
    "sha256",
    "duration_seconds",
    "width",
    "height",
    "fps",
    "video_codec",
    "audio_codec",
    "sample_rate",
    "flags",
)


@dataclass(frozen=True)
class TableRules:
    """What a table says of clips that are there twice, pending, or not wanted."""

    # Whether clips with the same bytes are all ok. Otherwise the first of the list is ok, and the
    # others are missing with the reason ``duplicate``.
    allow_duplicates: bool = False
    has_network: bool = True  # whether sites may be asked; if not, pending clips say so
    # Clips with one of these flags are missing with the reason ``excluded``. Their files stay, and
    # so do the columns that describe them.
    excluded_flags: frozenset[str] = frozenset()


def derive_downloads(
    histories: Mapping[str, History], *, clips_dir: Path, rules: TableRules | None = None
) -> pa.Table:
    """Return DOWNLOADS rows, one a clip.

    Args:
        histories: by clip id, in the order of the rows.
        clips_dir: where the files are.
        rules: of clips that are there twice, pending, or not wanted (None: the defaults).

    Returns:
        A table in which each clip is ``ok``, ``missing`` with a reason, or ``pending`` (no result
        yet).
    """
    rules = rules or TableRules()
    first_by_sha256: dict[bytes, str] = {}

    # In batches, because rows as Python values take ten times the memory of a table.
    batches = []
    rest = iter(histories.values())
    while batch := list(itertools.islice(rest, _ROWS_PER_BATCH)):
        rows = [
            _make_row(history, clips_dir, None if rules.allow_duplicates else first_by_sha256)
            for history in batch
        ]
        if not rules.has_network:
            for row, history in zip(rows, batch, strict=True):
                if row["status"] == "pending" and not history.is_file:
                    row["detail"] = _NETWORK_IS_OFF
        table = pa.Table.from_pylist(rows, schema=DOWNLOADS.columns)
        batches += exclude_flags(table, rules.excluded_flags).to_batches()
    return pa.Table.from_batches(batches, schema=DOWNLOADS.columns)


def _make_row(
    history: History, clips_dir: Path, first_by_sha256: dict[bytes, str] | None
) -> dict[str, Any]:
    """Return a row; ``first_by_sha256`` holds the earlier clips (None: allow duplicates)."""
    # A pulled table came without clip and ledger: keep its row.
    if history.is_pulled:
        assert history.pulled is not None
        # A later clip of this list can have the same bytes.
        if history.pulled["status"] == "ok" and first_by_sha256 is not None:
            first_by_sha256.setdefault(_shorten(history.pulled["sha256"]), history.clip_id)
        return history.pulled

    # All columns are there in every row; those of an absent file stay null.
    row: dict[str, Any] = dict.fromkeys(DOWNLOADS.columns.names)
    row |= {
        "clip_id": history.clip_id,
        "status": "pending",
        "is_confirmed": False,
        "attempts": history.num_attempts,
        "flags": [],
    }

    last = history.last
    if last is not None:
        row["last_attempt"] = int(last["time"])
        row["tool_versions"] = last["versions"]

    # A clip whose file is on another machine keeps the status of the table that was pulled.
    is_kept = history.has_arrived and history.is_settled and history.kept_status == "ok"
    if not (is_kept or history.has_file(clips_dir)):
        return row | _describe_absence(history)

    # If several clips have the same bytes, the first clip of the list is the original.
    file = _describe_file(history)
    if first_by_sha256 is not None:
        original = first_by_sha256.setdefault(_shorten(file["sha256"]), history.clip_id)
        if original != history.clip_id:
            return row | _describe_duplicate(original, file["sha256"])
    return row | file


def exclude_flags(table: pa.Table, excluded_flags: Collection[str]) -> pa.Table:
    """Return DOWNLOADS rows in which clips with one of the flags are missing (``excluded``).

    Args:
        table: rows in which they are ok (``read_downloads_if_there``).
        excluded_flags: names of flags.
    """
    if not excluded_flags:
        return table

    flags = table["flags"].combine_chunks()
    is_wanted = pc.is_in(pc.list_flatten(flags), pa.array(sorted(excluded_flags), pa.string()))
    rows = pc.list_parent_indices(flags).filter(is_wanted)
    numbers = pa.array(range(table.num_rows), rows.type)
    is_excluded = pc.and_(pc.is_in(numbers, rows), pc.equal(table["status"], "ok").combine_chunks())

    # The detail says which of a clip's flags it was.
    details = [
        f"{' and '.join(flag for flag in found if flag in excluded_flags)} (exclude_flags)"
        for found in flags.filter(is_excluded).to_pylist()
    ]
    for name, values in (
        ("status", pa.scalar("missing")),
        ("reason", pa.scalar(_EXCLUDED)),
        ("detail", pa.array(details, pa.string())),
    ):
        column = pc.replace_with_mask(table[name].combine_chunks(), is_excluded, values)
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), column)
    return table


def _shorten(sha256: str) -> bytes:
    return bytes.fromhex(sha256[:_HASH_DIGITS])


def _shorten_text(text: str) -> str:
    """Return a raw text of a site as a table can hold it: short, on one line, UTF-8."""
    words = " ".join(text.split())[:_DETAIL_CHARACTERS]
    # The JSON of a site can name half of a surrogate pair, for example of an emoji.
    return words.encode("utf-8", "replace").decode()


def read_downloads_if_there(path: Path) -> pa.Table | None:
    """Return the rows of a table; None if there is none, or only one of another version.

    Clips that were excluded are ok here, because the parameter may have changed since.
    """
    try:
        table = read_table(path, DOWNLOADS)
    except (DataError, FileNotFoundError):
        return None

    # A reason that is null compares as null, not as False.
    is_excluded = pc.fill_null(pc.equal(table["reason"], _EXCLUDED), False)
    for name, value in (("status", "ok"), ("reason", None), ("detail", None)):
        column = pc.if_else(is_excluded, pa.scalar(value, pa.string()), table[name])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def derive_from_ledger(
    clips: pa.Table,
    entries: Ledger | Sequence[dict[str, Any]],
    *,
    clips_dir: Path,
    rules: TableRules | None = None,
    before: pa.Table | None = None,
) -> pa.Table:
    """Return DOWNLOADS rows of a list of clips and the entries of its ledger.

    Args:
        clips: CLIPS rows, the list.
        entries: an open ledger, or its entries, oldest first.
        clips_dir: where the files are.
        rules: as for ``derive_downloads``.
        before: the rows of now; those of clips that the ledger does not know stay.
    """
    histories = read_histories(clips, entries, before=before)
    return derive_downloads(histories, clips_dir=clips_dir, rules=rules)


def _describe_file(history: History) -> dict[str, Any]:
    ok = history.ok
    assert ok is not None
    facts = ok["file"]
    detail = "to be fetched again" if history.is_retry_wanted else None
    return {name: facts[name] for name in FILE_COLUMNS} | {"status": "ok", "detail": detail}


def _describe_duplicate(original: str, sha256: str) -> dict[str, Any]:
    return {
        "status": "missing",
        "reason": "duplicate",
        "detail": f"has the same bytes as {original}",
        "sha256": sha256,
    }


def _describe_absence(history: History) -> dict[str, Any]:
    last = history.last

    # Pending: not attempted, marked by `retry`, or whole before and lost since.
    if history.is_retry_wanted:
        return {"detail": "to be attempted again"}
    if last is None:
        return {}
    if last["outcome"] == "ok":
        return {"detail": "its file is gone from the cache; to be fetched again"}

    # The site refused this machine, not the clip.
    if not history.trailing_failures():
        return {"detail": _shorten_text(f"the site refused most videos: {last['text']}")}

    # A problem of this machine says nothing about the clip: no result yet.
    reason = reason_of(last)
    is_pending = find_reason(reason).permanence == "stop"
    return {
        "status": "pending" if is_pending else "missing",
        "reason": reason,
        "detail": _shorten_text(last["text"]),
        "is_confirmed": history.is_confirmed(),
    }
