"""The scores of single samples: success rates over thresholds, and scores by property.

``templates/section_curves.html`` and ``templates/section_breakdowns.html`` show these views.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.report.data.result_rows import (
    METRIC_TITLES,
    format_interval,
    format_number,
    interval_of,
    number_of,
)
from eval.report.data.sample_scores import SampleScores
from eval.report.sections.charts import Line, LineChart, draw_lines
from eval.report.sections.protocol_cards import name_protocol
from eval.scoring.metrics import AUC_THRESHOLDS, success_curve

# The thresholds of the AUC as they are read: 0.05 * 3 is not quite 0.15.
THRESHOLD_LABELS = tuple(round(threshold, 2) for threshold in AUC_THRESHOLDS)


@dataclass(frozen=True)
class SuccessCurves:
    """The chart of one test set and its numbers: a column a model, a row a threshold."""

    chart: LineChart | None  # None: no model has a score
    titles: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""  # the ceiling, where there is one


@dataclass(frozen=True)
class BreakdownCell:
    """A model's value of a group, if there is one."""

    value: float | None
    interval: str
    is_best: bool


@dataclass(frozen=True)
class BreakdownRow:
    """One group of samples; ``counts``: how many, or the least and the most of all models."""

    group: str
    counts: str
    cells: tuple[BreakdownCell, ...]


@dataclass(frozen=True)
class Breakdown:
    """A test set by one property of its samples."""

    by: str
    caption: str
    models: tuple[str, ...]
    rows: tuple[BreakdownRow, ...]
    is_open: bool


@dataclass(frozen=True)
class SubsetBreakdowns:
    """All breakdowns of one test set."""

    dataset: str
    subset: str
    breakdowns: tuple[Breakdown, ...]


def success_curves(scores: SampleScores, models: Sequence[str]) -> dict[str, list[float]]:
    """Return the success curve of each model: its success rate at each threshold.

    Args:
        scores: Scores of one test set under one protocol.
        models: Names in the order of the page. A model without a score is left out.

    Returns:
        By model, the share (0 to 1) of the scored samples with ciou >= each of ``AUC_THRESHOLDS``.
    """
    curves = {}
    for model in models:
        by_sample = scores.values.get(model, {})
        cious = np.array([row["ciou"] for row in by_sample.values() if "ciou" in row])
        if len(cious):
            curves[model] = success_curve(cious)
    return curves


def view_curves(
    scores: SampleScores,
    subset: str,
    models: Sequence[str],
    styles: Mapping[str, int],
    *,
    shown: Collection[str],
    ceiling: float | None = None,
) -> SuccessCurves:
    """Return the chart of success rates by threshold, and its numbers.

    Args:
        scores: Scores of the samples of ``subset``.
        subset: Name of the test set.
        models: Models in the order of the columns.
        styles: Number of each model's colour and dash.
        shown: Models that the chart shows; the table has all.
        ceiling: The best AUC that any map can have here.
    """
    curves = success_curves(scores, models)
    if not curves:
        return SuccessCurves(None)

    # Where nothing would be drawn, all curves are: trivial ones are better than none.
    drawn = {name: values for name, values in curves.items() if name in shown} or curves
    protocol = name_protocol(scores.protocol)
    chart = draw_lines(
        [Line(model, THRESHOLD_LABELS, values, styles[model]) for model, values in drawn.items()],
        title=f"{scores.dataset}, {subset}, protocol {protocol}",
        x_label="cIoU threshold",
        y_label="success rate",
        y_range=(0.0, 1.0),
    )

    rows = [
        (f"{threshold:.2f}", *(format_number(values[i]) for values in curves.values()))
        for i, threshold in enumerate(THRESHOLD_LABELS)
    ]

    note = ""
    # Just below 1, only samples with an empty ground truth are missing.
    if ceiling is not None and ceiling < 0.999:
        note = f"Ceiling: no map can have an AUC above {format_number(ceiling)} here."
    return SuccessCurves(chart, ("threshold", *curves), tuple(rows), note)


def view_breakdowns(
    rows: Sequence[Mapping], *, protocol: str, metric: str, models: Sequence[str]
) -> list[SubsetBreakdowns]:
    """Return tables of ``metric`` by property of the samples; the best value of a row is marked.

    Args:
        rows: The list ``breakdowns`` of results.json.
        protocol: Rows of other protocols are left out.
        metric: One of ``METRIC_TITLES``.
        models: Models in the order of the columns.
    """
    # (dataset, subset) -> property -> group -> model -> row
    tree: dict[tuple[str, str], dict[str, dict[str, dict[str, Mapping]]]] = {}
    for row in rows:
        if row["protocol"] == protocol:
            by_property = tree.setdefault((str(row["dataset"]), str(row["subset"])), {})
            by_group = by_property.setdefault(str(row["by"]), {})
            by_group.setdefault(str(row["group"]), {})[str(row["model"])] = row

    subsets = []
    for (dataset, subset), by_property in tree.items():
        # classes are many: the first property with few groups is the one to show unfolded
        opened = next((by for by in by_property if by != "class"), None)
        breakdowns = [
            _make_breakdown(
                by_group,
                by=_title_of(by),
                place=f"{dataset}, {subset}",
                metric=metric,
                models=models,
                is_open=by == opened,
            )
            for by, by_group in by_property.items()
        ]
        subsets.append(SubsetBreakdowns(dataset, subset, tuple(breakdowns)))
    return subsets


def _make_breakdown(
    by_group: Mapping[str, Mapping[str, Mapping]],
    *,
    by: str,
    place: str,
    metric: str,
    models: Sequence[str],
    is_open: bool,
) -> Breakdown:
    # A model without a value in any group gets no column.
    # Untrained networks and trivial baselines have none either: results.json has their numbers.
    present = [model for model in models if any(model in rows for rows in by_group.values())]
    return Breakdown(
        by=by,
        caption=f"{METRIC_TITLES.get(metric, metric)} by {by}, {place}",
        models=tuple(present),
        rows=tuple(
            _make_row(group, by_model, metric, present) for group, by_model in by_group.items()
        ),
        is_open=is_open,
    )


def _make_row(
    group: str, by_model: Mapping[str, Mapping], metric: str, models: Sequence[str]
) -> BreakdownRow:
    rows: list[Mapping] = [by_model.get(model, {}) for model in models]
    values = [number_of(row, metric) for row in rows]

    # equal values are all marked
    best = max((value for value in values if value is not None), default=None)
    cells = [
        BreakdownCell(
            value,
            format_interval(interval_of(row, metric), digits=2),
            is_best=value is not None and value == best,
        )
        for row, value in zip(rows, values, strict=True)
    ]

    # models may have scored different numbers of samples
    counts = sorted({int(row["n"]) for row in by_model.values()})
    limits = dict.fromkeys([counts[0], counts[-1]])
    return BreakdownRow(group, " to ".join(f"{count:,}" for count in limits), tuple(cells))


def _title_of(by: str) -> str:
    return by.replace("_", " ").replace("num ", "number of ")
