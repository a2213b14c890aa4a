"""Training curves from DVCLive's tables (``plots/metrics/**.tsv``: a step column and one of values)."""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from eval.report.charts import Line, draw_lines
from eval.report.markup import Html, details, element

_NUM_DRAWN_POINTS = 300
_NOT_DRAWN = {
    "epoch",
    "step",
    "samples_per_second",
}  # the last says more about the machine than about the model
_FACT_TITLES = {
    "num_epochs": "epochs run",
    "best_epoch": "kept epoch",
    "best_score": "its score",
    "selection": "selected on",
    "is_stopped_early": "stopped early",
    "num_train": "training samples",
    "num_val": "validation samples",
    "num_parameters": "weights",
    "num_unusable": "samples that could not be used",
}
_STAGE = re.compile(r"^(train|val|validation)[/_]")


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
    """Charts by model; metrics of training and validation (``train_loss``, ``val/loss``) share a chart."""
    parts = []
    for model in dict.fromkeys([*training_dirs, *runs]):
        curves = read_curves(training_dirs[model]) if model in training_dirs else {}
        charts: dict[str, list[Line]] = {}
        for name, (steps, values) in curves.items():
            if name.split("/")[-1] not in _NOT_DRAWN:
                lines = charts.setdefault(_STAGE.sub("", name), [])
                lines.append(Line(name.replace("_", " "), *_thin(steps, values), style=len(lines)))
        num_epochs = runs.get(model, {}).get("num_epochs")
        last_step = max((steps[-1] for steps, _ in curves.values()), default=0)
        x_label = "epoch" if isinstance(num_epochs, int) and last_step < num_epochs else "step"
        figures = [
            draw_lines(
                lines, title=f"{model}: {name.replace('_', ' ')}", x_label=x_label, y_label=name
            )
            for name, lines in sorted(
                charts.items(), key=lambda item: (item[0] == "learning_rate", -len(item[1]))
            )
        ]
        if not figures:
            figures = [element("p", "No training curves were recorded.", class_="note")]
        parts.append(
            element(
                "div",
                element("h3", model),
                _render_run(runs.get(model, {})),
                element("div", figures, class_="charts"),
                class_="part",
            )
        )
    if not parts:
        parts = [element("p", "No model was trained in this run.", class_="note")]
    return element("div", parts)


def _render_run(run: Mapping) -> Html | None:
    """The plain facts of a run.json; what is nested (parameters, versions) is folded."""
    plain, folded = [], []
    for name, value in run.items():
        if isinstance(value, Mapping) and value:
            folded.append(details(_title_of(name).capitalize(), _render_facts(value.items())))
        elif value is not None and not isinstance(
            value, Mapping | list
        ):  # lists are the history: see the curves
            plain.append((name, value))
    return element("div", _render_facts(plain), folded) if plain or folded else None


def _render_facts(facts: Iterable[tuple[str, object]]) -> Html:
    entries = [
        element("div", element("dt", _title_of(str(name))), element("dd", _format_fact(value)))
        for name, value in facts
    ]
    return element("dl", entries, class_="facts")


def _title_of(name: str) -> str:
    return _FACT_TITLES.get(name, name.replace("_", " "))


def _format_fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
