"""Count the clips of a dataset: requested, ok, missing and why, pending.

Totals add up: requested = ok + missing + pending. For the commands, for ``dvc metrics`` and plots,
and for reports. Only the columns that are needed are read.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.tables import CLIPS, DOWNLOADS, describe_missing, read_table
from pipeline.base.project import Project
from pipeline.base.table_filters import add_splits, count_rows, count_values, select_reasons
from pipeline.downloads.account.reasons import find_reason


@dataclass(frozen=True)
class ClipCounts:
    """Clips of one dataset."""

    dataset: str
    has_sources: bool  # False: the list was not made yet
    num_requested: int = 0
    num_ok: int = 0
    num_missing: int = 0
    num_pending: int = 0
    num_bytes: int = 0
    num_elsewhere: int = 0  # of the ok ones: whose file is not on this machine
    # Of the missing ones, most frequent first.
    reasons: dict[str, int] = field(default_factory=dict)


def count_clips(project: Project, dataset: str) -> ClipCounts:
    """Return the counts of a dataset's clips; clips that no run has seen yet are pending.

    Args:
        project: The checkout. Its tables of clips and of downloads are read, and the names of the
            files in the clips folder.
        dataset: Name of the dataset. Without a table of clips, all counts are 0.
    """
    clips_path = project.clips_table_path(dataset)
    if not clips_path.exists():
        return ClipCounts(dataset, has_sources=False)

    # Before the first download there is a list only: all its clips are pending.
    num_requested = count_rows(clips_path)
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    num_bytes = num_elsewhere = 0
    downloads_path = project.downloads_table_path(dataset)
    if downloads_path.exists():
        downloads = read_table(
            downloads_path, DOWNLOADS, columns=["clip_id", "status", "reason", "bytes", "path"]
        )
        # The table can be older than the list: clips that are no longer listed do not count.
        listed = read_table(clips_path, CLIPS, columns=["clip_id"])["clip_id"]
        if not downloads["clip_id"].equals(listed):
            downloads = downloads.filter(pc.is_in(downloads["clip_id"], listed.combine_chunks()))

        statuses = count_values(downloads["status"])
        reasons = count_values(downloads.filter(pc.equal(downloads["status"], "missing"))["reason"])
        num_bytes = pc.sum(downloads["bytes"]).as_py() or 0
        # A clip stays ok where its file is on another machine, or was not pulled.
        names = downloads.filter(pc.equal(downloads["status"], "ok"))["path"].to_pylist()
        num_elsewhere = len(set(names) - _list_files(project.clips_dir(dataset)))

    return ClipCounts(
        dataset=dataset,
        has_sources=True,
        num_requested=num_requested,
        num_ok=statuses["ok"],
        num_missing=statuses["missing"],
        num_pending=num_requested - statuses["ok"] - statuses["missing"],
        num_bytes=num_bytes,
        num_elsewhere=num_elsewhere,
        reasons=dict(reasons.most_common()),
    )


def _list_files(folder: Path) -> set[str]:
    """Return the names in a folder; none where there is no folder."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


def count_splits(clips: pa.Table, downloads: pa.Table) -> dict[str, dict[str, int]]:
    """Count the clips of each split, for ``dvc metrics`` (write it as JSON).

    Args:
        clips: table with the columns ``clip_id splits``; a clip can be in several splits.
        downloads: table with the columns ``clip_id status reason``.

    Returns:
        ``{split: {requested, ok, missing, pending, <reason>: ...}}``, splits by name.

    Raises:
        DataError: the splits of some clips are null.
    """
    splits = clips["splits"].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(splits), 0)

    # One row for each pair of clip and split, joined by the clip's row number.
    pairs = pa.table({"split": pc.list_flatten(splits), "row": pc.list_parent_indices(splits)})
    if len(pairs) != (pc.sum(lengths).as_py() or 0):
        raise DataError("clips: the splits of some rows are null, expected lists")
    # A join needs equal types, and the row numbers of lists need not have 64 bits.
    pairs = pairs.set_column(1, "row", pairs["row"].cast(pa.int64()))

    row_numbers = pa.array(range(clips.num_rows), pa.int64())
    joined = clips.select(["clip_id"]).append_column("row", row_numbers)
    joined = joined.join(downloads.select(["clip_id", "status", "reason"]), "clip_id")
    pairs = pairs.join(joined, "row")

    # Each group is one entry of the result; clips without a row in the table are pending.
    grouped = pairs.group_by(["split", "status", "reason"]).aggregate([([], "count_all")])
    # A join returns rows in any order, but equal tables must give equal bytes of JSON.
    rows = sorted(
        grouped.to_pylist(),
        key=lambda row: (row["split"], row["status"] or "", row["reason"] or ""),
    )

    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        split = counts.setdefault(
            row["split"], {"requested": 0, "ok": 0, "missing": 0, "pending": 0}
        )

        number = row["count_all"]
        split["requested"] += number
        split[row["status"] or "pending"] += number
        # Each reason is a key of its own beside the totals.
        if row["status"] == "missing":
            split[row["reason"]] = number
    return counts


def count_reasons(downloads: pa.Table) -> list[dict[str, Any]]:
    """Count the missing clips by reason, for a DVC plot (write it as csv).

    Args:
        downloads: table with the columns ``status reason is_confirmed``.

    Returns:
        Rows ``reason clips share outlook``, most frequent first. The outlook is permanent only if
        no clip with this reason is worth another attempt.
    """
    missing = downloads.filter(pc.equal(downloads["status"], "missing"))

    # A reason's outlook is that of its most hopeful clip.
    outlooks: dict[str, str] = {}
    each = find_outlooks(missing["reason"], missing["is_confirmed"]).to_pylist()
    for reason, outlook in zip(missing["reason"].to_pylist(), each, strict=True):
        if outlooks.get(reason, "permanent") == "permanent":
            outlooks[reason] = outlook

    return [
        {
            "reason": reason,
            "clips": number,
            # Of all clips, not of the missing ones.
            "share": round(number / downloads.num_rows, 6),
            "outlook": outlooks[reason],
        }
        for reason, number in count_values(missing["reason"]).most_common()
    ]


def find_outlooks(reasons: pa.ChunkedArray, are_confirmed: pa.ChunkedArray) -> pa.Array:
    """Return ``Reason.outlook`` for each row of two columns; without a reason: ``retry``.

    Args:
        reasons: (n,) names of reasons, or null.
        are_confirmed: (n,) as ``is_confirmed`` in the table ``DOWNLOADS``; null counts as False.

    Returns:
        (n,) ``permanent``, ``confirm`` or ``retry``.
    """
    # There are few reasons and up to hundreds of thousands of rows: decide once a reason.
    by_reason = {
        (name, is_confirmed): find_reason(name).outlook(is_confirmed=is_confirmed)
        for name in pc.unique(reasons).to_pylist()
        if name is not None
        for is_confirmed in (False, True)
    }

    pairs = zip(reasons.to_pylist(), are_confirmed.to_pylist(), strict=True)
    return pa.array(
        [by_reason.get((name, bool(is_confirmed)), "retry") for name, is_confirmed in pairs],
        pa.string(),
    )


def list_missing_clips(
    project: Project,
    dataset: str,
    *,
    reasons: Sequence[str] = (),
    splits: Sequence[str] = (),
    has_pending: bool = False,
) -> pa.Table:
    """List the clips that have no file.

    Args:
        project: the checkout.
        dataset: name of a dataset whose download stage has run.
        reasons: only these reasons; none given: all.
        splits: only clips in one of these splits; none given: all.
        has_pending: also clips without a result.

    Returns:
        A table ``dataset clip_id status reason outlook attempts last_attempt splits detail``.

    Raises:
        DataError: the download stage has not run.
    """
    rows = read_downloads(
        project,
        dataset,
        ["clip_id", "status", "reason", "detail", "is_confirmed", "attempts", "last_attempt"],
    )
    if has_pending:
        rows = rows.filter(pc.not_equal(rows["status"], "ok"))
    else:
        rows = rows.filter(pc.equal(rows["status"], "missing"))
    rows = select_reasons(rows, reasons)

    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id", "splits"])
    rows = add_splits(rows, "clip_id", clips, selected=splits)

    # As text: for people, csv and json alike.
    moments = pc.strftime(
        rows["last_attempt"].cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ"
    )
    # Reasons that are confirmed carry a mark, so that the lists for people show them.
    details = [
        describe_missing(detail, is_confirmed=bool(is_confirmed))
        for detail, is_confirmed in zip(
            rows["detail"].to_pylist(), rows["is_confirmed"].to_pylist(), strict=True
        )
    ]
    return pa.table(
        {
            "dataset": pa.repeat(dataset, rows.num_rows),
            "clip_id": rows["clip_id"],
            "status": rows["status"],
            "reason": rows["reason"],
            "outlook": find_outlooks(rows["reason"], rows["is_confirmed"]),
            "attempts": rows["attempts"],
            "last_attempt": moments,
            "splits": rows["splits"],
            "detail": pa.array(details, pa.string()),
        }
    )


def read_downloads(project: Project, dataset: str, columns: list[str]) -> pa.Table:
    """Read columns of a dataset's ``downloads.parquet``.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        columns: Names of the columns of ``DOWNLOADS`` to read.

    Returns:
        A table with these columns, one row for each clip.

    Raises:
        DataError: the download stage has not run, or wrote a table of another version.
    """
    path = project.downloads_table_path(dataset)
    if not path.exists():
        raise DataError(f"{path}: not found; run `dvc repro download@{dataset}` first")
    return read_table(path, DOWNLOADS, columns=columns)
