"""The entrant ``*_untrained`` is the network as its run began."""

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from eval.results.evaluate import EvaluationParameters
from pipeline.base.project import Project
from tests.helpers.toy_project import TINY_RUN, make_toy_project
from train.inference.entrants import collect_entrants
from train.inference.predictor import load_predictor
from train.models.registry import build_parameters, make_model
from train.runs.run_folder import MODEL_NAME, write_model, write_run

RCGRAD = {**TINY_RUN, "method": "rcgrad"}


@pytest.fixture
def project(tmp_path) -> Project:
    """Return a project whose run ``mine`` began with a trained RCGrad."""
    source_dir = tmp_path / "source"
    source = build_parameters(RCGRAD, "test")
    write_model(source_dir, make_model(source, seed=5), source)

    project = make_toy_project(tmp_path / "project", {"mine": {"method": "rcgrad"}})
    parameters = build_parameters({**RCGRAD, "init": str(source_dir)}, "test")
    run_dir = project.run_dir("mine")
    write_model(run_dir, make_model(parameters, seed=6), parameters)
    facts = {
        "status": "ok",
        "selection": "val",
        "initial_sha256": sha256_of(source_dir / MODEL_NAME),
        "is_initially_trained": True,
    }
    write_run(run_dir, facts)
    return project


def collect(project):
    parameters = EvaluationParameters(baselines=())
    project.params["detections"] = {"datasets": []}
    return {entrant.name: entrant for entrant in collect_entrants(project, parameters)}


def test_it_has_the_first_weights_and_unknown_training_clips(project, tmp_path):
    entrants = collect(project)
    reader_of = {
        name: FeatureReader(project.feature_dir("sample", name)) for name in ("frames", "waveforms")
    }
    ids = reader_of["frames"].sample_ids[:2]
    maps = entrants["mine_untrained"].predict(ids, reader_of)

    source = build_parameters(RCGRAD, "test")
    write_model(tmp_path / "other", make_model(source, seed=5), source)
    expected = load_predictor(tmp_path / "other").predict(ids, reader_of)
    np.testing.assert_allclose(np.stack(list(maps)), expected, rtol=1e-4, atol=1e-5)
    # RCGrad was trained before, on clips that nobody knows here.
    assert entrants["mine"].training_clips is entrants["mine_untrained"].training_clips is None


@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_first_weights_that_changed_are_refused(project, tmp_path, change):
    path = tmp_path / "source" / MODEL_NAME
    if change == "gone":
        path.unlink()
    else:
        source = build_parameters(RCGRAD, "test")
        write_model(path.parent, make_model(source, seed=8), source)
    with pytest.raises(
        DataError, match=r"mine_untrained begins with the first weights of mine: .*has_untrained"
    ):
        collect(project)
