"""Scores by properties of the samples, and the success rate over thresholds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.report.charts import Line, draw_lines
from eval.report.markup import Html, breakable, details, element, table
from eval.report.rows import METRIC_TITLES, format_number, number_of

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(21))
SCORE_COLUMNS = ("ciou", "adaptive_ciou", "pointing")
_PER_SAMPLE = {
    "mean_ciou": "ciou",
    "success_rate": "ciou",
    "auc": "ciou",
    "pointing_accuracy": "pointing",
}


@dataclass(frozen=True)
class SampleScores:
    """Scores of one dataset under one protocol: ``values[model][sample_id]`` maps the names of scores to numbers."""

    dataset: str
    protocol: str
    values: Mapping[str, Mapping[str, Mapping[str, float]]]


def collect_scores(scores: pa.Table | None, *, dataset: str, protocol: str) -> SampleScores:
    """The rows with status ``ok`` of one dataset and protocol."""
    values: dict[str, dict] = {}
    if scores is not None:
        chosen = pc.and_(
            pc.equal(scores["dataset"], dataset), pc.equal(scores["protocol"], protocol)
        )
        for row in scores.filter(chosen).to_pylist():
            if row.get("status") in ("ok", None):
                numbers = {
                    name: float(row[name])
                    for name in SCORE_COLUMNS
                    if row.get(name) is not None and np.isfinite(row[name])
                }
                values.setdefault(row["model"], {})[row["sample_id"]] = numbers
    return SampleScores(dataset, protocol, values)


def column_of(metric: str) -> str:
    """The per sample column behind a metric."""
    return _PER_SAMPLE.get(metric, metric)


def render_breakdowns(
    rows: Sequence[Mapping], *, protocol: str, metric: str, models: Sequence[str]
) -> Html:
    """Tables of ``metric`` by property of the samples, one column a model; the best of a line is marked.

    ``rows``: the list ``breakdowns`` of results.json.
    """
    tables: dict[tuple, dict[str, dict[str, Mapping]]] = {}
    for row in rows:
        if row["protocol"] == protocol:
            by_group = tables.setdefault(
                (str(row["dataset"]), str(row["subset"]), str(row["by"])), {}
            )
            by_group.setdefault(str(row["group"]), {})[str(row["model"])] = row
    if not tables:
        return element("p", "There are no breakdowns under this protocol.", class_="note")
    parts, last_subset, opened = [], None, set()
    for (dataset, subset, by), by_group in tables.items():
        if (dataset, subset) != last_subset:
            last_subset = (dataset, subset)
            parts.append(element("h3", f"{dataset} \N{MIDDLE DOT} {subset}"))
        block = _render_breakdown(
            by_group, by=by, caption=f"{dataset}, {subset}", metric=metric, models=models
        )
        is_open = by != "class" and last_subset not in opened  # the first short one
        if is_open:
            opened.add(last_subset)
        parts.append(details(f"By {_title_of(by)}", block, is_open=is_open))
    return element("div", parts)


def _render_breakdown(
    by_group, *, by: str, caption: str, metric: str, models: Sequence[str]
) -> Html:
    present = [model for model in models if any(model in rows for rows in by_group.values())]
    lines = []
    for group, by_model in by_group.items():
        values = [
            number_of(by_model[model], metric) if model in by_model else None for model in present
        ]
        best = max((value for value in values if value is not None), default=None)
        cells = []
        for model, value in zip(present, values, strict=True):
            text = element(
                "strong" if value is not None and value == best else "span", format_number(value)
            )
            low, high = (
                number_of(by_model.get(model, {}), f"{metric}_{end}") for end in ("low", "high")
            )
            bounds = (
                None
                if low is None or high is None
                else f"[{format_number(low, 2)}, {format_number(high, 2)}]"
            )
            cells.append(
                element(
                    "span",
                    text,
                    element("span", bounds, class_="bounds") if bounds else None,
                    class_="cell",
                )
            )
        counts = sorted({int(row["n"]) for row in by_model.values()})
        lines.append(
            [
                group,
                " to ".join(f"{count:,}" for count in dict.fromkeys([counts[0], counts[-1]])),
                *cells,
            ]
        )
    head = [_title_of(by), "n", *(breakable(model) for model in present)]
    title = METRIC_TITLES.get(metric, metric)
    return table(head, lines, caption=f"{title} by {_title_of(by)}, {caption}")


def _title_of(by: str) -> str:
    return by.replace("_", " ").replace("num ", "number of ")


def restrict(scores: SampleScores, sample_ids: Collection[str]) -> SampleScores:
    """The scores of these samples only."""
    wanted = set(sample_ids)
    values = {
        model: {
            sample_id: numbers for sample_id, numbers in by_sample.items() if sample_id in wanted
        }
        for model, by_sample in scores.values.items()
    }
    return SampleScores(scores.dataset, scores.protocol, values)


def success_curves(scores: SampleScores, models: Sequence[str]) -> dict[str, list[float]]:
    """Share of samples with ciou >= threshold at each of ``THRESHOLDS``, by model."""
    curves = {}
    for model in models:
        ciou = np.array(
            [
                numbers["ciou"]
                for numbers in scores.values.get(model, {}).values()
                if "ciou" in numbers
            ]
        )
        if len(ciou):
            # the thresholds are decimal: without the tolerance .15 would exceed a ciou of 3 * .05
            curves[model] = [float(np.mean(ciou >= threshold - 1e-12)) for threshold in THRESHOLDS]
    return curves


def render_success_curves(
    scores: SampleScores, subset: str, models: Sequence[str], styles: Mapping[str, int]
) -> Html:
    """The chart of success over thresholds and its numbers."""
    curves = success_curves(scores, models)
    if not curves:
        return element("p", "No sample was scored.", class_="note")
    lines = [Line(model, THRESHOLDS, values, styles[model]) for model, values in curves.items()]
    title = f"{scores.dataset}, {subset}, protocol {scores.protocol}"
    chart = draw_lines(
        lines,
        title=title,
        x_label="threshold on cIoU",
        y_label="share of samples at or above",
        y_range=(0.0, 1.0),
    )
    numbers = table(
        ["threshold", *curves],
        [
            [f"{threshold:.2f}", *(format_number(values[i]) for values in curves.values())]
            for i, threshold in enumerate(THRESHOLDS)
        ],
        caption=f"Success rate over thresholds, {title}",
    )
    return element("div", chart, details("The numbers of this chart", numbers))
