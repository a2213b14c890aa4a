"""``status``: a line a dataset and feature."""

from pipeline.base.project import Project
from pipeline.commands.arguments import (
    add_dataset_argument,
    add_format_argument,
    format_bytes,
    render,
    selected_datasets,
)

HELP = "a line a dataset and feature: requested, ok, missing, pending, cached, failed, bytes"
_COLUMNS = ("dataset", "what", "requested", "ok", "missing", "pending", "cached", "failed", "bytes")


def add_arguments(parser) -> None:
    add_dataset_argument(parser)
    add_format_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no hints, only the table")


def run(arguments, project: Project) -> int:
    """Print the table; what it shows is the last account that a stage wrote."""
    from pipeline.downloads.counts import count_clips
    from pipeline.shards.sample_counts import count_features

    rows, hints = [], []
    for dataset in selected_datasets(arguments, project):
        account = count_clips(project, dataset)
        rows.append(
            {
                "dataset": dataset,
                "what": "clips",
                "requested": account.num_requested,
                "ok": account.num_ok,
                "missing": account.num_missing,
                "pending": account.num_pending,
                "bytes": account.num_bytes,
            }
        )
        for feature in count_features(project, dataset):
            rows.append(
                {
                    "dataset": dataset,
                    "what": feature.feature,
                    "requested": feature.num_requested,
                    "ok": feature.num_ok,
                    "missing": feature.num_missing,
                    "pending": feature.num_absent,
                    "cached": feature.num_ok,
                    "failed": feature.num_failed,
                    "bytes": feature.num_bytes,
                }
            )
        if not account.has_sources:
            hints.append(f"{dataset}: not listed yet; `dvc repro sources@{dataset}`")
        elif account.num_pending:
            hints.append(
                f"{dataset}: {account.num_pending} clips pending; `dvc repro download@{dataset}` goes on"
            )
        if account.num_missing:
            words = ", ".join(
                f"{number} {reason}" for reason, number in list(account.reasons.items())[:5]
            )
            hints.append(
                f"{dataset}: missing: {words}; `python -m pipeline missing --dataset {dataset}` says more"
            )
    if arguments.format == "table":
        rows = [row | {"bytes": format_bytes(row["bytes"])} for row in rows]
    print(render(rows, _COLUMNS, arguments.format))
    if arguments.format == "table" and not arguments.quiet:
        for hint in hints:
            print(hint)
    return 0
