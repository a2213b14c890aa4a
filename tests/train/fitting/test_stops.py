"""A run that went wrong stops, says why, and keeps the last good epoch."""

import json

import pytest
import torch

from earshot.errors import RunError
from tests.helpers.training.toy_runs import run, tiny
from train.fitting.lightning_module import TrainingModule
from train.runs.tensor_files import load_tensors


def test_nan_stops_the_run_and_keeps_the_best_epoch(toy, tmp_path, monkeypatch):
    original = TrainingModule.compute_loss

    def poisoned(self, batch):
        loss, embeddings = original(self, batch)
        return (
            loss * float("nan") if self.trainer.global_step >= 6 and self.training else loss
        ), embeddings

    monkeypatch.setattr(TrainingModule, "compute_loss", poisoned)
    with pytest.raises(
        RunError, match=r"ezvsl: the training loss is not finite .* at epoch 1, step 7; stopped"
    ):
        run(toy, tmp_path / "run", tiny(epochs=5))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["best_epoch"]) == ("stopped", 0)
    assert "not finite" in facts["reason"]
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert all(values.isfinite().all() for values in state.values())


def test_weights_spoiled_by_the_last_step_of_an_epoch_are_never_kept(toy, tmp_path, monkeypatch):
    """No loss tells of them before the next epoch, and ``last`` would keep whatever there is."""
    step = TrainingModule.optimizer_step

    def spoiling_step(self, epoch, *arguments, **options):
        step(self, epoch, *arguments, **options)
        if self.trainer.global_step == 7:  # counted only afterwards
            self.model.img_proj.bias.data[0] = float("nan")

    monkeypatch.setattr(TrainingModule, "optimizer_step", spoiling_step)
    with pytest.raises(
        RunError,
        match=r"ezvsl: weights are not finite .* at the end of epoch 1, first img_proj.bias;",
    ):
        run(toy, tmp_path / "run", tiny(epochs=2, select_on="last"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 0
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert all(values.isfinite().all() for values in state.values())


def test_a_selection_score_that_is_not_a_number_stops_the_run(toy, tmp_path):
    scores = iter([0.5, float("nan")])
    with pytest.raises(
        RunError, match=r"ezvsl: the selection score is not finite \(nan\) at epoch 1; stopped"
    ):
        run(toy, tmp_path / "run", tiny(epochs=5), score_maps=lambda ids, maps: next(scores))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 0
    assert (tmp_path / "run" / "model.ckpt").exists()


def test_embeddings_that_collapse_stop_the_run(toy, tmp_path, monkeypatch):
    original = TrainingModule.compute_loss

    def collapsed(self, batch):
        loss, embeddings = original(self, batch)
        return loss, embeddings | {"audio": torch.ones_like(embeddings["audio"])}

    monkeypatch.setattr(TrainingModule, "compute_loss", collapsed)
    with pytest.raises(
        RunError, match="collapsed at epoch 2: for 3 epochs every sound has had the same embedding"
    ):
        run(toy, tmp_path / "run", tiny(epochs=9))
    assert (tmp_path / "run" / "model.ckpt").exists()


def test_a_loss_that_stands_still_stops_the_run(toy, tmp_path):
    with pytest.raises(
        RunError, match=r"the training loss has been .* for 4 epochs, nothing is learned"
    ):
        run(
            toy,
            tmp_path / "run",
            tiny(
                epochs=9,
                optimizer="sgd",
                learning_rate=1e-30,
                has_flip=False,
                has_random_crop=False,
                is_shuffled=False,
            ),
        )
