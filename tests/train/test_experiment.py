"""What a run reads of params.yaml and the tables, and which run it begins with."""

import json
import shutil

import numpy as np
import pytest
import yaml

import stages.inputs
from earshot.errors import ParameterError
from earshot.files import sha256_of
from earshot.tables import SAMPLES, read_table, write_table
from pipeline.base.project import Project
from tests.helpers.toy_project import make_toy_project
from train.experiment import read_experiment, train_run
from train.runs.run_folder import MODEL_NAME, read_run
from train.runs.settings import list_first_runs
from train.runs.tensor_files import load_tensors


def make_project(folder, *, without_boxes=(), **settings):
    """Make a project whose samples of some splits lack boxes, all but one of each split."""
    project = make_toy_project(folder, {"mine": {"method": "ezvsl", **settings}})
    path = project.samples_table_path("sample")
    rows = read_table(path, SAMPLES).to_pylist()
    for split in without_boxes:
        for row in [row for row in rows if row["splits"] == [split]][1:]:
            row["boxes"] = row["box_annotators"] = None
    write_table(path, rows, SAMPLES)
    return project


def test_the_split_that_selects_is_asked_for_boxes(tmp_path, capsys):
    """It used to be the val split, also when the test split selects."""
    project = make_project(tmp_path / "a", without_boxes=["val"], select_on="test")
    experiment = read_experiment(project, "mine")
    score = experiment.make_score()
    assert score is not None
    ids = experiment.data.test_ids
    assert 0 <= score(ids, np.random.default_rng(0).random((len(ids), 4, 4))) <= 1
    assert capsys.readouterr().err == ""

    project = make_project(tmp_path / "b", without_boxes=["test"], select_on="test")
    assert read_experiment(project, "mine").make_score() is None
    words = "mine: 1 of the 4 samples of the test split have boxes, so epochs are compared by their"
    assert words in capsys.readouterr().err


def test_a_published_score_needs_boxes(tmp_path):
    project = make_project(tmp_path, without_boxes=["val"], select_by="ezvsl_val")
    with pytest.raises(ParameterError, match="mine: select_by is ezvsl_val, but 1 of the 4"):
        read_experiment(project, "mine").make_score()


def test_the_published_score_of_ezvsl_is_its_success_rate(tmp_path):
    """A map that is right in all of the ground truth and nowhere else succeeds, its inverse fails.

    The rule marks half of a picture, so the boxes are half of it, too.
    """
    project = make_project(tmp_path, select_by="ezvsl_val")
    path = project.samples_table_path("sample")
    rows = read_table(path, SAMPLES).to_pylist()
    for row in rows:
        row["boxes"] = [[0.0, 0.0, 0.5, 1.0]]
    write_table(path, rows, SAMPLES)

    experiment = read_experiment(project, "mine")
    left = np.repeat([[1.0, 1.0, 0.0, 0.0]], 4, axis=0)
    maps = np.stack([left, left, left, 1 - left])
    score = experiment.make_score()
    assert score is not None
    assert score(experiment.data.val_ids, maps) == 0.75


def change_run(project: Project, name: str, **settings) -> Project:
    """Change the section of a run in params.yaml."""
    params = dict(project.params)
    params["train"] = {**params["train"], name: {**params["train"][name], **settings}}
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))
    return Project.load(project.root)


def test_a_run_that_begins_with_another_trains_it_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = {
        "second": {"method": "lvs", "init": "cache/runs/first", "learning_rate": 1e-12},
        "first": {"method": "lvs"},
    }
    project = make_toy_project(tmp_path, runs)
    first, second = (project.run_dir(name) / MODEL_NAME for name in ("first", "second"))
    train_run(project, "second")
    assert "second: begins with the weights of first, which comes first" in capsys.readouterr().err
    facts = read_run(second.parent)
    assert facts["initial_sha256"] == sha256_of(first)
    assert facts["is_initially_trained"]
    weights = [load_tensors(path)["model"]["imgnet.conv1.weight"] for path in (first, second)]
    np.testing.assert_allclose(*weights, atol=1e-9)

    # The stage "inputs" tells DVC of it.
    monkeypatch.setattr(stages.inputs, "describe_inputs", lambda *_: {})
    stages.inputs.main(project)
    described = json.loads(project.run_inputs_path("second").read_text())
    assert described["begins_with"]["first"]["parameters"]["method"] == "lvs"
    assert json.loads(project.run_inputs_path("first").read_text()) == {}

    # Nothing is trained again, also where somebody pulled the runs alone.
    before = second.read_bytes()
    assert "brought back" in train_run(project, "second")
    shutil.rmtree(project.training_dir)
    train_run(project, "second")
    assert "comes first" not in capsys.readouterr().err
    assert second.read_bytes() == before

    # Another first run makes another second one.
    project = change_run(project, "first", seed=1)
    train_run(project, "second")
    assert "comes first" in capsys.readouterr().err
    assert read_run(second.parent)["initial_sha256"] == sha256_of(first)
    assert second.read_bytes() != before


def test_runs_that_begin_with_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = {
        "a": {"method": "lvs", "init": "cache/runs/b"},
        "b": {"method": "lvs", "init": "cache/runs/a"},
    }
    params = {"train": {name: {**run, "width": 8} for name, run in runs.items()}}
    with pytest.raises(ParameterError, match="begins with a, which begins with b itself"):
        list_first_runs(Project(tmp_path, params), "a")
