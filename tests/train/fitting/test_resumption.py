"""Training survives SIGKILL exactly, and agrees over processes."""

import json
import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.helpers.toy_features import write_features
from tests.helpers.toy_runs import TINY, run
from tests.helpers.training_processes import start_script, step_losses
from train.fitting.lightning_module import TrainingModule
from train.models.training_parameters import HardwareParameters


def copy_features(toy, folder: Path) -> Path:
    """Return a copy of the features: runs are written beside them, and each test has its own."""
    for path in toy[1].values():
        shutil.copytree(path, folder / path.name)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "ezvsl"},
        {"method": "fnac", "num_contrast_epochs": 2},  # killed while its loss is EZ-VSL's alone
        {"method": "slavc", "momentum": 0.5},
    ],
    ids=lambda settings: settings["method"],
)
def test_a_killed_run_goes_on_exactly(toy, tmp_path, settings):
    folder = copy_features(toy, tmp_path)
    hardware = {"checkpoint_every_seconds": 0}
    parameters = {**TINY, "epochs": 3, **settings}
    whole = start_script(folder, run="whole", parameters=parameters)
    killed = start_script(
        folder, run="killed", parameters=parameters, hardware=hardware, seconds_a_step=0.2
    )
    printed = ""
    for line in killed.stdout:
        printed += line
        if line.startswith("STEP 6 "):  # in the middle of the second epoch of four steps
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    expected, _ = whole.communicate()
    assert (folder / "killed" / "state.ckpt").exists()
    assert not (folder / "killed" / "model.ckpt").exists()
    (folder / "killed" / ".tmp-1-state.ckpt").write_bytes(
        b"of a process that was killed as it wrote"
    )
    resumed = start_script(folder, run="killed", parameters=parameters, hardware=hardware, noise=9)
    output, log = resumed.communicate()
    assert "going on from" in log
    steps = step_losses(output)
    assert 5 <= min(steps) <= 7
    assert step_losses(printed) | steps == step_losses(expected)
    assert (folder / "killed" / "model.ckpt").read_bytes() == (
        folder / "whole" / "model.ckpt"
    ).read_bytes()
    for name in ("train_loss", "val_loss") if find_spec("dvclive") else ():
        metric = Path("log", "plots", "metrics", f"{name}.tsv")
        assert (folder / "killed" / metric).read_text() == (folder / "whole" / metric).read_text()
    assert not list((folder / "killed").glob("*state.ckpt"))


def test_a_killed_run_of_two_processes_goes_on_exactly(toy):
    """Kill both processes in the second epoch.

    Its steps are then taken again from the state at the end of the first.
    """
    folder, *_ = toy
    hardware = {"devices": 2, "checkpoint_every_seconds": 0}
    parameters = {"method": "ezvsl", **TINY, "epochs": 2}
    killed = start_script(
        folder, run="two_killed", parameters=parameters, hardware=hardware, seconds_a_step=0.2
    )
    printed = ""
    for line in killed.stdout:
        printed += line
        if "STEP 6 " in line:
            os.killpg(killed.pid, signal.SIGKILL)
            break
    killed.communicate()
    assert (folder / "two_killed" / "state.ckpt").exists()
    resumed = start_script(
        folder, run="two_killed", parameters=parameters, hardware=hardware, noise=9
    )
    output, log = resumed.communicate()
    assert resumed.returncode == 0, log[-2000:]
    assert "going on from" in log
    before, after = step_losses(printed), step_losses(output)
    assert (min(after), max(after)) == (5, 8)
    assert {5, 6} <= set(before)
    assert [after[step] for step in (5, 6)] == [before[step] for step in (5, 6)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "htf", "freeze_vision": False},
        {"method": "fnac", "dropout": 0.0, "mask_width": 0, "num_contrast_epochs": 1},
        {"method": "slavc", "dropout": 0.0, "negatives": "gathered", "momentum": 0.5},
    ],
    ids=lambda parameters: parameters["method"],
)
def test_two_processes_equal_one_with_the_same_global_batch(toy, tmp_path, parameters):
    """Compare the losses of two processes and of one, in double precision.

    They agree to the last printed digit; in single, rounding would grow with every step. Of the 11
    samples of validation the last batch has three. Without dropout, which draws for each process.
    """
    folder = copy_features(toy, tmp_path)
    settings = {"parameters": {**TINY, **parameters}, "num_samples": 44}
    one = start_script(folder, run="one", hardware={"precision": "float64"}, **settings)
    two = start_script(
        folder, run="two", hardware={"precision": "float64", "devices": 2}, **settings
    )
    expected, found = one.communicate()[0], two.communicate()
    assert two.returncode == 0, found[1][-2000:]
    assert len(step_losses(expected)) == 2 * (33 // 8)
    assert step_losses(found[0]) == pytest.approx(step_losses(expected), abs=2e-8)
    val_losses = [
        [row["val_loss"] for row in json.loads((folder / name / "run.json").read_text())["history"]]
        for name in ("one", "two")
    ]
    assert val_losses[1] == pytest.approx(val_losses[0], abs=1e-7)


def test_state_of_other_parameters_is_not_continued(toy, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    torch.save({"earshot_fingerprint": "other"}, tmp_path / "run" / "state.ckpt")
    run(toy, tmp_path / "run")
    assert "starting anew" in capsys.readouterr().err


def test_state_of_other_features_is_not_continued(toy, tmp_path, monkeypatch, capsys):
    """Start anew where the cached features, which ``state_key`` stands for, are others.

    A run that was killed must not go on with other data, nor with the same in other shards, where
    an epoch has another order.
    """
    original = TrainingModule.training_step

    def interrupted(self, batch, batch_index):
        if self.trainer.global_step == 6:
            raise RuntimeError("killed")
        return original(self, batch, batch_index)

    hardware = HardwareParameters(accelerator="cpu", num_threads=1, checkpoint_every_seconds=0)
    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    for key, words in (("a", ""), ("b", "starting anew"), ("b", "going on from")):
        with pytest.raises(RuntimeError, match="killed"):
            run(toy, tmp_path / "run", hardware=hardware, state_key=key)
        assert words in capsys.readouterr().err
    dirs, ids, centres = write_features(tmp_path / "others", 48, shard_rows=12)
    others = tmp_path, dirs, ids, centres
    with pytest.raises(RuntimeError, match="killed"):
        run(others, tmp_path / "run", hardware=hardware, state_key="b")
    assert "starting anew" in capsys.readouterr().err
    monkeypatch.undo()
    run(others, tmp_path / "run", hardware=hardware, state_key="b")
    assert "going on from" in capsys.readouterr().err
