"""Make the loggers and callbacks of Lightning that params.yaml names.

DVCLive's files are not among them: ``history.py`` always writes these, and the report reads them.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import loggers
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from earshot.errors import ParameterError
from pipeline.base.parameters import suggest
from train.models.training_parameters import MonitoringParameters

_ALWAYS = "dvclive"  # may be named, too
_PROJECT = "earshot"  # at Weights & Biases


class _OfflineRun(loggers.WandbLogger):
    """A run of Weights & Biases that ends with its training.

    Otherwise it ends with the process, and the next training of the process would go on with it.
    """

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish()


def check_names(parameters: MonitoringParameters) -> None:
    """Check that each name stands for something; nothing is made.

    Raises:
        ParameterError: there is no logger or callback of a name.
    """
    for name in parameters.loggers:
        if name != _ALWAYS and name not in _KNOWN_LOGGERS:
            _find("loggers", name)
    for name in parameters.callbacks:
        _find("callbacks", name)


def make_loggers(parameters: MonitoringParameters, folder: Path, *, run: str) -> list[Logger]:
    """Make the loggers of a run.

    Args:
        parameters: names them.
        folder: where they write.
        run: the name of the run.

    Raises:
        ParameterError: a name is unknown, or the package of a logger is not installed.
    """
    others = [name for name in parameters.loggers if name != _ALWAYS]
    return [_make_logger(name, folder, run) for name in others]


def make_callbacks(parameters: MonitoringParameters) -> list[lightning.Callback]:
    """Make the callbacks of a run.

    Raises:
        ParameterError: a name is unknown, or it makes no callback.
    """
    callbacks = []
    for name in parameters.callbacks:
        callback = _find("callbacks", name)()
        if not isinstance(callback, lightning.Callback):
            raise ParameterError(
                f"params: monitoring.callbacks has {name!r}, which makes "
                f"{type(callback).__name__}, expected a lightning.Callback"
            )
        callbacks.append(callback)
    return callbacks


def _make_logger(name: str, folder: Path, run: str) -> Logger:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if name in _KNOWN_LOGGERS:
            return _KNOWN_LOGGERS[name](folder, run)
        logger = _find("loggers", name)(save_dir=folder)
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"params: monitoring.loggers has {name!r}, but a package is not installed ({error}); "
            "install it, for example with `pip install '.[loggers]'`"
        ) from None

    if not isinstance(logger, Logger):
        raise ParameterError(
            f"params: monitoring.loggers has {name!r}, which makes {type(logger).__name__}, "
            "expected a Lightning logger"
        )
    return logger


def _make_tensorboard(folder: Path, run: str) -> Logger:
    return loggers.TensorBoardLogger(folder, name="tensorboard")


def _make_wandb(folder: Path, run: str) -> Logger:
    # Nothing is sent now. A user can send the files with `wandb sync`.
    return _OfflineRun(project=_PROJECT, name=run, save_dir=folder, offline=True)


_KNOWN_LOGGERS: dict[str, Callable[[Path, str], Logger]] = {
    "tensorboard": _make_tensorboard,
    "wandb": _make_wandb,
}


def _find(key: str, name: str) -> Callable[..., Any]:
    """Return the class or function that a dotted name stands for."""
    where = f"params: monitoring.{key} has {name!r}"
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        known = [_ALWAYS, *_KNOWN_LOGGERS] if key == "loggers" else []
        expected = [*known, "a dotted name such as package.module.Class"]
        raise ParameterError(f"{where}{suggest(name, known)}; expected {', or '.join(expected)}")

    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Another error: the module is there, but needs a package that is absent.
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ParameterError(f"{where}, but there is no module {error.name!r}") from None

    if not hasattr(module, attribute):
        names = [item for item in vars(module) if not item.startswith("_")]
        raise ParameterError(f"{where}, but {module_name} has none{suggest(attribute, names)}")
    return getattr(module, attribute)
