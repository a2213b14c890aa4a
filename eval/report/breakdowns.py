"""Scores by properties of the samples, and the success rate over thresholds: per sample values, grouped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.report.charts import Line, draw_lines
from eval.report.markup import Html, details, element, table
from eval.report.rows import METRIC_TITLES, format_count, format_number

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(21))
_NUM_CLASSES_SHOWN = 40
_MAX_ATTRIBUTE_VALUES = 12
_SIZE_LIMITS = ((0.1, "small, below 10 % of the frame"), (0.3, "medium, 10 to 30 %"), (2.0, "large, above 30 %"))
_PER_SAMPLE = {"mean_ciou": "ciou", "success_rate": "ciou", "auc": "ciou", "pointing_accuracy": "pointing"}


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
        chosen = pc.and_(pc.equal(scores["dataset"], dataset), pc.equal(scores["protocol"], protocol))
        for row in scores.filter(chosen).to_pylist():
            if row.get("status") in ("ok", None):
                numbers = {
                    name: float(row[name])
                    for name in ("ciou", "adaptive_ciou", "pointing")
                    if row.get(name) is not None and np.isfinite(row[name])
                }
                values.setdefault(row["model"], {})[row["sample_id"]] = numbers
    return SampleScores(dataset, protocol, values)


def column_of(metric: str) -> str:
    """The per sample column behind a metric."""
    return _PER_SAMPLE.get(metric, metric)


def group_samples(samples: Sequence[Mapping]) -> dict[str, dict[str, list[str]]]:
    """Sample ids by property and value; properties that do not split the samples are left out."""
    groups: dict[str, dict[str, list[str]]] = {}

    def add(title: str, value: str, sample_id: str) -> None:
        groups.setdefault(title, {}).setdefault(value, []).append(sample_id)

    for sample in samples:
        sample_id, boxes = sample["sample_id"], sample["boxes"] or []
        num_boxes = len(boxes)
        add("number of boxes", "4 or more" if num_boxes >= 4 else str(num_boxes), sample_id)
        if boxes:
            area = max(abs((box[2] - box[0]) * (box[3] - box[1])) for box in boxes)
            add(
                "size of the largest box",
                next(text for limit, text in _SIZE_LIMITS if area < limit or limit > 1),
                sample_id,
            )
        if sample["label"]:
            add("class", sample["label"], sample_id)
        for name in ("heard", "unheard"):
            if any(name in split.split("_") for split in sample["splits"] or []):
                add("heard in training", name, sample_id)
        for name, value in dict(sample["attributes"] or []).items():
            add(name.replace("_", " "), str(value), sample_id)
    kept = {}
    for title, by_value in groups.items():
        if len(by_value) < 2 or (title != "class" and len(by_value) > _MAX_ATTRIBUTE_VALUES):
            continue
        if title == "class":
            order = sorted(by_value, key=lambda value: (-len(by_value[value]), value))[:_NUM_CLASSES_SHOWN]
        elif title == "size of the largest box":
            order = [text for _, text in _SIZE_LIMITS if text in by_value]
        else:
            order = sorted(by_value)
        kept[title] = {value: by_value[value] for value in order}
    return kept


def render_breakdowns(scores: SampleScores, samples: Sequence[Mapping], *, metric: str, models: Sequence[str]) -> Html:
    """Tables of the mean score by property, one column a model; the best of a line is marked."""
    column = column_of(metric)
    scored = {sample_id for by_sample in scores.values.values() for sample_id in by_sample}
    groups = group_samples([sample for sample in samples if sample["sample_id"] in scored])
    models = [model for model in models if model in scores.values]
    parts = []
    for title, by_value in groups.items():
        rows = []
        for value, sample_ids in by_value.items():
            means = [_mean(scores.values[model], sample_ids, column) for model in models]
            best = max((mean for mean in means if mean is not None), default=None)
            cells = [
                element("strong", format_number(mean)) if mean is not None and mean == best else format_number(mean)
                for mean in means
            ]
            rows.append([value, format_count(len(sample_ids)), *cells])
        block = table(
            [title, "n", *models], rows, caption=f"{METRIC_TITLES.get(metric, metric)} by {title}, {scores.dataset}"
        )
        parts.append(details(f"By {title}", block, is_open=title != "class" and not parts))
    if not parts:
        return element("p", "The scored samples differ in no recorded property.", class_="note")
    return element("div", parts)


def success_curves(scores: SampleScores, models: Sequence[str]) -> dict[str, list[float]]:
    """Share of samples with ciou >= threshold at each of ``THRESHOLDS``, by model."""
    curves = {}
    for model in models:
        ciou = np.array([numbers["ciou"] for numbers in scores.values.get(model, {}).values() if "ciou" in numbers])
        if len(ciou):
            # the thresholds are decimal: without the tolerance .15 would exceed a ciou of 3 * .05
            curves[model] = [float(np.mean(ciou >= threshold - 1e-12)) for threshold in THRESHOLDS]
    return curves


def render_success_curves(scores: SampleScores, models: Sequence[str], styles: Mapping[str, int]) -> Html:
    """The chart of success over thresholds and its numbers."""
    curves = success_curves(scores, models)
    if not curves:
        return element("p", "No sample was scored.", class_="note")
    lines = [Line(model, THRESHOLDS, values, styles[model]) for model, values in curves.items()]
    title = f"{scores.dataset}, protocol {scores.protocol}"
    chart = draw_lines(
        lines, title=title, x_label="threshold on cIoU", y_label="share of samples at or above", y_range=(0.0, 1.0)
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


def _mean(by_sample: Mapping[str, Mapping[str, float]], sample_ids: Sequence[str], column: str) -> float | None:
    values = [by_sample[i][column] for i in sample_ids if i in by_sample and column in by_sample[i]]
    return float(np.mean(values)) if values else None
