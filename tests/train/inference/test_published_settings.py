"""What a run has that its published row does not have."""

import pytest

from pipeline.base.project import Project
from pipeline.commands.use import list_recipes, read_recipe
from tests.helpers.paths import ROOT
from train.inference.published_settings import list_own_settings
from train.models.registry import build_parameters
from train.runs.settings import read_run_parameters


def test_runs_of_recipes_have_the_networks_and_losses_of_their_authors():
    project, seen = Project.load(ROOT), set()
    for name in list_recipes(ROOT):
        models = read_recipe(ROOT, name).values["models"].strip("[]").split(", ")
        # The runs of the embedded dataset are smaller, for CPUs.
        for run in models if not name.startswith("sample") else []:
            if run:
                assert list_own_settings(read_run_parameters(project, run)) == (), run
                seen.add(run)
    assert len(seen) > 25

    assert "width 12 (published: 64)" in list_own_settings(read_run_parameters(project, "ezvsl"))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"method": "ezvsl", "epochs": 3, "object_guidance": "l1", "seed": 2}, ()),
        ({"method": "ezvsl", "matching": "average"}, ("matching average (published: max)",)),
        ({"method": "ezvsl", "margin": -0.2}, ()),
        ({"method": "ezvsl", "margin": 0.1}, ("margin 0.1 (published: -0.2)",)),
        (
            {"method": "lvs", "has_hard_negatives": False},
            ("has_hard_negatives False (published: True)",),
        ),
        (
            {"method": "ezvsl", "width": 16, "audio_width": 32},
            ("width 16 (published: 64)", "audio_width 32 (published: 0)"),
        ),
        (
            {"method": "htf"},
            ("flow_encoding signed (published: jpeg)", "flow_scale 1 (published: 0.00392157)"),
        ),
    ],
)
def test_what_differs_is_named(settings, found):
    assert list_own_settings(build_parameters(settings, "test")) == found
