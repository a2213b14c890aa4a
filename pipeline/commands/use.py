"""``use``: write the parameters of a published result, a recipe, into params.yaml.

A recipe is a file of the folder ``recipes``. Its section ``params`` holds dotted names and values;
what it does not name has the value of the recipe ``sample``. Other parameters stay as they are.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from earshot.errors import ParameterError
from earshot.files import publish_text
from pipeline.base.project import Project
from pipeline.commands.options import dry_run_option, find_root, pass_project
from pipeline.commands.yaml_text import read_value_texts, replace_values
from pipeline.downloads.parameters import DownloadParameters

_BASE = "sample"  # the recipe that params.yaml begins with

# For what to expect: a clip of 10 s at 360 lines (an estimate), and what features took in `sample`.
_MEGABYTES_PER_CLIP = 1.2
_MEGABYTES_PER_SAMPLE = 0.6  # frames, spectrograms and flow


@dataclass(frozen=True)
class Recipe:
    """What a published result was trained and tested on."""

    name: str
    about: str
    num_downloads: int  # clips that are fetched one by one
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
        width = max(len(recipe.name) for recipe in recipes)
        for recipe in recipes:
            print(f"{recipe.name:{width}}  {recipe.about}")
        return 0

    # Show what changes before it is written.
    recipe = read_recipe(project.root, name)
    path = project.root / "params.yaml"
    old = path.read_text(encoding="utf-8")
    new = replace_values(old, recipe.values)
    # `n=0` shows the lines that change and nothing around them.
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "params.yaml", f"params.yaml for {recipe.name}", n=0
    )
    print(*(line.rstrip("\n") for line in lines) if old != new else ["nothing changes"], sep="\n")
    if is_dry_run:
        return 0

    publish_text(path, new)
    print(f"\n{recipe.about}.")
    print(
        *describe_expectations(recipe, project.parameters(DownloadParameters, "download")), sep="\n"
    )
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
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ParameterError(f"unknown recipe {name!r}{hint} Known: {', '.join(known)}")

    # What a recipe does not name is as in the base, whatever was used before.
    values: dict[str, str] = {}
    # `fromkeys`, because the recipe can be the base itself.
    for part in dict.fromkeys((_BASE, name)):
        path = root / "recipes" / f"{part}.yaml"
        text = path.read_text(encoding="utf-8")
        try:
            values |= read_value_texts(text, "params")
            facts = yaml.safe_load(text)
            about, num_downloads = str(facts["about"]), int(facts["num_downloads"])
        except (ParameterError, KeyError, ValueError, yaml.YAMLError) as error:
            raise ParameterError(
                f"{path}: {error}; expected about, num_downloads, rows and params"
            ) from None
    return Recipe(name, about, num_downloads, values)


def describe_expectations(recipe: Recipe, download: DownloadParameters) -> list[str]:
    """Return in words what a recipe downloads, how long that takes, and the room it needs."""
    if recipe.num_downloads == 0:
        return []

    gigabytes = recipe.num_downloads * (_MEGABYTES_PER_CLIP + _MEGABYTES_PER_SAMPLE) / 1000
    lines = [f"About {recipe.num_downloads:,} clips and {gigabytes:,.0f} GB with features."]

    # Without a pace there is nothing to estimate from.
    if download.videos_per_hour:
        days = recipe.num_downloads / download.videos_per_hour / 24
        lines.append(
            f"Downloading takes about {days:,.0f} days at {download.videos_per_hour:g} videos an "
            "hour (download.videos_per_hour). Use the clips that you have: "
            "earshot import FOLDER"
        )
    return lines
