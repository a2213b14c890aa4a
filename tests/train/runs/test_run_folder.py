"""The files of a run that are not what this version wrote are refused in one sentence."""

import pytest
import torch

from earshot.errors import DataError
from tests.helpers.training.toy_runs import tiny
from train.models.registry import make_model
from train.runs.run_folder import read_model, read_run, write_model
from train.runs.tensor_files import load_tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2, "weights": {}}, "has version 2 of the format, expected 1; .* train the"),
        ({"model": None}, "weights do not fit its own parameters"),
        ({"model": [1.0]}, "weights do not fit its own parameters"),
    ],
)
def test_a_model_of_another_version_or_without_weights_is_refused(tmp_path, change, words):
    """A run folder may come from a machine with a newer Earshot."""
    write_model(tmp_path, make_model(tiny()), tiny())
    torch.save({**load_tensors(tmp_path / "model.ckpt"), **change}, tmp_path / "model.ckpt")
    with pytest.raises(DataError, match=words):
        read_model(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_facts_that_are_no_mapping_are_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run.json: holds .*, expected the facts of a run"):
        read_run(tmp_path)
    with pytest.raises(DataError, match=r"run.json: holds"):
        read_model(tmp_path)
