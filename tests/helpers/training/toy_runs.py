"""Training runs of seconds over the features of ``toy_features``."""

from pathlib import Path
from typing import Any

from train.fitting.fit import FitFolders, FitResult, fit
from train.fitting.selection import ScoreMaps
from train.fitting.training_data import TrainingData
from train.models.registry import build_parameters
from train.models.training_parameters import (
    HardwareParameters,
    MonitoringParameters,
    TrainingParameters,
)

TINY = {
    "width": 8,
    "image_size": 32,
    "map_stride": 8,
    "batch_size": 8,
    "epochs": 2,
    "init": "random",
    "learning_rate": 1e-3,
    "spectrogram_pooling": 8,
    "spectrogram_mean": -6.0,
    "spectrogram_std": 2.0,
}
CPU = HardwareParameters(accelerator="cpu", num_threads=1)


def tiny(method: str = "ezvsl", **settings: Any) -> TrainingParameters:
    """Build the parameters of a tiny network."""
    if method == "htf":
        settings = {"freeze_vision": False, "flow_scale": 0.2, **settings}
    return build_parameters({"method": method, **TINY, **settings}, "test")


def run(
    toy: tuple,
    run_dir: Path,
    parameters: TrainingParameters | None = None,
    hardware: HardwareParameters = CPU,
    *,
    score_maps: ScoreMaps | None = None,
    state_key: str = "",
    log_dir: Path | None = None,
    monitoring: MonitoringParameters | None = None,
    **changes: Any,
) -> FitResult:
    """Train on the first 32 toy samples, select on the next 8, keep the rest as test samples.

    ``changes`` replace fields of the ``TrainingData``.
    """
    _, features_dirs, ids, _ = toy
    sets = {"train_ids": ids[:32], "val_ids": ids[32:40], "test_ids": ids[40:]}
    return fit(
        parameters or tiny(),
        TrainingData(features_dirs=features_dirs, **{**sets, **changes}),
        FitFolders(run_dir=run_dir, log_dir=log_dir),
        score_maps=score_maps,
        hardware=hardware,
        monitoring=monitoring,
        state_key=state_key,
        is_quiet=True,
    )


def losses(result: FitResult) -> list[float]:
    """Return the training loss of each epoch."""
    return [row["train_loss"] for row in result.history]
