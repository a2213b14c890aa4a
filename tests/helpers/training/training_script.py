"""Trains on toy features in a process of its own: for tests that kill it or run several of it.

Usage: python tests/helpers/training/training_script.py RUN_DIR JSON. The JSON has
``features_dirs``, ``parameters``, ``hardware`` and ``num_samples``.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import lightning
import torch

from train.fitting.fit import FitFolders, fit
from train.fitting.training_data import TrainingData
from train.fitting.training_state import StateSaver
from train.models.registry import build_parameters
from train.models.training_parameters import HardwareParameters


def train_and_print(
    features_dirs: Mapping[str, str | Path], run_dir: Path, options: dict[str, Any]
) -> None:
    """Fit; print each step's loss as a line ``STEP number loss``."""
    ids = [f"toy0_{number:04d}" for number in range(options["num_samples"])]
    num_train = len(ids) * 3 // 4
    lightning.seed_everything(options.get("noise", 0), verbose=False)
    original = StateSaver.on_train_batch_end

    def slow_batch_end(self, trainer, module, outputs, batch, batch_index):
        original(self, trainer, module, outputs, batch, batch_index)
        print(f"STEP {trainer.global_step} {outputs['loss'].item():.8f}", flush=True)
        time.sleep(options.get("seconds_a_step", 0))

    with mock.patch.object(StateSaver, "on_train_batch_end", slow_batch_end):
        result = fit(
            build_parameters(options["parameters"], "test"),
            TrainingData(
                features_dirs={name: Path(path) for name, path in features_dirs.items()},
                train_ids=ids[:num_train],
                val_ids=ids[num_train:],
            ),
            FitFolders(run_dir=run_dir, log_dir=run_dir / "log"),
            hardware=HardwareParameters(
                **{"accelerator": "cpu", "num_threads": 1, **options.get("hardware", {})}
            ),
            is_quiet=True,
        )
    print("DONE", json.dumps([row["train_loss"] for row in result.history]), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    options = json.loads(sys.argv[2])
    train_and_print(options.pop("features_dirs"), Path(sys.argv[1]), options)
