"""``use``: write the parameters of a published result, a recipe, into params.yaml.

A recipe is a file of the folder ``recipes``. Its section ``params`` holds dotted names and values;
what it does not name has the value of the recipe ``sample``. Other parameters stay as they are.
"""

import difflib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import click
import yaml

from earshot.errors import ParameterError
from earshot.files import publish_text
from pipeline.base.project import Project
from pipeline.commands.options import dry_run_option, find_root, pass_project
from pipeline.commands.yaml_text import read_value_texts, replace_values
from pipeline.datasets.dataset import describe_hand_work, find_user_paths, load
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.sites import PACES, find_site

_BASE = "sample"  # the recipe that params.yaml begins with

# For what to expect: a clip of 10 s at 360 lines (an estimate), and what features took in `sample`.
_MEGABYTES_PER_CLIP = 1.2
_MEGABYTES_PER_SAMPLE = 0.6  # frames, spectrograms and flow


@dataclass(frozen=True)
class Recipe:
    """What a published result was trained and tested on."""

    name: str
    about: str
    num_downloads: dict[str, int]  # by dataset: clips that are fetched one by one
    values: dict[str, str]  # dotted name -> value, as it is written in YAML


def _complete(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    root = find_root(context)
    return [name for name in list_recipes(root) if name.startswith(start)]


@click.command()
@click.argument("name", required=False, metavar="[RECIPE]", shell_complete=_complete)
@dry_run_option(help="show the changes, write nothing")
@pass_project
def run(project: Project, name: str | None, is_dry_run: bool) -> int:
    """List the recipes, or use one; return the exit code."""
    if name is None:
        recipes = [read_recipe(project.root, item) for item in list_recipes(project.root)]
        if not recipes:
            raise ParameterError(f"{project.root / 'recipes'}: holds no recipe (*.yaml)")
        width = max(len(recipe.name) for recipe in recipes)
        for recipe in recipes:
            print(f"{recipe.name:{width}}  {recipe.about}")
        return 0

    # Show what changes before it is written.
    recipe = read_recipe(project.root, name)
    old, new = apply_recipe(project.root, recipe)
    # `n=0` shows the lines that change and nothing around them.
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "params.yaml", f"params.yaml for {recipe.name}", n=0
    )
    print(*(line.rstrip("\n") for line in lines) if old != new else ["nothing changes"], sep="\n")

    if not is_dry_run:
        publish_text(project.root / "params.yaml", new)
    print(f"\n{recipe.about}.")
    expectations = describe_expectations(recipe, replace(project, params=yaml.safe_load(new)))
    if expectations:
        print(*expectations, sep="\n")
    if not is_dry_run:
        print("Run `dvc repro`. To go back: earshot use sample")
    return 0


def list_recipes(root: Path) -> list[str]:
    """Return the names of all recipes of a checkout; the base comes first."""
    names = sorted(path.stem for path in (root / "recipes").glob("*.yaml"))
    # False sorts before True, and names with equal keys keep their order.
    return sorted(names, key=lambda name: name != _BASE)


def read_recipe(root: Path, name: str) -> Recipe:
    """Read a recipe of a checkout.

    Raises:
        ParameterError: there is no recipe of this name, or its file is wrong.
    """
    known = list_recipes(root)
    if name not in known:
        # A part of the name, such as that of the method, fits several.
        close = [recipe for recipe in known if name.lower() in recipe]
        close = close or difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ParameterError(f"unknown recipe {name!r}, {hint}expected one of {', '.join(known)}")

    # What a recipe does not name is as in the base, whatever was used before.
    values: dict[str, str] = {}
    # `fromkeys`, because the recipe can be the base itself.
    for part in dict.fromkeys((_BASE, name)):
        path = root / "recipes" / f"{part}.yaml"
        text = path.read_text(encoding="utf-8")
        try:
            values |= read_value_texts(text, "params")
            facts = yaml.safe_load(text)
            about = str(facts["about"])
            num_downloads = {
                dataset: int(number) for dataset, number in facts["num_downloads"].items()
            }
        except (
            *(ParameterError, AttributeError, KeyError, TypeError, ValueError),
            yaml.YAMLError,
        ) as error:
            raise ParameterError(
                f"{path}: {error}; expected about, num_downloads, rows and params"
            ) from None
    return Recipe(name, about, num_downloads, values)


def apply_recipe(root: Path, recipe: Recipe) -> tuple[str, str]:
    """Return the text of params.yaml, and the same with the values of a recipe; write nothing.

    Raises:
        ParameterError: params.yaml lacks a section that recipes change.
    """
    path = root / "params.yaml"
    old = path.read_text(encoding="utf-8")
    try:
        return old, replace_values(old, recipe.values)
    except ParameterError as error:
        raise ParameterError(
            f"{path}: {error}, expected one with its keys on lines of their own, because recipes "
            "set values there; `git show HEAD:params.yaml` has it"
        ) from None


def describe_expectations(recipe: Recipe, project: Project) -> list[str]:
    """Return in words what a recipe downloads, how long that takes, and the room it needs.

    Args:
        recipe: The recipe.
        project: The checkout with the parameters of the recipe.
    """
    download = project.parameters(DownloadParameters, "download")
    sections = {
        dataset: project.parameters(load(dataset).parameters, f"sources.{dataset}")
        for dataset in project.datasets
    }
    lines = []
    for dataset, section in sections.items():
        about = load(dataset)
        if about.release_gigabytes and not find_user_paths(about, section):
            lines.append(
                f"{dataset}: {about.release_gigabytes:g} GB are fetched at once. Name a release "
                f"that you have as sources.{dataset}.{about.release_parameters[0]}."
            )

    lines += [f"{sentence}." for sentence in describe_hand_work(project, project.datasets)]

    num_clips = sum(recipe.num_downloads.values())
    if num_clips == 0:
        return lines
    gigabytes = num_clips * (_MEGABYTES_PER_CLIP + _MEGABYTES_PER_SAMPLE) / 1000
    lines.append(f"About {num_clips:,} clips and {gigabytes:,.0f} GB with features.")

    for dataset, number in recipe.num_downloads.items():
        key = PACES[find_site(getattr(sections[dataset], "video_url", "")) or "other"]
        per_hour = getattr(download, key)
        # Without a pace there is nothing to estimate from.
        if per_hour:
            lines.append(
                f"Downloading {dataset} takes about {_format_hours(number / per_hour)} at "
                f"{per_hour:g} videos an hour (download.{key})."
            )
    lines.append("Use the clips that you have: earshot import FOLDER")
    lines.append(f"Hours and gigabytes of each stage on this machine: earshot plan {recipe.name}")
    return lines


def _format_hours(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.0f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{math.ceil(hours * 60)} minutes"
