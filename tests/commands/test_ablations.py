"""The ablations that docs/experiments.md lists are right, value by value, before they run."""

import itertools
import re
import shutil

import pytest
import yaml

from pipeline.__main__ import main
from pipeline.base.project import Project
from stages.check import check_params
from tests.helpers.checkouts import set_parameter
from tests.helpers.manual_pages import read_commands
from tests.helpers.paths import ROOT


def read_ablations() -> list[tuple[str, tuple[str, ...]]]:
    """Return each recipe with the overrides of each of its commands."""
    ablations, recipe = [], ""
    for command in read_commands("docs/experiments.md"):
        words = command.words
        if words[:2] == ("earshot", "use"):
            recipe = words[2]
        elif words[:4] == ("dvc", "exp", "run", "--queue") and recipe and not command.is_mention:
            overrides = [word for word in words[4:] if word != "-S"]
            ablations.append((recipe, tuple(overrides)))
    return ablations


ABLATIONS = read_ablations()


def test_all_commands_were_found():
    assert len(ABLATIONS) >= 12
    assert {recipe for recipe, _ in ABLATIONS} >= {"ezvsl_vggsound_144k", "lvs_vggsound_144k"}


@pytest.mark.parametrize(("recipe", "overrides"), ABLATIONS)
def test_each_value_of_a_grid_is_accepted(tmp_path, recipe, overrides):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    assert main(["--root", str(tmp_path), "use", recipe]) == 0
    text = (tmp_path / "params.yaml").read_text()

    # Commas between brackets belong to a list; others separate the values of a grid.
    grids = []
    for override in overrides:
        name, _, values = override.removeprefix("++").partition("=")
        if not override.startswith("++"):
            Project.load(tmp_path).section(name)  # DVC refuses a key that is not there
        grids.append([(name, value) for value in re.split(r",(?![^\[]*\])", values)])

    for chosen in itertools.product(*grids):
        params = yaml.safe_load(text)
        for name, value in chosen:
            set_parameter(params, name, yaml.safe_load(value))
        check_params(Project(tmp_path, params))
