"""Trains on toy features in a process of its own: for tests that kill it or run several of it.

Usage: python tests/helpers/training_script.py FOLDER JSON. The JSON has ``parameters``,
``hardware`` and ``num_samples``.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lightning
import torch

from train.fitting.fit import FitFolders, fit
from train.fitting.training_data import TrainingData
from train.fitting.training_state import StateSaver
from train.models.registry import build_parameters
from train.models.training_parameters import HardwareParameters


def main(folder: Path, options: dict) -> None:
    """Fit; print each step's loss as a line ``STEP loss``."""
    torch.set_num_threads(1)
    ids = [f"toy0_{number:04d}" for number in range(options["num_samples"])]
    num_train = len(ids) * 3 // 4
    original = StateSaver.on_train_batch_end

    def slow_batch_end(self, trainer, module, outputs, batch, batch_index):
        original(self, trainer, module, outputs, batch, batch_index)
        print(f"STEP {trainer.global_step} {outputs['loss'].item():.8f}", flush=True)
        time.sleep(options.get("seconds_a_step", 0))

    StateSaver.on_train_batch_end = slow_batch_end
    run_dir = folder / options.get("run", "run")
    lightning.seed_everything(options.get("noise", 0), verbose=False)
    result = fit(
        build_parameters(options["parameters"], "test"),
        TrainingData(
            features_dirs={
                name: folder / name for name in ("frames", "flow", "spectrograms", "waveforms")
            },
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
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
