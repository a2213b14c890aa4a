"""Turn histories into the rows of ``downloads.parquet``.

The table follows from the list of clips, the ledger and the files alone. A killed and resumed run
gives the same rows as an undisturbed one, and a table of an older schema can be written again
without fetching anything.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.errors import DataError
from earshot.tables import DOWNLOADS, read_table
from pipeline.downloads.history import History, read_histories, reason_of
from pipeline.downloads.reasons import find_reason

_DETAIL_CHARACTERS = 500
_NETWORK_IS_OFF = "network is off"

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


def derive_downloads(
    histories: Mapping[str, History],
    *,
    clips_dir: Path,
    allow_duplicates: bool = False,
    has_network: bool = True,
) -> pa.Table:
    """Return DOWNLOADS rows, one a clip.

    Args:
        histories: by clip id, in the order of the rows.
        clips_dir: where the files are.
        allow_duplicates: whether clips with the same bytes are all ok. Otherwise the first of the
            list is ok, and the others are missing with the reason ``duplicate``.
        has_network: whether sites are asked; else their clips that are pending say so.

    Returns:
        A table in which each clip is ``ok``, ``missing`` with a reason, or ``pending`` (no result
        yet).
    """
    rows = []
    first_by_sha256: dict[str, str] = {}
    for history in histories.values():
        # Neither clip nor ledger came with a pulled table. What it says stays.
        if history.is_pulled:
            assert history.pulled is not None
            rows.append(history.pulled)
            if history.pulled["status"] == "ok":
                first_by_sha256.setdefault(history.pulled["sha256"], history.clip_id)
            continue

        # All columns are there in every row; those of an absent file stay null.
        row: dict[str, Any] = dict.fromkeys(DOWNLOADS.columns.names)
        row |= {
            "clip_id": history.clip_id,
            "status": "pending",
            "is_confirmed": False,
            "attempts": len(history.attempts),
            "flags": [],
        }

        if history.last is not None:
            row["last_attempt"] = int(history.last["time"])
            row["tool_versions"] = history.last["versions"]

        is_kept = history.is_settled and history.kept_status == "ok"
        if history.ok is not None and (is_kept or history.has_file(clips_dir)):
            # The first clip of the list keeps bytes that several clips have.
            sha256 = history.ok["file"]["sha256"]
            original = first_by_sha256.setdefault(sha256, history.clip_id)
            if original == history.clip_id or allow_duplicates:
                row |= _describe_file(history)
            else:
                row |= _describe_duplicate(original, sha256)
        else:
            row |= _describe_absence(history)

        if row["status"] == "pending" and not has_network and not history.is_file:
            row["detail"] = _NETWORK_IS_OFF
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=DOWNLOADS.columns)


def read_downloads_if_there(path: Path) -> pa.Table | None:
    """Return the rows of a table; None if there is none, or only one of another version."""
    try:
        return read_table(path, DOWNLOADS)
    except (DataError, FileNotFoundError):
        return None


def derive_from_ledger(
    clips: pa.Table,
    entries: Iterable[dict[str, Any]],
    *,
    clips_dir: Path,
    allow_duplicates: bool = False,
    has_network: bool = True,
    before: pa.Table | None = None,
) -> pa.Table:
    """Return DOWNLOADS rows of a list of clips and the entries of its ledger.

    Args:
        clips: CLIPS rows, the list.
        entries: of the ledger, oldest first.
        clips_dir: where the files are.
        allow_duplicates, has_network: as for ``derive_downloads``.
        before: the rows of now; those of clips that the ledger does not know stay.
    """
    histories = read_histories(clips, entries, before=before)
    return derive_downloads(
        histories,
        clips_dir=clips_dir,
        allow_duplicates=allow_duplicates,
        has_network=has_network,
    )


def _describe_file(history: History) -> dict[str, Any]:
    assert history.ok is not None
    facts = history.ok["file"]
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

    # Pending: not attempted, marked by `retry`, or whole once and lost since.
    if history.is_retry_wanted:
        return {"detail": "to be attempted again"}
    if last is None:
        return {}
    if last["outcome"] == "ok":
        return {"detail": "its file is gone from the cache; to be fetched again"}

    # The site refused this machine, not the clip.
    if not history.trailing_failures():
        words = " ".join(last["text"].split())
        return {"detail": f"the site refused most videos: {words}"[:_DETAIL_CHARACTERS]}

    # A problem of this machine says nothing about the clip: no result yet.
    reason = reason_of(last)
    is_pending = find_reason(reason).permanence == "stop"
    return {
        "status": "pending" if is_pending else "missing",
        "reason": reason,
        "detail": " ".join(last["text"].split())[:_DETAIL_CHARACTERS],
        "is_confirmed": history.is_confirmed(),
    }
