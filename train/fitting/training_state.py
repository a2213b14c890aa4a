"""Save the state of a training, from which a killed run resumes exactly."""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning

from earshot.errors import DataError
from earshot.files import publish
from pipeline.base.parameters import as_mapping
from train.fitting.distributed import is_waiting_step, require_agreement
from train.fitting.training_data import Sources
from train.models.training_parameters import HardwareParameters, TrainingParameters
from train.runs.tensor_files import load_tensors

STATE_NAME = "state.ckpt"
_FINGERPRINT = "earshot_fingerprint"  # key in Lightning's checkpoint
_ADVICE = "remove it to train from the beginning"


class StateSaver(lightning.Callback):
    """Save the state every ``checkpoint_every_seconds``, also inside an epoch.

    It must come after the callbacks whose state changes at the end of a step or epoch.

    Args:
        path: of the state; replaced at each save.
        fingerprint: written into the state, see ``compute_fingerprint``.
        parameters: of the run.
        hardware: how often to save; 0 seconds save at each chance.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        parameters: TrainingParameters,
        hardware: HardwareParameters,
    ):
        self._path, self._fingerprint = path, fingerprint
        self._parameters = parameters
        self._interval_seconds = hardware.checkpoint_every_seconds
        self._last_save = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock, once all processes have begun alike."""
        require_agreement(
            {"state": self._fingerprint, "step": trainer.global_step},
            what=f"{self._parameters.method}: the processes that train together",
        )
        self._last_save = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_index: int,
    ) -> None:
        """Save inside an epoch, between two optimizer steps."""
        # A state holds no gradients. So save only when no gradients are accumulated.
        is_inside = batch_index + 1 < trainer.num_training_batches
        is_complete = (batch_index + 1) % self._parameters.accumulate == 0
        if is_inside and is_complete and is_waiting_step(trainer, batch_index):
            self._save_when_due(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Save between two epochs. After the last one the run folder is written instead."""
        if not trainer.should_stop and trainer.current_epoch + 1 < self._parameters.epochs:
            self._save_when_due(trainer)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the fingerprint to Lightning's checkpoint."""
        checkpoint[_FINGERPRINT] = self._fingerprint

    def _save_when_due(self, trainer: lightning.Trainer) -> None:
        # The clocks of processes differ a little: the first one decides for all.
        is_due = time.monotonic() - self._last_save >= self._interval_seconds
        if trainer.world_size > 1:
            is_due = trainer.strategy.broadcast(is_due)
        if not is_due:
            return

        # Every process takes part in collecting the state; the first one writes it.
        if trainer.is_global_zero:
            with publish(self._path) as temporary_path:
                trainer.save_checkpoint(temporary_path)
        else:
            trainer.save_checkpoint(self._path)
        self._last_save = time.monotonic()


def compute_fingerprint(
    parameters: TrainingParameters,
    sources: Sources,
    *,
    num_processes: int,
    key: str,
) -> str:
    """Hash everything that must be the same for a state to be continued.

    Args:
        parameters: of the run.
        sources: its samples. The order of an epoch depends on the shards of the training samples.
        num_processes: that train together.
        key: a hash of everything else, such as the cached features.
    """
    # Other shards give another order of the samples, so a resumed epoch would not fit.
    shards = sources.train.find_shards().tolist() if parameters.is_shuffled else None
    facts = [
        as_mapping(parameters),
        sources.train.sample_ids,
        shards,
        sources.selection.sample_ids,
        num_processes,
        key,
    ]

    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find_state(path: Path, *, fingerprint: str, name: str) -> Path | None:
    """Return ``path`` when it is a state that this run can continue, else None; say which.

    Args:
        path: of the state, which need not exist.
        fingerprint: of this run.
        name: of the method, for the message.

    Raises:
        DataError: the file is no state, or a damaged one.
    """
    if not path.exists():
        return None

    # Not left out without a word: it may be days of training that a backup still has.
    try:
        state = load_tensors(path)
    except DataError as error:
        raise DataError(f"{error}; {_ADVICE}") from None
    if not isinstance(state, dict):
        raise DataError(f"{path}: holds {type(state).__name__}, not a state; {_ADVICE}")

    if state.get(_FINGERPRINT) == fingerprint:
        print(f"{name}: going on from {path}", file=sys.stderr)
        return path

    # It stays until this run saves its own state.
    print(f"{name}: {path} is of other parameters or samples; starting anew", file=sys.stderr)
    return None
