"""Training curves from DVCLive's tables (``plots/metrics/**.tsv``: a step column and one of values)."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from eval.report.charts import Line, draw_lines
from eval.report.markup import Html, element

_NUM_DRAWN_POINTS = 300


def read_curves(training_dir: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values by metric (``train/loss``); rows that hold no numbers are left out, values may be NaN."""
    curves = {}
    metrics_dir = training_dir / "plots" / "metrics"
    for path in sorted(metrics_dir.rglob("*.tsv")):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        steps, values = [], []
        for number, row in enumerate(rows):
            names = [name for name in row if name not in ("step", "timestamp")]
            value = _to_float(row[names[-1]]) if names else None
            step = _to_float(row.get("step"))
            if value is not None:
                steps.append(float(number) if step is None else step)
                values.append(value)
        if steps:
            curves[path.relative_to(metrics_dir).with_suffix("").as_posix()] = (steps, values)
    return curves


def render_training(training_dirs: Mapping[str, Path], runs: Mapping[str, Mapping]) -> Html:
    """Charts by model; metrics that share their last name (``train/loss``, ``val/loss``) share a chart."""
    parts = []
    for model in dict.fromkeys([*training_dirs, *runs]):
        curves = read_curves(training_dirs[model]) if model in training_dirs else {}
        charts: dict[str, list[Line]] = {}
        for name, (steps, values) in curves.items():
            if name in ("epoch", "step"):
                continue
            lines = charts.setdefault(name.split("/")[-1], [])
            lines.append(Line(name, *_thin(steps, values), style=len(lines)))
        figures = [
            draw_lines(lines, title=f"{model}: {name}", x_label="step", y_label=name) for name, lines in charts.items()
        ]
        facts = _describe_run(runs.get(model, {}))
        if not figures:
            figures = [element("p", "No training curves were recorded.", class_="note")]
        parts.append(
            element(
                "div",
                element("h3", model),
                element(
                    "dl",
                    [element("div", element("dt", name), element("dd", text)) for name, text in facts],
                    class_="facts",
                )
                if facts
                else None,
                element("div", figures, class_="charts"),
                class_="part",
            )
        )
    if not parts:
        parts = [element("p", "No model was trained in this run.", class_="note")]
    return element("div", parts)


def _describe_run(run: Mapping) -> list[tuple[str, str]]:
    """The plain facts of a run.json, nested ones with dotted names."""
    facts = []
    for name, value in run.items():
        if isinstance(value, Mapping):
            facts += [(f"{name}.{inner}", text) for inner, text in _describe_run(value)]
        elif isinstance(value, list | tuple) and len(value) > 12:
            facts.append((name, f"{len(value)} values"))
        elif value is not None:
            facts.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return facts


def _thin(steps: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """At most about 300 points, evenly spaced, the last one kept: a page needs no more."""
    stride = -(-len(steps) // _NUM_DRAWN_POINTS)
    if stride <= 1:
        return steps, values
    kept = sorted({*range(0, len(steps), stride), len(steps) - 1})
    return [steps[i] for i in kept], [values[i] for i in kept]


def _to_float(text: str | None) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if not math.isinf(value) else math.nan
