"""``plan``: what a dataset or a recipe takes, and what of it is there, before days of waiting."""

import sys
from dataclasses import replace
from typing import Any

import click
import yaml

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.commands.options import find_root, format_option, pass_project
from pipeline.commands.output import render
from pipeline.commands.planned_dataset import plan_dataset
from pipeline.commands.planned_training import PlannedDataset, plan_trainings
from pipeline.commands.use import apply_recipe, list_recipes, read_recipe
from pipeline.datasets.dataset import find_own_tables
from pipeline.datasets.dataset import names as dataset_names

_COLUMNS = (
    "dataset",
    "stage",
    "there",
    "to_do",
    "requests",
    "hours",
    "cpu_hours",
    "gpu_hours",
    "gigabytes",
)

_UNCOUNTED = "evaluation is not counted, and neither is what a training does after each epoch"
_SMALLEST_SHOWN = 0.01  # in a table; what is less, but not nothing, becomes this


def _complete(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    root = find_root(context)
    return [name for name in (*list_recipes(root), *dataset_names()) if name.startswith(start)]


@click.command()
@click.argument("what", required=False, metavar="[RECIPE|DATASET]", shell_complete=_complete)
@click.option("--measure", "is_anew", is_flag=True, help="measure rates of this machine anew")
@format_option
@pass_project
def run(project: Project, what: str | None, is_anew: bool, output_format: str) -> int:
    """Print a line for each stage that fetches, computes or trains, then the assumptions."""
    planned = _choose(project, what)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    found: dict[str, PlannedDataset] = {}
    for dataset in planned.datasets:
        known = plan_dataset(planned, project, dataset, rows, notes, is_anew=is_anew)
        if known is not None:
            found[dataset] = known
    rows.extend(plan_trainings(planned, project, found, notes, is_anew=is_anew))

    # People read no 3.55e-05 hours.
    smallest = _SMALLEST_SHOWN if output_format == "table" else 0.0
    print(render([_round(row, smallest) for row in rows], _COLUMNS, output_format))
    # csv and json keep plain numbers and nothing else.
    stream = sys.stdout if output_format == "table" else sys.stderr
    for note in (*dict.fromkeys(notes), _UNCOUNTED):
        print(note, file=stream)
    return 0


def _choose(project: Project, what: str | None) -> Project:
    """Return the project with the parameters that are planned for; nothing is written."""
    if what is None:
        return project
    if what in list_recipes(project.root):
        # The text is changed as `use` would change it, but only in memory.
        _, text = apply_recipe(project.root, read_recipe(project.root, what))
        return replace(project, params=yaml.safe_load(text))
    known = (*dataset_names(), *find_own_tables(project.params))
    if what in known:
        return replace(project, params={**project.params, "datasets": [what]})
    raise ParameterError(
        f"{what}: neither a recipe ({', '.join(list_recipes(project.root)) or 'there are none'}) "
        f"nor a dataset ({', '.join(known)})"
    )


def _round(row: dict[str, Any], smallest: float) -> dict[str, Any]:
    """Keep three digits that count; values between 0 and ``smallest`` become that."""
    return {
        key: float(f"{max(value, smallest) if value else 0.0:.3g}")
        if isinstance(value, float)
        else value
        for key, value in row.items()
    }
