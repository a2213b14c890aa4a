"""``status``: print one line for the clips of each dataset, and one for each of its features."""

from typing import Any

import click
from rich import filesize

from pipeline.base.project import Project
from pipeline.commands.feature_selection import advise_repair
from pipeline.commands.options import (
    dataset_option,
    format_option,
    pass_project,
    quiet_option,
    selected_datasets,
)
from pipeline.commands.output import render
from pipeline.commands.sample_counts import FeatureCounts, count_features, find_lost_indexes
from pipeline.datasets.listing import describe_left_out, find_left_out
from pipeline.downloads.account.counts import ClipCounts, count_clips

_COLUMNS = ("dataset", "what", "requested", "ok", "missing", "pending", "cached", "failed", "bytes")
_MAX_REASONS = 5  # in a hint


@click.command()
@dataset_option
@format_option
@quiet_option(help="no hints, only the table")
@pass_project
def run(project: Project, datasets: tuple[str, ...], output_format: str, is_quiet: bool) -> int:
    """Print the table, then what to do about clips that are not there."""
    rows, hints = [], []
    for dataset in selected_datasets(project, datasets):
        clips = count_clips(project, dataset)
        rows.append(_make_clip_row(clips))
        rows += [_make_feature_row(dataset, counts) for counts in count_features(project, dataset)]
        hints += _make_hints(clips)
        hints += [
            f"{dataset}/{name}: its index is gone; {advise_repair(project, dataset, name)}"
            for name in find_lost_indexes(project, dataset)
        ]

        left_out = find_left_out(project, dataset)
        if left_out:
            hints.append(f"{dataset}: {describe_left_out(left_out)} (sources.{dataset})")

    # Hints and units are for people. csv and json keep plain numbers and nothing else.
    is_table = output_format == "table"
    if is_table:
        rows = [row | {"bytes": filesize.decimal(row["bytes"])} for row in rows]
    print(render(rows, _COLUMNS, output_format))
    if is_table and not is_quiet:
        for hint in hints:
            print(hint)
    return 0


def _make_clip_row(clips: ClipCounts) -> dict[str, Any]:
    return {
        "dataset": clips.dataset,
        "what": "clips",
        "requested": clips.num_requested,
        "ok": clips.num_ok,
        "missing": clips.num_missing,
        "pending": clips.num_pending,
        "bytes": clips.num_bytes,
    }


def _make_feature_row(dataset: str, counts: FeatureCounts) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "what": counts.feature,
        "requested": counts.num_requested,
        "ok": counts.num_ok,
        "missing": counts.num_missing,
        # Samples that the index does not list yet: the feature's next run computes them.
        "pending": counts.num_absent,
        "cached": counts.num_ok,
        "failed": counts.num_failed,
        "bytes": counts.num_bytes,
    }


def _make_hints(clips: ClipCounts) -> list[str]:
    """Return what to do next about a dataset's clips."""
    name, hints = clips.dataset, []
    # Without a list it is not known which clips are pending.
    if not clips.has_sources:
        hints.append(f"{name}: not listed yet; `dvc repro sources@{name}`")
    elif clips.num_pending:
        hints.append(
            f"{name}: {clips.num_pending} clips pending; `dvc repro download@{name}` goes on"
        )

    if clips.num_elsewhere:
        hints.append(
            f"{name}: {clips.num_elsewhere} of {clips.num_ok} ok clips are not on this machine; "
            "`earshot retry --absent` gets them, if a feature needs them"
        )

    if clips.num_missing:
        most_frequent = list(clips.reasons.items())[:_MAX_REASONS]
        reasons = ", ".join(f"{number} {reason}" for reason, number in most_frequent)
        num_more = len(clips.reasons) - len(most_frequent)
        reasons += (
            f", ... ({num_more} more reason{'s' if num_more > 1 else ''})" if num_more else ""
        )
        hints.append(f"{name}: missing: {reasons}; `earshot missing --dataset {name}` says more")
    return hints
