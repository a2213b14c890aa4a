"""``missing``: which clips or samples are missing, why, and whether another attempt is worth it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.commands.feature_selection import list_features
from pipeline.commands.options import (
    FILE,
    dataset_option,
    format_option,
    pass_project,
    reason_option,
    require_known_splits,
    selected_datasets,
    split_option,
)
from pipeline.commands.origins import add_origins
from pipeline.commands.output import render, render_lines, write_output
from pipeline.commands.sample_counts import list_missing_samples
from pipeline.downloads.account.counts import find_outlooks, list_missing_clips, read_downloads
from pipeline.downloads.account.reasons import REASONS, find_reason

_DETAIL_CHARACTERS = 80
_MARK = " [settled]"  # of `describe_missing`
_MARK_NOTE = (
    "[settled]: seen twice, on different days, or in a file of this machine; another attempt would "
    "not help"
)


@click.command()
@dataset_option
@reason_option(help="only this reason (can be repeated)")
@split_option(help="only this split (can be repeated)")
@click.option(
    "--by",
    type=click.Choice(("reason", "split", "dataset")),
    help="counts instead of a list",
)
@click.option(
    "--samples",
    "is_of_samples",
    is_flag=True,
    help="samples that a feature lacks, instead of clips",
)
@click.option(
    "--pending",
    "has_pending",
    is_flag=True,
    help="also clips that were not attempted, or samples that were not computed yet",
)
@format_option
@click.option(
    "--output",
    type=FILE,
    metavar="FILE",
    help="write a .csv or .json file instead of printing",
)
@pass_project
def run(
    project: Project,
    datasets: tuple[str, ...],
    reasons: tuple[str, ...],
    splits: tuple[str, ...],
    by: str | None,
    is_of_samples: bool,
    has_pending: bool,
    output_format: str,
    output: Path | None,
) -> int:
    """Print a list, or counts, or write them."""
    if output is not None:
        output_format = _choose_format(output)
    names = selected_datasets(project, datasets)
    require_known_splits(splits, project, names, option="--split")

    # A dataset that was asked for by name must have a table; the others may not have begun.
    table_path = project.samples_table_path if is_of_samples else project.downloads_table_path
    begun = [name for name in names if datasets or table_path(name).exists()]
    if not begun:
        raise ParameterError("no dataset has an account yet; run `dvc repro` first")
    if is_of_samples:
        tables = [
            _list_samples(project, name, reasons, splits, has_pending=has_pending) for name in begun
        ]
    else:
        tables = [
            list_missing_clips(
                project, name, reasons=reasons, splits=splits, has_pending=has_pending
            )
            for name in begun
        ]

    # Where a clip comes from does not fit a terminal.
    if output_format != "table" and not by:
        tables = [add_origins(project, *pair) for pair in zip(begun, tables, strict=True)]
    table = pa.concat_tables(tables)

    # A reason of an older version may still be in the table: only an empty result is suspicious.
    for reason in reasons:
        if reason not in REASONS and not table.num_rows:
            known = ", ".join(sorted(REASONS))
            raise ParameterError(f"--reason is {reason!r}, expected one of {known}")

    text = _render(table, by, output_format, is_filtered=bool(reasons or splits))
    if output is None:
        print(text)
    else:
        write_output(output, f"{text}\n".encode())
        print(f"{output}: {table.num_rows} {'samples' if is_of_samples else 'clips'}")
    return 0


def _choose_format(path: Path) -> str:
    """Return the format that the name of a file asks for."""
    if path.suffix not in (".csv", ".json"):
        raise ParameterError(f"--output {path}: ends in {path.suffix!r}, expected .csv or .json")
    return path.suffix[1:]


def _render(table: pa.Table, by: str | None, output_format: str, *, is_filtered: bool) -> str:
    """Return the rows, or counts of them, as text."""
    if by:
        return render(*_count(table.to_pylist(), by), output_format)

    # csv and json are printed even if they are empty, because programs read them.
    if output_format != "table":
        return render_lines(_list_rows(table), table.column_names, output_format)
    if not table.num_rows:
        return "nothing is missing" + (" with these reasons and splits" if is_filtered else "")

    # The detail, in the last column, can be a long text of a site.
    lines = [(*line[:-1], _shorten(line[-1])) for line in _list_rows(table)]
    text = render_lines(lines, table.column_names, "table")
    has_marks = any((line[-1] or "").endswith(_MARK) for line in lines)
    return f"{text}\n{_MARK_NOTE}" if has_marks else text


def _list_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _list_samples(
    project: Project,
    dataset: str,
    reasons: Sequence[str],
    splits: Sequence[str],
    *,
    has_pending: bool,
) -> pa.Table:
    # An index knows no outlook: that follows from the reason and from the clip's own account.
    rows = list_missing_samples(
        project,
        dataset,
        reasons=reasons,
        splits=splits,
        pending_features=_find_wanted_features(project, dataset) if has_pending else (),
    )
    return _add_outlooks(rows, _find_confirmed(project, dataset))


def _find_wanted_features(project: Project, dataset: str) -> set[str]:
    """Return the features that each sample of a dataset should have."""
    cached = {path.parent.name for path in project.find_indexes(dataset)}
    # Of a dataset that params.yaml does not choose, nobody wants more than what is there.
    return cached | set(list_features(project, dataset) if dataset in project.datasets else ())


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
            "what to do": _advise(reason, outlook),
        }
        for (dataset, reason, outlook), number in keys.most_common()
    ]
    return counts, ("dataset", "reason", "outlook", "count", "what to do")


def _advise(reason: str, outlook: str) -> str:
    """Return what a user can do about clips of a reason."""
    if reason == "pending":
        return "dvc repro"
    # What may need one more attempt is permanent once it is confirmed.
    return find_reason(reason).advise(is_confirmed=outlook == "permanent")


def _shorten(text: str | None) -> str | None:
    if text is None:
        return None
    text = " ".join(text.split())
    if len(text) <= _DETAIL_CHARACTERS:
        return text
    mark = _MARK if text.endswith(_MARK) else ""
    return f"{text[: _DETAIL_CHARACTERS - 3 - len(mark)]}...{mark}"
