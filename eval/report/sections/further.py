"""Metrics of ``evaluate.further_metrics``, a table for each metric of a test set.

``templates/section_results.html`` shows these views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from eval.report.data.result_rows import ABSENT, format_count, format_number

_TITLES = {
    "acl_sweep": "Fixed thresholds (ACL)",
    "masks": "Masks (AVSBench)",
    "sources": "Several sources (NoPrior, AVGN)",
    "retrieval": "Retrieval",
}
# Columns that every table has in words of its own.
_SHARED = ("model", "kind", "dataset", "subset", "metric", "n", "num_requested", "note")


@dataclass(frozen=True)
class FurtherTable:
    """The rows of one metric: models, and the fields that the metric has; ``notes`` warn."""

    title: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def view_further(rows: Sequence[Mapping]) -> tuple[FurtherTable, ...]:
    """Return a table for each metric.

    Args:
        rows: Of the list ``further`` of results.json, of one test set.
    """

    def metric_of(row: Mapping) -> str:
        return str(row["metric"])

    ordered = sorted(rows, key=metric_of)
    return tuple(
        _make_table(metric, list(members)) for metric, members in groupby(ordered, key=metric_of)
    )


def _make_table(metric: str, rows: Sequence[Mapping]) -> FurtherTable:
    # lists are curves: results.json has them
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in _SHARED
        and not any(isinstance(row.get(name), list) for row in rows)
        and any(row.get(name) is not None for row in rows)
    ]
    return FurtherTable(
        _TITLES.get(metric, metric),
        ("model", "samples", *(name.replace("_", " ") for name in names)),
        tuple(
            (
                str(row["model"]),
                f"{format_count(row.get('n'))} of {format_count(row.get('num_requested'))}",
                *(_format(row.get(name)) for name in names),
            )
            for row in rows
        ),
        # A note of many rows is printed once.
        tuple(dict.fromkeys(str(row["note"]) for row in rows if row.get("note"))),
    )


def _format(value: object) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_number(value)
    return format_count(value) if isinstance(value, int) else str(value)
