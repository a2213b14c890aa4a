"""``status``: print one line for the clips of each dataset, and one for each of its features."""

import argparse
from typing import Any

from pipeline.base.project import Project
from pipeline.commands.arguments import (
    add_dataset_argument,
    add_format_argument,
    format_bytes,
    render,
    selected_datasets,
)
from pipeline.commands.sample_counts import FeatureCounts, count_features
from pipeline.datasets.listing import describe_left_out, find_left_out
from pipeline.downloads.account.counts import ClipCounts, count_clips

HELP = "a line a dataset and feature: requested, ok, missing, pending, cached, failed, bytes"
_COLUMNS = ("dataset", "what", "requested", "ok", "missing", "pending", "cached", "failed", "bytes")
_MAX_REASONS = 5  # in a hint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    add_dataset_argument(parser)
    add_format_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no hints, only the table")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Print the table, then what to do about clips that are not there."""
    rows, hints = [], []
    for dataset in selected_datasets(arguments, project):
        clips = count_clips(project, dataset)
        rows.append(_make_clip_row(clips))
        rows += [_make_feature_row(dataset, counts) for counts in count_features(project, dataset)]
        hints += _make_hints(clips)
        left_out = find_left_out(project, dataset)
        if left_out:
            hints.append(f"{dataset}: {describe_left_out(left_out)} (sources.{dataset})")

    # Hints and units are for people. csv and json keep plain numbers and nothing else.
    is_table = arguments.format == "table"
    if is_table:
        rows = [row | {"bytes": format_bytes(row["bytes"])} for row in rows]
    print(render(rows, _COLUMNS, arguments.format))
    if is_table and not arguments.quiet:
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
            "`python -m pipeline retry --absent` gets them, if a feature needs them"
        )

    if clips.num_missing:
        most_frequent = list(clips.reasons.items())[:_MAX_REASONS]
        reasons = ", ".join(f"{number} {reason}" for reason, number in most_frequent)
        hints.append(
            f"{name}: missing: {reasons}; `python -m pipeline missing --dataset {name}` says more"
        )
    return hints
