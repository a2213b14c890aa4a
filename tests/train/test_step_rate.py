"""The rate of a training step: of a clock that is known, and of real runs on a made-up clip."""

import pytest
import torch
import yaml

import stages.step_rates
from pipeline.base.project import Project
from tests.helpers.paths import ROOT
from train.models.registry import build_parameters, make_model
from train.step_rate import Stepper


class Clock:
    """A clock that a step sets forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seconds", [1.2, 100.0])
def test_the_first_steps_are_not_timed(seconds):
    values = {"method": "lvs", "width": 4, "image_size": 32, "init": "random"}
    parameters = build_parameters(values, "run")
    clock, batches = Clock(), iter(range(20))
    stepper = Stepper(
        make_model(parameters),
        parameters,
        torch.device("cpu"),
        is_half=False,
        is_channels_last=False,
        clock=clock,
    )

    def step(batch: int) -> None:
        clock.now += 100.0 if batch < 2 else 0.5

    assert stepper.rate(batches, step, 8, seconds=seconds) == pytest.approx(2.0)
    # At most eight are timed, and fewer where the time is over.
    assert next(batches) == (2 + 3 if seconds == 1.2 else 2 + 8)


def test_runs_are_measured_on_a_clip_that_is_made_up(tmp_path, monkeypatch):
    monkeypatch.setattr("train.step_rate._MEASURED_SECONDS", 0.0)
    monkeypatch.setattr("pipeline.commands.measured_rates._MADE_UP_SIZE", "96x64")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"]["mine"] = {"method": "coarsetofine", "init": "random", "labels": "nowhere.npz"}
    small = {"batch_size": 8, "image_size": 32, "map_stride": 16, "width": 8, "audio_width": 8}
    params["train_presets"]["small"] |= small

    # A thousand fit into memory, a billion do not.
    runs = {"htf": 1000, "hardpos": 10**9, "mine": 1000}
    answers = stages.step_rates.main(Project(tmp_path, params), runs)
    assert list(answers) == list(runs)
    for name in ("htf", "hardpos"):
        assert answers[name].get("samples_per_second", 0) > 0, answers[name]
        assert answers[name]["device"] == "cpu" or torch.cuda.is_available()
    # What one run lacks does not keep the others from being measured.
    assert answers["mine"]["problem"].startswith("labels nowhere.npz")
