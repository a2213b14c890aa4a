"""``missing``: what is not there, why, and whether another attempt is worth it."""

from collections import Counter

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

HELP = "which clips or samples are missing, why, permanent or worth a retry"
_DETAIL_CHARACTERS = 80


def add_arguments(parser) -> None:
    add_dataset_argument(parser)
    parser.add_argument(
        "--reason", action="append", default=[], help="only this reason (can be repeated)"
    )
    parser.add_argument(
        "--split", action="append", default=[], help="only this split (can be repeated)"
    )
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


def run(arguments, project: Project) -> int:
    """Print a list, or counts."""
    from pipeline.downloads.counts import advice_of, missing_clips, missing_samples
    from pipeline.downloads.reasons import REASONS

    tables, chosen = [], selected_datasets(arguments, project)
    require_known_splits(arguments.split, project, chosen, option="--split")
    for dataset in chosen:
        path = (
            project.samples_table_path(dataset)
            if arguments.samples
            else project.downloads_table_path(dataset)
        )
        if not path.exists() and not arguments.dataset:
            continue  # not asked for by name, and not begun
        selection = {"reasons": arguments.reason, "splits": arguments.split}
        if arguments.samples:
            tables.append(missing_samples(project, dataset, **selection))
        else:
            tables.append(
                missing_clips(project, dataset, **selection, has_pending=arguments.pending)
            )
    if not tables:
        raise ParameterError("no dataset has an account yet; run `dvc repro` first")
    columns = tables[0].column_names
    lines = [
        line
        for table in tables
        for line in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
    for reason in arguments.reason:
        if reason not in REASONS and not lines:
            raise ParameterError(
                f"--reason is {reason!r}, expected one of {', '.join(sorted(REASONS))}"
            )
    if arguments.by:
        rows = [dict(zip(columns, line, strict=True)) for line in lines]
        print(render(*_count(rows, arguments.by, advice_of), arguments.format))
    elif arguments.format != "table":
        print(render_lines(lines, columns, arguments.format))
    elif not lines:
        print("nothing is missing")
    else:
        print(render_lines([(*line[:-1], _shorten(line[-1])) for line in lines], columns, "table"))
    return 0


def _count(rows: list[dict], by: str, advice_of) -> tuple[list[dict], tuple[str, ...]]:
    if by == "reason":
        counts = Counter(
            (row["dataset"], row["reason"] or "pending", row["outlook"]) for row in rows
        )
        counted = [
            {
                "dataset": dataset,
                "reason": reason,
                "outlook": outlook,
                "count": number,
                "what to do": "dvc repro" if reason == "pending" else advice_of(reason),
            }
            for (dataset, reason, outlook), number in counts.most_common()
        ]
        return counted, ("dataset", "reason", "outlook", "count", "what to do")
    if by == "split":
        counts = Counter(
            (row["dataset"], split, row["outlook"])
            for row in rows
            for split in row["splits"] or ["-"]
        )
        names = ("dataset", "split", "outlook")
    else:
        counts = Counter((row["dataset"], row["outlook"]) for row in rows)
        names = ("dataset", "outlook")
    counted = [
        dict(zip(names, key, strict=True)) | {"count": number}
        for key, number in sorted(counts.items())
    ]
    return counted, (*names, "count")


def _shorten(text: str | None) -> str | None:
    if text is None:
        return None
    text = " ".join(text.split())
    return text if len(text) <= _DETAIL_CHARACTERS else text[: _DETAIL_CHARACTERS - 3] + "..."
