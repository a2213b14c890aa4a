"""``audit``: do training splits share clips with test splits, and how much of each published test set is there?"""

import csv
import dataclasses
import json
import sys

from pipeline.audit.coverage import Coverage, audit_coverage
from pipeline.audit.leakage import AuditParameters, Overlap, audit_leakage, check_leakage
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.commands.arguments import require_known_splits

HELP = "overlap between training and test splits, and coverage of the published test sets"


def add_arguments(parser) -> None:
    parser.add_argument(
        "--dataset", action="append", help="only this dataset (default: those of params.yaml)"
    )
    parser.add_argument(
        "--train", action="append", metavar="SPLIT", help="training split (default: by name)"
    )
    parser.add_argument(
        "--test", action="append", metavar="SPLIT", help="test split (default: by name)"
    )
    parser.add_argument("--allow-leakage", action="store_true", help="overlap is no error")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")


def run(arguments, project: Project) -> int:
    """Print both audits; an overlap is an error (exit code 1) unless ``audit.allow_leakage`` or the flag allows it."""
    overlaps, coverages = [], []
    names = arguments.dataset or project.datasets
    for option, splits in (("--train", arguments.train), ("--test", arguments.test)):
        require_known_splits(splits or (), project, names, option=option)
    for dataset in names:
        overlaps += audit_leakage(
            project, dataset, train_splits=arguments.train, test_splits=arguments.test
        )
        coverages += audit_coverage(project, dataset)
    _print(overlaps, coverages, arguments.format)
    parameters = build(AuditParameters, project.params.get("audit"), "audit")
    if arguments.allow_leakage:
        parameters = dataclasses.replace(parameters, allow_leakage=True)
    check_leakage(overlaps, parameters)
    return 0


def _print(overlaps: list[Overlap], coverages: list[Coverage], form: str) -> None:
    if form == "json":
        content = {
            "overlaps": [
                dataclasses.asdict(overlap) | {"is_leakage": overlap.is_leakage}
                for overlap in overlaps
            ],
            "coverage": [
                dataclasses.asdict(coverage) | {"percent": coverage.percent}
                for coverage in coverages
            ],
        }
        print(json.dumps(content, indent=1))
        return
    if form == "csv":
        rows = [
            {"audit": "overlap", **dataclasses.asdict(o), "examples": " ".join(o.examples)}
            for o in overlaps
        ]
        rows += [{"audit": "coverage", **dataclasses.asdict(c)} for c in coverages]
        names = dict.fromkeys(
            [
                "audit",
                *(field.name for kind in (Overlap, Coverage) for field in dataclasses.fields(kind)),
            ]
        )
        writer = csv.DictWriter(sys.stdout, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    overlap_rows = [
        (
            o.dataset,
            o.train_split,
            o.test_split,
            o.num_test_clips,
            o.num_shared_clips,
            o.num_shared_video_clips,
        )
        for o in overlaps
    ]
    coverage_rows = [
        (
            c.dataset,
            c.test_set,
            c.used_by,
            c.num_clips,
            _number(c.num_requested),
            _number(c.num_ok),
            _percent(c),
            c.note,
        )
        for c in coverages
    ]
    overlap_header = (
        "dataset",
        "train split",
        "test split",
        "test clips",
        "also in training",
        "of training videos",
    )
    coverage_header = (
        "dataset",
        "test set",
        "used by",
        "clips",
        "requested",
        "ok",
        "percent",
        "note",
    )
    _print_table("Overlap of training and test splits", overlap_header, overlap_rows)
    print()
    _print_table("Coverage of published test sets", coverage_header, coverage_rows)


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def _percent(coverage: Coverage) -> str:
    if coverage.percent is not None:
        return f"{coverage.percent:.1f}"
    return f"{coverage.percent_low:.1f} to {coverage.percent_high:.1f}"


def _print_table(title: str, header: tuple, rows: list[tuple]) -> None:
    print(title)
    if not rows:
        print("  nothing to compare")
        return
    cells = [tuple(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print(
            "  "
            + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
