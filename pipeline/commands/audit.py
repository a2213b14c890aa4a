"""``audit``: overlap of training and test splits, and coverage of the published test sets."""

import csv
import dataclasses
import json
import sys
from collections.abc import Sequence

import click

from pipeline.audit.coverage import Coverage, audit_coverage
from pipeline.audit.leakage import AuditParameters, Overlap, audit_leakage, check_leakage
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.commands.options import (
    chosen_dataset_option,
    format_option,
    pass_project,
    require_known_splits,
)
from pipeline.commands.output import render_lines

_OVERLAP_HEADER = (
    "dataset",
    "train split",
    "test split",
    "test clips",
    "also in training",
    "of training videos",
    "origin not known",
)
_COVERAGE_HEADER = (
    "dataset",
    "test set",
    "used by",
    "clips",
    "requested",
    "ok",
    "percent",
    "note",
)


@click.command()
@chosen_dataset_option
@click.option(
    "--train",
    "train_splits",
    multiple=True,
    metavar="SPLIT",
    help="training split (can be repeated; default: by name)",
)
@click.option(
    "--test",
    "test_splits",
    multiple=True,
    metavar="SPLIT",
    help="test split (can be repeated; default: by name)",
)
@click.option("--allow-leakage", is_flag=True, help="overlap is no error")
@format_option
@pass_project
def run(
    project: Project,
    datasets: tuple[str, ...],
    train_splits: tuple[str, ...],
    test_splits: tuple[str, ...],
    allow_leakage: bool,
    output_format: str,
) -> int:
    """Print both audits.

    Raises:
        RunError: there is an overlap that neither ``audit.allow_leakage`` nor the option allows.
    """
    names = datasets or project.datasets

    # A mistyped split would compare nothing, and that would look like no leakage.
    for option, splits in (("--train", train_splits), ("--test", test_splits)):
        require_known_splits(splits, project, names, option=option)

    overlaps: list[Overlap] = []
    coverages: list[Coverage] = []
    for dataset in names:
        overlaps += audit_leakage(
            project,
            dataset,
            train_splits=train_splits or None,
            test_splits=test_splits or None,
        )
        coverages += audit_coverage(project, dataset)

    # Print before the check below can fail: the user must see which splits overlap.
    _PRINTERS[output_format](overlaps, coverages)

    parameters = build(AuditParameters, project.params.get("audit"), "audit")
    if allow_leakage:
        parameters = dataclasses.replace(parameters, allow_leakage=True)
    check_leakage(overlaps, parameters)
    return 0


def _print_json(overlaps: list[Overlap], coverages: list[Coverage]) -> None:
    # `asdict` leaves out properties, so the two that readers need are added.
    content = {
        "overlaps": [
            dataclasses.asdict(overlap) | {"is_leakage": overlap.is_leakage} for overlap in overlaps
        ],
        "coverage": [
            dataclasses.asdict(coverage) | {"percent": coverage.percent} for coverage in coverages
        ],
    }
    print(json.dumps(content, indent=1))


def _print_csv(overlaps: list[Overlap], coverages: list[Coverage]) -> None:
    """Print both audits as one table; the column ``audit`` says which one a row is of."""
    # The examples of an overlap are clip ids: one cell, not one column each.
    rows = [
        {"audit": "overlap", **dataclasses.asdict(o), "examples": " ".join(o.examples)}
        for o in overlaps
    ]
    rows += [{"audit": "coverage", **dataclasses.asdict(c)} for c in coverages]

    # The two audits have different columns. A row leaves those of the other audit empty.
    fields = [*dataclasses.fields(Overlap), *dataclasses.fields(Coverage)]
    columns = list(dict.fromkeys(["audit", *(field.name for field in fields)]))
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_tables(overlaps: list[Overlap], coverages: list[Coverage]) -> None:
    overlap_rows = [
        (
            o.dataset,
            o.train_split,
            o.test_split,
            o.num_test_clips,
            o.num_shared_clips,
            o.num_shared_video_clips,
            o.num_unknown_clips,
        )
        for o in overlaps
    ]

    # A question mark: nobody published which clips the set has, or its list is not here.
    coverage_rows = [
        (
            c.dataset,
            c.test_set,
            c.used_by,
            c.num_clips,
            "?" if c.num_requested is None else c.num_requested,
            "?" if c.num_ok is None else c.num_ok,
            _format_percent(c),
            c.note,
        )
        for c in coverages
    ]

    _print_table("Overlap of training and test splits", _OVERLAP_HEADER, overlap_rows)
    print()
    _print_table("Coverage of published test sets", _COVERAGE_HEADER, coverage_rows)


_PRINTERS = {"table": _print_tables, "csv": _print_csv, "json": _print_json}


def _format_percent(coverage: Coverage) -> str:
    if coverage.percent is not None:
        return f"{coverage.percent:.1f}"
    return f"{coverage.percent_low:.1f} to {coverage.percent_high:.1f}"


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(title)
    if not rows:
        print("nothing to compare")
        return

    print(render_lines(rows, header, "table"))
