"""What a run reads of params.yaml and the tables, before it trains."""

import numpy as np
import pytest

from earshot.errors import ParameterError
from earshot.tables import SAMPLES, read_table, write_table
from tests.helpers.toy_project import make_toy_project
from train.experiment import read_experiment


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
