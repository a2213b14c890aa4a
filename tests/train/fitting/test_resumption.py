"""Training survives SIGKILL exactly."""

import functools
import itertools
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from earshot.errors import DataError
from tests.helpers.training.toy_features import write_features
from tests.helpers.training.toy_runs import TINY, run, tiny
from tests.helpers.training.training_processes import start_script, step_losses
from tests.helpers.training.training_script import train_and_print
from train.fitting import epoch_end
from train.fitting.lightning_module import TrainingModule
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import HardwareParameters
from train.runs.run_folder import write_model

KILLABLE = HardwareParameters(accelerator="cpu", num_threads=1, checkpoint_every_seconds=0)


def test_a_killed_run_goes_on_exactly(toy, tmp_path, capsys):
    parameters = {**TINY, "method": "ezvsl", "epochs": 3}
    killed = start_script(
        toy[1],
        tmp_path / "killed",
        parameters=parameters,
        hardware={"checkpoint_every_seconds": 0},
        seconds_a_step=0.2,
    )
    printed = ""
    for line in killed.stdout:
        printed += line
        if line.startswith("STEP 6 "):  # in the middle of the second epoch of four steps
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert (tmp_path / "killed" / "state.ckpt").exists()
    assert not (tmp_path / "killed" / "model.ckpt").exists()
    (tmp_path / "killed" / ".tmp-1-state.ckpt").write_bytes(
        b"of a process that was killed as it wrote"
    )

    options = {"parameters": parameters, "num_samples": 48}
    train_and_print(toy[1], tmp_path / "whole", options)
    expected = step_losses(capsys.readouterr().out)
    options |= {"hardware": {"checkpoint_every_seconds": 0}, "noise": 9}
    train_and_print(toy[1], tmp_path / "killed", options)
    output, log = capsys.readouterr()
    assert "going on from" in log
    steps = step_losses(output)
    assert 5 <= min(steps) <= 7
    assert step_losses(printed) | steps == expected
    assert (tmp_path / "killed" / "model.ckpt").read_bytes() == (
        tmp_path / "whole" / "model.ckpt"
    ).read_bytes()
    for name in ("train_loss", "val_loss") if find_spec("dvclive") else ():
        metric = Path("log", "plots", "metrics", f"{name}.tsv")
        assert (tmp_path / "killed" / metric).read_text() == (
            tmp_path / "whole" / metric
        ).read_text()
    assert not list((tmp_path / "killed").glob("*state.ckpt"))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "fnac", "num_contrast_epochs": 2},  # stopped while its loss is EZ-VSL's alone
        {"method": "slavc", "momentum": 0.5},
        {"method": "hardpos", "num_neighbours": 5},
        {"method": "sslalignment", "num_neighbours": 5},
    ],
    ids=lambda settings: settings["method"],
)
def test_methods_with_a_memory_go_on_exactly(toy, tmp_path, monkeypatch, settings):
    """Stop in the second epoch: copies of weights, and what the epoch decides, are kept.

    So are the draws of neighbours.
    """
    if "num_neighbours" in settings:
        encoder = build_parameters({**TINY, "method": "lvs"}, "test")
        write_model(tmp_path / "encoder", make_model(encoder), encoder)
        settings |= dict.fromkeys(("frame_encoder", "sound_encoder"), str(tmp_path / "encoder"))
    parameters = build_parameters({**TINY, "epochs": 3, **settings}, "test")
    run(toy, tmp_path / "whole", parameters)

    stop_at(monkeypatch, step=6)
    with pytest.raises(RuntimeError, match="killed"):
        run(toy, tmp_path / "stopped", parameters, KILLABLE)
    monkeypatch.undo()
    torch.manual_seed(9)
    run(toy, tmp_path / "stopped", parameters, KILLABLE)
    assert (tmp_path / "stopped" / "model.ckpt").read_bytes() == (
        tmp_path / "whole" / "model.ckpt"
    ).read_bytes()


def test_throughput_is_of_the_samples_that_were_timed(toy, tmp_path, monkeypatch):
    """A set that is smaller than a batch, and the second half of an epoch."""
    # A clock that goes on by a second whenever it is read: an epoch takes one.
    clock = SimpleNamespace(monotonic=functools.partial(next, itertools.count()))
    monkeypatch.setattr(epoch_end, "time", clock)
    result = run(toy, tmp_path / "small", tiny(batch_size=64))
    assert [row["samples_per_second"] for row in result.history] == [32, 32]

    with monkeypatch.context() as patch:
        stop_at(patch, step=6)
        with pytest.raises(RuntimeError, match="killed"):
            run(toy, tmp_path / "stopped", hardware=KILLABLE)
    result = run(toy, tmp_path / "stopped", hardware=KILLABLE)
    assert [row["samples_per_second"] for row in result.history] == [32, 16]


def stop_at(monkeypatch, *, step: int) -> None:
    """Let each training end with an error before this step, from 0."""
    original = TrainingModule.training_step

    def interrupted(self, batch, batch_index):
        if self.trainer.global_step == step:
            raise RuntimeError("killed")
        return original(self, batch, batch_index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)


def test_a_killed_run_of_two_processes_goes_on_exactly(toy, tmp_path):
    """Kill both processes in the second epoch.

    Its steps are then taken again from the state at the end of the first.
    """
    hardware = {"devices": 2, "checkpoint_every_seconds": 0}
    parameters = {"method": "ezvsl", **TINY, "epochs": 2}
    folders = toy[1], tmp_path / "run"
    killed = start_script(*folders, parameters=parameters, hardware=hardware, seconds_a_step=0.2)
    printed = ""
    for line in killed.stdout:
        printed += line
        if "STEP 6 " in line:
            os.killpg(killed.pid, signal.SIGKILL)
            break
    killed.communicate()
    assert (tmp_path / "run" / "state.ckpt").exists()
    resumed = start_script(*folders, parameters=parameters, hardware=hardware, noise=9)
    output, log = resumed.communicate()
    assert resumed.returncode == 0, log[-2000:]
    assert "going on from" in log
    before, after = step_losses(printed), step_losses(output)
    assert (min(after), max(after)) == (5, 8)
    assert {5, 6} <= set(before)
    assert [after[step] for step in (5, 6)] == [before[step] for step in (5, 6)]


def test_state_of_other_parameters_is_not_continued(toy, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    torch.save({"earshot_fingerprint": "other"}, tmp_path / "run" / "state.ckpt")
    run(toy, tmp_path / "run")
    assert "starting anew" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut off", "empty", "a list"])
def test_a_state_that_cannot_be_read_is_one_sentence(toy, tmp_path, damage):
    path = tmp_path / "state.ckpt"
    torch.save([1.0] if damage == "a list" else {"earshot_fingerprint": "other"}, path)
    if damage != "a list":
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"state.ckpt: .*; remove it to train from the beginning"):
        run(toy, tmp_path)
    assert path.exists()


def test_state_of_other_features_is_not_continued(toy, tmp_path, monkeypatch, capsys):
    """Start anew where the cached features, which ``state_key`` stands for, are others.

    A run that was killed must not go on with other data, nor with the same in other shards, where
    an epoch has another order.
    """
    stop_at(monkeypatch, step=6)
    for key, words in (("a", ""), ("b", "starting anew"), ("b", "going on from")):
        with pytest.raises(RuntimeError, match="killed"):
            run(toy, tmp_path / "run", hardware=KILLABLE, state_key=key)
        assert words in capsys.readouterr().err
    dirs, ids, centres = write_features(tmp_path / "others", 48, shard_rows=12)
    others = tmp_path, dirs, ids, centres
    with pytest.raises(RuntimeError, match="killed"):
        run(others, tmp_path / "run", hardware=KILLABLE, state_key="b")
    assert "starting anew" in capsys.readouterr().err
    monkeypatch.undo()
    run(others, tmp_path / "run", hardware=KILLABLE, state_key="b")
    assert "going on from" in capsys.readouterr().err
