"""Training curves from DVCLive's tables, and the facts of each run.

DVCLive writes ``plots/metrics/**.tsv``: a column ``step`` and one of values.
``templates/section_training.html`` shows these views.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.report.sections.charts import Line, LineChart, draw_lines
from eval.report.sections.run_identity import Fact, describe_identity

_NUM_DRAWN_POINTS = 300
# the last one says more about the machine than about the model
_NOT_DRAWN = frozenset({"epoch", "step", "samples_per_second"})
_FACT_TITLES = {
    "num_epochs": "epochs run",
    "best_epoch": "epoch kept (from 0)",
    "best_score": "validation score",
    "selection": "selection",
    "is_stopped_early": "stopped early",
    "num_train": "training samples",
    "num_val": "validation samples",
    "num_parameters": "parameters",
    "num_unusable": "samples that could not be used",
}
_STAGE = re.compile(r"^(train|val|validation)[/_]")

Curve = tuple[list[float], list[float]]  # steps and values


@dataclass(frozen=True)
class TrainedModel:
    """One model's charts and the facts of its run.json; ``folded_facts``: facts by title."""

    name: str
    identity: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    folded_facts: tuple[tuple[str, tuple[Fact, ...]], ...]
    charts: tuple[LineChart, ...]


def read_curves(training_dir: Path) -> dict[str, Curve]:
    """Return steps and values by metric (``train/loss``).

    Rows without a number are left out; a value may be NaN.
    """
    curves = {}
    metrics_dir = training_dir / "plots" / "metrics"
    for path in sorted(metrics_dir.rglob("*.tsv")):
        # DVCLive writes a table for each metric.
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))

        steps, values = [], []
        for number, row in enumerate(rows):
            # the column of values is named after the metric
            names = [name for name in row if name not in ("step", "timestamp")]

            value = _to_float(row[names[-1]]) if names else None
            step = _to_float(row.get("step"))
            if value is not None:
                steps.append(float(number) if step is None else step)
                values.append(value)

        if steps:
            curves[path.relative_to(metrics_dir).with_suffix("").as_posix()] = (steps, values)
    return curves


def view_training(
    training_dirs: Mapping[str, Path], runs: Mapping[str, Mapping], params: Mapping
) -> list[TrainedModel]:
    """Return charts and facts of each model.

    Args:
        training_dirs: DVCLive's folder of a model.
        runs: The content of a model's run.json.
        params: Sections of params.yaml.
    """
    models = []
    # A model can have curves without facts, or facts without curves.
    for name in dict.fromkeys([*training_dirs, *runs]):
        run = runs.get(name, {})
        curves = read_curves(training_dirs[name]) if name in training_dirs else {}

        facts, folded_facts = _sort_facts(run)
        identity = describe_identity(name, run, params)
        charts = _draw_curves(name, curves, run)
        models.append(TrainedModel(name, identity, facts, folded_facts, charts))
    return models


def _draw_curves(model: str, curves: Mapping[str, Curve], run: Mapping) -> tuple[LineChart, ...]:
    """Draw a chart a metric; ``train/loss`` and ``val_loss`` share one."""
    lines_of: dict[str, list[Line]] = {}
    for name, (steps, values) in curves.items():
        if name.split("/")[-1] not in _NOT_DRAWN:
            lines = lines_of.setdefault(_STAGE.sub("", name), [])
            lines.append(Line(name.replace("_", " "), *_thin(steps, values), style=len(lines)))

    # without a run.json nothing says whether a step is an epoch
    num_epochs = run.get("num_epochs")
    last_step = max((steps[-1] for steps, _ in curves.values()), default=0)
    x_label = "epoch" if isinstance(num_epochs, int) and last_step < num_epochs else "step"

    # metrics of both stages come first, the learning rate last
    ordered = sorted(lines_of.items(), key=lambda item: (item[0] == "learning_rate", -len(item[1])))
    return tuple(
        draw_lines(lines, title=f"{model}: {name.replace('_', ' ')}", x_label=x_label, y_label=name)
        for name, lines in ordered
    )


def _sort_facts(
    run: Mapping,
) -> tuple[tuple[Fact, ...], tuple[tuple[str, tuple[Fact, ...]], ...]]:
    """Return the plain facts of a run.json, and the nested ones (parameters, versions) by title."""
    plain, folded = [], []
    for name, value in run.items():
        if isinstance(value, Mapping) and value:
            folded.append((_title_of(name).capitalize(), _make_facts(value.items())))
        # The identity has the method's title.
        elif name != "method" and value is not None and not isinstance(value, Mapping | list):
            plain.append((name, value))  # lists are the history, which the curves show
    return _make_facts(plain), tuple(folded)


def _make_facts(items: Iterable[tuple[str, object]]) -> tuple[Fact, ...]:
    return tuple(Fact(_title_of(str(name)), _format_fact(value)) for name, value in items)


def _title_of(name: str) -> str:
    return _FACT_TITLES.get(name, name.replace("_", " "))


def _format_fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _thin(steps: list[float], values: list[float]) -> Curve:
    """Return at most about 300 points, evenly spaced; the last one is kept."""
    # -(-a // b) rounds up.
    stride = -(-len(steps) // _NUM_DRAWN_POINTS)
    if stride <= 1:
        return steps, values
    kept = sorted({*range(0, len(steps), stride), len(steps) - 1})
    return [steps[i] for i in kept], [values[i] for i in kept]


def _to_float(text: str | None) -> float | None:
    """Return the number of a cell; infinity is NaN, which a chart leaves out."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return math.nan if math.isinf(value) else value
