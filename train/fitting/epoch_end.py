"""Finish each epoch: check and score it, keep the best weights, log, stop early."""

import time
from typing import Any

import lightning
import torch

from train.fitting.best_weights import SMALLEST_GAIN, BestWeights
from train.fitting.collapse import CollapseDetector
from train.fitting.distributed import is_waiting_step
from train.fitting.history import EpochPrinter, History
from train.fitting.lightning_module import TrainingModule
from train.fitting.selection import ScoreEpoch
from train.models.training_parameters import TrainingParameters

_SMALLEST_SECONDS = 1e-9  # an epoch never takes no time


class EpochEnd(lightning.Callback):
    """Check, score and log each epoch; keep the best weights; stop early.

    Args:
        parameters: of the run.
        score: gives the selection score of an epoch. None: the last epoch is the best one.
        history: where the metrics of each epoch go.
        is_quiet: print no line for each epoch.
    """

    def __init__(
        self,
        parameters: TrainingParameters,
        *,
        score: ScoreEpoch | None,
        history: History,
        is_quiet: bool,
    ):
        self._parameters = parameters
        self._score = score

        self._detector = CollapseDetector(parameters.method)
        self._printer = EpochPrinter(parameters.method, parameters.epochs, is_quiet=is_quiet)

        # What ``fit`` reads when the run has ended.
        self.history = history
        # Success rates are often equal, and EZ-VSL's script then keeps the later epoch.
        self.best = BestWeights(prefers_later=parameters.select_by == "ezvsl_val")
        self.num_epochs = 0
        self.is_stopped_early = False

        # For the learning rate and early stopping: the highest value so far, and the number of
        # epochs in a row that were not better. A plateau starts the second count again.
        self._highest = float("-inf")
        self._num_worse = self._num_worse_for_plateau = 0
        self._resumed_rows: list[dict[str, float]] = []
        self._start_clock()

    def on_train_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Begin the history, with the finished epochs of a resumed run."""
        # Lightning starts no epoch where a run resumes in the middle of one.
        self._start_clock()
        if trainer.is_global_zero:
            self.history.open(self._resumed_rows)
        else:
            self.history.rows = list(self._resumed_rows)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Choose the batches of the epoch and start the clock."""
        trainer.train_dataloader.set_epoch(trainer.current_epoch)
        self._start_clock()

    def _start_clock(self) -> None:
        self._epoch_start, self._num_timed_batches = time.monotonic(), 0
        self._training_end: float | None = None

    def on_validation_start(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Stop the clock: Lightning's epoch includes validation, the throughput does not."""
        self._training_end = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: TrainingModule,
        outputs: Any,
        batch: Any,
        batch_index: int,
    ) -> None:
        """Count the batch; fail early when the loss is not finite."""
        self._num_timed_batches += 1
        if is_waiting_step(trainer, batch_index):
            epoch, step = trainer.current_epoch, trainer.global_step
            self._detector.check_step(module.train_statistics, epoch=epoch, step=step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Check, score, keep and log the epoch, then adapt the learning rate or stop."""
        epoch, step = trainer.current_epoch, trainer.global_step
        training_end = self._training_end or time.monotonic()  # None: there was no validation
        self._detector.check_epoch(module.train_statistics, epoch=epoch, step=step)

        # Measure and score the epoch.
        row = self._measure(trainer, module, seconds=training_end - self._epoch_start)
        score = float(epoch) if self._score is None else self._score(module)
        self._detector.check_score(score, epoch=epoch)
        if self._score is not None:
            row["selection_score"] = score

        # Keep its weights if it is the best one so far.
        is_best = self.best.is_better(score)
        if is_best:
            weights = {name: item.detach() for name, item in module.model.state_dict().items()}
            self._detector.check_weights(weights, epoch=epoch)
            self.best.keep(weights, epoch=epoch, score=score)

        # For callbacks of the user.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in row.items()})

        # The first process writes files and lines. The others only keep the rows, so that all have
        # the same state.
        self.num_epochs = epoch + 1
        if trainer.is_global_zero:
            self.history.append(row)
        else:
            self.history.rows.append(row)

        # Before the line is printed, which says whether this epoch is the last one.
        self._adapt(trainer, module, watched=self._watch(score, row))
        if trainer.is_global_zero:
            is_last = trainer.should_stop or self.num_epochs == self._parameters.epochs
            self._printer.report(row, is_best=is_best, is_last=is_last)

    def on_train_end(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Finish the files of the history."""
        self.history.close()

    def on_exception(
        self, trainer: lightning.Trainer, module: TrainingModule, exception: BaseException
    ) -> None:
        """Finish the files of the history also when the run fails."""
        self.history.close()

    def _measure(
        self, trainer: lightning.Trainer, module: TrainingModule, *, seconds: float
    ) -> dict[str, float]:
        # Training leaves an incomplete batch out, so all of them have the same size.
        num_samples = self._num_timed_batches * trainer.train_dataloader.batch_size
        row = {
            "epoch": trainer.current_epoch,
            "train_loss": float(module.train_statistics.compute_mean_loss()),
            # The rate of the last step of the epoch.
            "learning_rate": module.compute_learning_rate(trainer.global_step - 1),
            "samples_per_second": num_samples / max(seconds, _SMALLEST_SECONDS),
        }

        # Without validation samples there is no validation loss.
        if module.val_statistics.num_batches:
            row["val_loss"] = module.compute_validation_loss()
        return row

    def _watch(self, score: float, row: dict[str, float]) -> float:
        """Return the value by which epochs are compared here; larger is better."""
        if self._score is not None:
            return score
        # With ``last`` the score is the number of the epoch, so use the validation loss.
        return -row.get("val_loss", -score)

    def _adapt(self, trainer: lightning.Trainer, module: TrainingModule, *, watched: float) -> None:
        """Lower the learning rate on a plateau; stop when no epoch was better for a long time."""
        p = self._parameters
        is_better = watched > self._highest + SMALLEST_GAIN
        self._highest = max(self._highest, watched)
        self._num_worse = 0 if is_better else self._num_worse + 1
        self._num_worse_for_plateau = 0 if is_better else self._num_worse_for_plateau + 1

        if p.schedule == "plateau" and self._num_worse_for_plateau > p.plateau_patience:
            module.lower_learning_rate()
            self._num_worse_for_plateau = 0
        if p.early_stop_patience and self._num_worse >= p.early_stop_patience:
            self.is_stopped_early = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "rows": self.history.rows,
            "detector": self._detector.state_dict(),
            "best": self.best.state_dict(),
            "num_epochs": self.num_epochs,
            "highest": self._highest,
            "num_worse": self._num_worse,
            "num_worse_for_plateau": self._num_worse_for_plateau,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint."""
        self._resumed_rows = list(state["rows"])
        self._detector.load_state_dict(state["detector"])
        self.best.load_state_dict(state["best"])
        self.num_epochs = state["num_epochs"]
        self._highest = state["highest"]
        self._num_worse = state["num_worse"]
        self._num_worse_for_plateau = state["num_worse_for_plateau"]
