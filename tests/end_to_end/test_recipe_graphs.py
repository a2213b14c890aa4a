"""Each recipe gives a graph that DVC accepts, with one stage for all that its runs read."""

import shutil

import pytest
from dvc.repo import Repo

from pipeline.__main__ import main
from pipeline.base.project import Project
from pipeline.commands.use import list_recipes
from tests.helpers.paths import ROOT

RECIPES = list_recipes(ROOT)


@pytest.mark.parametrize("name", RECIPES)
def test_the_graph_of_a_recipe(tmp_path, monkeypatch, name):
    for file in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True)
    assert main(["--root", str(tmp_path), "use", name]) == 0

    repo = Repo(tmp_path)
    stages = [stage.name for stage in repo.index.stages]
    repo.index.check_graph()  # no output twice, no circle
    assert len(stages) == len(set(stages))

    project = Project.load(tmp_path)
    datasets = project.datasets
    expected = {f"train@{run}" for run in project.names("models")}
    expected |= {f"weights@{run}" for run in project.names("released")}
    expected |= {
        f"variants@{one}-{other}" for one in project.names("variants") for other in datasets
    }
    expected |= {
        f"{stage}@{dataset}"
        for stage in ("sources", "download", "frames", "flow", "spectrograms")
        for dataset in datasets
    }
    expected |= {f"waveforms@{dataset}" for dataset in project.names("waveform_datasets")}
    expected |= {f"sequences@{dataset}" for dataset in project.names("sequence_datasets")}
    expected |= {f"detections@{dataset}" for dataset in project.names("detections.datasets")}
    assert set(stages) == expected | {"inputs", "evaluate", "report"}
