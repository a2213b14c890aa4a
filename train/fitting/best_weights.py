"""What happens at the end of epochs: watch, select the best weights, log, adapt the rate, stop, save the state."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import lightning

from earshot.files import publish
from train.fitting.collapse import CollapseWatch
from train.fitting.history import EpochLines, History
from train.fitting.lightning_module import TrainingModule
from train.models.training_parameters import TrainingParameters

_STEPS_BETWEEN_CHECKS = 50  # on a GPU and with several processes, where a check waits for others
_SMALLEST_GAIN = 1e-12


class Keeper(lightning.Callback):
    """Keeps a run's best weights and its state.

    ``score``: from the module (after validation) to the selection score of the epoch, larger is better; None keeps
    the last epoch. The state (``state_path``) holds everything that a killed run needs to go on exactly.
    """

    def __init__(
        self,
        parameters: TrainingParameters,
        *,
        name: str,
        score: Callable[[TrainingModule], float] | None,
        history: History,
        state_path: Path,
        fingerprint: str,
        checkpoint_every_seconds: float,
        is_quiet: bool,
    ):
        self.parameters = parameters
        self._score, self.history = score, history
        self._state_path, self._fingerprint = state_path, fingerprint
        self._interval = checkpoint_every_seconds
        self._watch = CollapseWatch(name)
        self._lines = EpochLines(name, parameters.epochs, is_quiet=is_quiet)
        self.best_epoch, self.best_score, self.best_weights = -1, float("-inf"), None
        self.num_epochs, self.is_stopped_early = 0, False
        self._num_worse = self._num_worse_for_plateau = 0
        self._rows_of_state: list[dict] = []
        self._last_save = self._epoch_start = time.monotonic()
        self._training_end: float | None = None

    def on_train_start(self, trainer, module) -> None:
        if trainer.is_global_zero:
            self.history.open(self._rows_of_state)
        else:
            self.history.rows = list(self._rows_of_state)
        self._last_save = time.monotonic()

    def on_train_epoch_start(self, trainer, module) -> None:
        trainer.train_dataloader.set_epoch(trainer.current_epoch)
        self._epoch_start, self._training_end = time.monotonic(), None

    def on_validation_start(self, trainer, module) -> None:
        self._training_end = (
            time.monotonic()
        )  # validation is part of Lightning's epoch, but not of the throughput

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index) -> None:
        is_checked_rarely = trainer.world_size > 1 or module.device.type != "cpu"
        if is_checked_rarely and (batch_index + 1) % _STEPS_BETWEEN_CHECKS:
            return
        self._watch.check_step(
            module.train_statistics, epoch=trainer.current_epoch, step=trainer.global_step
        )
        is_inside = batch_index + 1 < trainer.num_training_batches
        # between optimizer steps nothing is left over in gradients, so only there a state is whole
        if is_inside and (batch_index + 1) % self.parameters.accumulate == 0:
            self._save_when_due(trainer)

    def on_train_epoch_end(self, trainer, module) -> None:
        seconds = (self._training_end or time.monotonic()) - self._epoch_start
        epoch = trainer.current_epoch
        self._watch.check_epoch(module.train_statistics, epoch=epoch, step=trainer.global_step)
        row = {
            "epoch": epoch,
            "train_loss": float(module.train_statistics.mean_loss()),
            "learning_rate": module.learning_rate_at(trainer.global_step - 1),
            "samples_per_second": trainer.num_training_batches
            * self.parameters.batch_size
            / max(seconds, 1e-9),
        }
        if module.val_statistics.num_batches:
            row["val_loss"] = module.validation_loss()
        score = float(epoch) if self._score is None else self._score(module)
        self._watch.check_score(score, epoch=epoch)
        if self._score is not None:
            row["selection_score"] = score
        is_best = score > self.best_score + _SMALLEST_GAIN
        if is_best:
            state = {name: values.detach() for name, values in module.model.state_dict().items()}
            self._watch.check_weights(state, epoch=epoch)
            self.best_epoch, self.best_score = epoch, score
            self.best_weights = {k: v.cpu().clone() for k, v in state.items()}
        self.num_epochs = epoch + 1
        if trainer.is_global_zero:
            self.history.append(row)
        else:
            self.history.rows.append(row)
        self._adapt(trainer, module, is_best=is_best)
        is_last = trainer.should_stop or epoch + 1 == self.parameters.epochs
        if trainer.is_global_zero:
            self._lines.report(row, is_best=is_best, is_last=is_last)
        if not is_last:
            self._save_when_due(trainer)

    def on_train_end(self, trainer, module) -> None:
        self.history.close()

    def on_exception(self, trainer, module, exception) -> None:
        self.history.close()

    def _adapt(self, trainer, module, *, is_best: bool) -> None:
        """Plateaus and early stopping."""
        p = self.parameters
        self._num_worse = 0 if is_best else self._num_worse + 1
        self._num_worse_for_plateau = 0 if is_best else self._num_worse_for_plateau + 1
        if p.schedule == "plateau" and self._num_worse_for_plateau > p.plateau_patience:
            module.plateau_scale *= p.plateau_factor
            self._num_worse_for_plateau = 0
        if p.early_stop_patience and self._num_worse >= p.early_stop_patience:
            self.is_stopped_early = trainer.should_stop = True

    def _save_when_due(self, trainer) -> None:
        is_due = time.monotonic() - self._last_save >= self._interval
        if trainer.world_size > 1:
            is_due = trainer.strategy.broadcast(is_due)
        if not is_due:
            return
        # every process takes part in collecting the state, the first one writes it
        context = (
            publish(self._state_path)
            if trainer.is_global_zero
            else contextlib.nullcontext(self._state_path)
        )
        with context as path:
            trainer.save_checkpoint(path)
        self._last_save = time.monotonic()

    def state_dict(self) -> dict:
        return {
            "fingerprint": self._fingerprint,
            "rows": self.history.rows,
            "watch": self._watch.state_dict(),
            "best": {
                "epoch": self.best_epoch,
                "score": self.best_score,
                "weights": self.best_weights,
            },
            "num_epochs": self.num_epochs,
            "num_worse": self._num_worse,
            "num_worse_for_plateau": self._num_worse_for_plateau,
        }

    def load_state_dict(self, state: dict) -> None:
        self._rows_of_state = list(state["rows"])
        self._watch.load_state_dict(state["watch"])
        best = state["best"]
        self.best_epoch, self.best_score, self.best_weights = (
            best["epoch"],
            best["score"],
            best["weights"],
        )
        self.num_epochs = state["num_epochs"]
        self._num_worse, self._num_worse_for_plateau = (
            state["num_worse"],
            state["num_worse_for_plateau"],
        )


def read_fingerprint(state: dict) -> str | None:
    """The fingerprint in a loaded state file; None when there is none."""
    for name, values in (state.get("callbacks") or {}).items():
        if name.startswith("Keeper"):
            return values.get("fingerprint")
    return None
