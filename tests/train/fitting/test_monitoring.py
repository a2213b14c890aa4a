"""Loggers and callbacks by name watch a training and change nothing in it."""

import socket
import sys
from typing import ClassVar

import lightning
import pytest
from lightning.pytorch import loggers as lightning_loggers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from earshot.errors import ParameterError
from tests.helpers.toy_project import make_toy_project
from tests.helpers.training.toy_runs import losses, run
from train.experiment import train_run
from train.fitting.history import History
from train.fitting.monitoring import make_callbacks, make_loggers
from train.models.training_parameters import MonitoringParameters


class Watcher(lightning.Callback):
    """Notes what a callback can see at the end of each epoch."""

    seen: ClassVar[list[float]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append(float(trainer.callback_metrics["val_loss"]))


def make_nothing() -> None:
    return None


def make_all(parameters: MonitoringParameters, folder) -> None:
    make_callbacks(parameters)
    make_loggers(parameters, folder, run="mine")


def read_scalars(folder) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [event.value for event in events.Scalars(name)] for name in names}


def test_tensorboard_has_the_history_and_the_model_is_the_same(toy, tmp_path):
    Watcher.seen.clear()
    monitoring = MonitoringParameters(
        loggers=("dvclive", "tensorboard", "lightning.pytorch.loggers.CSVLogger"),
        callbacks=(f"{__name__}.Watcher", "lightning.pytorch.callbacks.LearningRateMonitor"),
    )
    watched = run(toy, tmp_path / "watched", monitoring=monitoring)
    run(toy, tmp_path / "alone")
    model, other = (tmp_path / name / "model.ckpt" for name in ("watched", "alone"))
    assert model.read_bytes() == other.read_bytes()
    assert not (tmp_path / "alone" / "logs").exists()

    logs = tmp_path / "watched" / "logs"
    scalars = read_scalars(logs / "tensorboard" / "version_0")
    assert scalars["train_loss"] == pytest.approx(losses(watched))
    assert scalars["val_loss"] == pytest.approx([row["val_loss"] for row in watched.history])
    assert Watcher.seen == pytest.approx(scalars["val_loss"])
    assert "lr-Adam" in scalars  # of the other callback
    assert "train_loss" in (logs / "lightning_logs" / "version_0" / "metrics.csv").read_text()


def test_a_resumed_run_logs_its_earlier_epochs_too(tmp_path):
    loggers = make_loggers(MonitoringParameters(loggers=("tensorboard",)), tmp_path, run="mine")
    history = History(None, loggers)
    history.open([{"epoch": 0.0, "train_loss": 3.0}, {"epoch": 1.0, "train_loss": 2.0}])
    history.append({"epoch": 2.0, "train_loss": 1.0})
    loggers[0].finalize("success")
    assert read_scalars(tmp_path / "tensorboard" / "version_0") == {"train_loss": [3.0, 2.0, 1.0]}


def test_wandb_sends_nothing(tmp_path, monkeypatch):
    asked = {}

    def record(self, **settings):
        asked.update(settings)

    monkeypatch.setattr(lightning_loggers.WandbLogger, "__init__", record)
    make_loggers(MonitoringParameters(loggers=("wandb",)), tmp_path, run="mine")
    expected = {"project": "earshot", "name": "mine", "save_dir": tmp_path, "offline": True}
    assert asked == expected


def test_wandb_itself_keeps_each_run_on_this_machine(toy, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="not installed: pip install '.[loggers]'")
    monkeypatch.setenv("HOME", str(tmp_path))  # without settings or a login of this user
    monkeypatch.setenv("WANDB_SILENT", "true")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        # Two runs in one process: each has a record of its own.
        for name in ("first", "second"):
            monitoring = MonitoringParameters(loggers=("wandb",))
            result = run(toy, tmp_path / name, monitoring=monitoring)
            (path,) = (tmp_path / name / "logs").glob("wandb/offline-run-*/run-*.wandb")
            record = path.read_bytes()
            assert all(repr(loss).encode() in record for loss in losses(result))

        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_a_package_that_is_absent_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ParameterError, match=r"has 'wandb', but a package is not installed"):
        make_loggers(MonitoringParameters(loggers=("wandb",)), tmp_path, run="mine")


@pytest.mark.parametrize(
    ("key", "name", "words"),
    [
        ("loggers", "tensorbord", "'tensorbord'.*did you mean tensorboard.*expected dvclive"),
        ("callbacks", "Watcher", "expected a dotted name such as"),
        ("callbacks", "nobody.Watcher", "there is no module 'nobody'"),
        ("callbacks", f"{__name__}.Wacher", "has none.*Watcher"),
        ("callbacks", f"{__name__}.make_nothing", "makes NoneType, expected a lightning.Callback"),
        ("loggers", "pathlib.Path", "expected a Lightning logger"),
    ],
)
def test_a_wrong_name_is_told(tmp_path, key, name, words):
    parameters = MonitoringParameters(**{key: (name,)})
    with pytest.raises(ParameterError, match=f"params: monitoring.{key} has .*{words}"):
        make_all(parameters, tmp_path)


def test_a_logger_trains_nothing_again(tmp_path):
    project = make_toy_project(tmp_path, {"mine": {"method": "ezvsl", "epochs": 1}})
    assert "epochs on" in train_run(project, "mine")
    project.params["monitoring"] = {"loggers": ["tensorboard"]}
    assert "brought back the finished run" in train_run(project, "mine")
