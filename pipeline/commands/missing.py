"""``missing``: which clips or samples are missing, why, and whether another attempt is worth it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.commands.arguments import (
    add_dataset_argument,
    add_format_argument,
    render,
    render_lines,
    require_known_splits,
    selected_datasets,
)
from pipeline.commands.sample_counts import list_missing_samples
from pipeline.downloads.account.counts import find_outlooks, list_missing_clips, read_downloads
from pipeline.downloads.account.reasons import REASONS, find_reason

HELP = "which clips or samples are missing, why, permanent or worth a retry"
_DETAIL_CHARACTERS = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `missing`."""
    # Which clips.
    add_dataset_argument(parser)
    parser.add_argument(
        "--reason", action="append", default=[], help="only this reason (can be repeated)"
    )
    parser.add_argument(
        "--split", action="append", default=[], help="only this split (can be repeated)"
    )

    # What to print of them.
    parser.add_argument(
        "--by", choices=("reason", "split", "dataset"), help="counts instead of a list"
    )
    parser.add_argument(
        "--samples", action="store_true", help="samples that a feature lacks, instead of clips"
    )
    parser.add_argument(
        "--pending", action="store_true", help="also clips that were not attempted yet"
    )
    add_format_argument(parser)


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Print a list, or counts."""
    datasets = selected_datasets(arguments, project)
    require_known_splits(arguments.split, project, datasets, option="--split")

    # A dataset that was asked for by name must have a table; the others may not have begun.
    tables = [
        _list_missing(arguments, project, dataset)
        for dataset in datasets
        if arguments.dataset or _has_begun(arguments, project, dataset)
    ]
    if not tables:
        raise ParameterError("no dataset has an account yet; run `dvc repro` first")

    # The tables of all datasets have the same columns.
    columns = tables[0].column_names
    lines = [
        line
        for table in tables
        for line in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]

    # A reason of an older version may still be in the table: only an empty result is suspicious.
    for reason in arguments.reason:
        if reason not in REASONS and not lines:
            known = ", ".join(sorted(REASONS))
            raise ParameterError(f"--reason is {reason!r}, expected one of {known}")

    # csv and json are printed even if they are empty, because programs read them.
    if arguments.by:
        rows = [dict(zip(columns, line, strict=True)) for line in lines]
        print(render(*_count(rows, arguments.by), arguments.format))
    elif arguments.format != "table":
        print(render_lines(lines, columns, arguments.format))
    elif not lines:
        print("nothing is missing")
    else:
        # The detail, in the last column, can be a long text of a site.
        print(render_lines([(*line[:-1], _shorten(line[-1])) for line in lines], columns, "table"))
    return 0


def _has_begun(arguments: argparse.Namespace, project: Project, dataset: str) -> bool:
    """Return whether a dataset that was not asked for by name has a table to look at."""
    if arguments.samples:
        return project.samples_table_path(dataset).exists()
    return project.downloads_table_path(dataset).exists()


def _list_missing(arguments: argparse.Namespace, project: Project, dataset: str) -> pa.Table:
    reasons, splits = arguments.reason, arguments.split
    if not arguments.samples:
        return list_missing_clips(
            project, dataset, reasons=reasons, splits=splits, has_pending=arguments.pending
        )

    # An index knows no outlook: that follows from the reason and from the clip's own account.
    rows = list_missing_samples(project, dataset, reasons=reasons, splits=splits)
    return _add_outlooks(rows, _find_confirmed(project, dataset))


def _find_confirmed(project: Project, dataset: str) -> set[tuple[str, str]]:
    """Return clip id and reason of the clips that are missing for a confirmed reason."""
    if not project.downloads_table_path(dataset).exists():
        return set()
    rows = read_downloads(project, dataset, ["clip_id", "reason", "is_confirmed"])
    rows = rows.filter(pc.fill_null(rows["is_confirmed"], False))
    return set(zip(rows["clip_id"].to_pylist(), rows["reason"].to_pylist(), strict=True))


def _add_outlooks(rows: pa.Table, confirmed: set[tuple[str, str]]) -> pa.Table:
    """Add the column ``outlook``; drop the columns of clip ids."""
    # A sample has two clips if its sound comes from another one. Either can be the missing one.
    are_confirmed = [
        (row["clip_id"], row["reason"]) in confirmed
        or (row["audio_clip_id"], row["reason"]) in confirmed
        for row in rows.select(["clip_id", "audio_clip_id", "reason"]).to_pylist()
    ]
    outlooks = find_outlooks(
        rows["reason"], pa.chunked_array([pa.array(are_confirmed, pa.bool_())])
    )
    # A feature that could not be computed from a whole clip will fail again.
    outlooks = pc.if_else(pc.equal(rows["status"], "failed"), "permanent", outlooks)

    rows = rows.drop_columns(["clip_id", "audio_clip_id"])
    place = rows.schema.get_field_index("splits")
    return rows.add_column(place, "outlook", outlooks)


def _count(rows: Sequence[dict[str, Any]], by: str) -> tuple[list[dict], tuple[str, ...]]:
    """Return counts and their columns."""
    # Reasons are sorted by frequency and come with advice; splits and datasets are sorted by name.
    if by == "reason":
        return _count_by_reason(rows)

    # A clip of several splits counts in each of them; one without a split counts under a dash.
    keys: list[tuple[str, ...]]
    if by == "split":
        keys = [
            (row["dataset"], split, row["outlook"])
            for row in rows
            for split in row["splits"] or ["-"]
        ]
        names: tuple[str, ...] = ("dataset", "split", "outlook")
    else:
        keys = [(row["dataset"], row["outlook"]) for row in rows]
        names = ("dataset", "outlook")

    counts = [
        dict(zip(names, key, strict=True)) | {"count": number}
        for key, number in sorted(Counter(keys).items())
    ]
    return counts, (*names, "count")


def _count_by_reason(rows: Sequence[dict[str, Any]]) -> tuple[list[dict], tuple[str, ...]]:
    # A clip that was not attempted yet has no reason. Only a run of the stage helps.
    keys = Counter((row["dataset"], row["reason"] or "pending", row["outlook"]) for row in rows)
    counts = [
        {
            "dataset": dataset,
            "reason": reason,
            "outlook": outlook,
            "count": number,
            "what to do": "dvc repro" if reason == "pending" else find_reason(reason).advice,
        }
        for (dataset, reason, outlook), number in keys.most_common()
    ]
    return counts, ("dataset", "reason", "outlook", "count", "what to do")


def _shorten(text: str | None) -> str | None:
    if text is None:
        return None
    text = " ".join(text.split())
    return text if len(text) <= _DETAIL_CHARACTERS else text[: _DETAIL_CHARACTERS - 3] + "..."
