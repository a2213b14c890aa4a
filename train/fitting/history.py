"""Record what a run did, epoch by epoch: in memory, in files, for loggers and on the terminal."""

import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import Logger

from earshot.errors import EarshotError
from pipeline.base.progress import Progress
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import write_empty_curves

_PRINT_INTERVAL_SECONDS = 10.0


class History:
    """The metrics of each epoch, in memory, as DVCLive's files, and for Lightning's loggers.

    A resumed run writes the files again from the history in its state. Epochs that a killed run
    logged after that state was saved do not appear twice. Loggers begin a new version then, which
    has all epochs, too.

    Args:
        log_dir: folder of DVCLive's files; None writes none.
        loggers: of Lightning; they get the same metrics.
    """

    def __init__(self, log_dir: Path | None, loggers: Sequence[Logger] = ()):
        self.rows: list[dict[str, float]] = []
        self._log_dir, self._loggers = log_dir, loggers
        self._live: Any = None  # dvclive.Live, which need not be installed

    def open(self, rows: list[dict[str, float]]) -> None:
        """Begin with the rows of a resumed run (none for a new one)."""
        self.rows = []
        self._live = None if self._log_dir is None else _open_live(self._log_dir)
        for row in rows:
            self.append(row)

    def append(self, row: dict[str, float]) -> None:
        """Log the metrics of one epoch."""
        self.rows.append(dict(row))

        # The epoch is the step.
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        for logger in self._loggers:
            logger.log_metrics(metrics, step=int(row["epoch"]))

        if self._live is not None:
            for name, value in metrics.items():
                self._live.log_metric(name, value)
            self._live.next_step()

    def close(self) -> None:
        """Finish DVCLive's files."""
        if self._live is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._live.end()
            self._live = None


class EpochPrinter:
    """Print a line about an epoch at most every ten seconds, so that logs stay readable.

    Args:
        name: of the method.
        num_epochs: of the whole run.
        is_quiet: print nothing.
    """

    def __init__(self, name: str, num_epochs: int, *, is_quiet: bool):
        self._name, self._num_epochs, self._is_quiet = name, num_epochs, is_quiet
        self._last = time.monotonic()

    def report(self, row: dict[str, float], *, is_best: bool, is_last: bool) -> None:
        """Print the metrics of an epoch, unless another line was printed just before."""
        now = time.monotonic()
        is_soon = now - self._last < _PRINT_INTERVAL_SECONDS
        if self._is_quiet or (is_soon and not is_last):
            return
        self._last = now

        # For example: htf: epoch 3/14, train loss 2.1034, val loss 2.2210, best so far
        names = [name for name in row if name.endswith("loss")]
        losses = ", ".join(f"{name.replace('_', ' ')} {row[name]:.4f}" for name in names)
        best = ", best so far" if is_best else ""
        position = f"epoch {int(row['epoch']) + 1}/{self._num_epochs}"
        print(f"{self._name}: {position}, {losses}{best}", file=sys.stderr, flush=True)


class StepBar(lightning.Callback):
    """Show a progress bar over all steps of the run."""

    def __init__(self, parameters: TrainingParameters, *, is_quiet: bool):
        self._parameters, self._is_quiet = parameters, is_quiet
        self._progress: Progress | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Open the bar over the steps that are left."""
        if not trainer.is_global_zero:
            return

        num_steps = self._parameters.epochs * trainer.num_training_batches
        num_left = num_steps - trainer.fit_loop.total_batch_idx - 1  # the index of the last one

        description = f"train {self._parameters.method}"
        self._progress = Progress(num_left, description, unit="step", is_quiet=self._is_quiet)
        # The bar lives longer than this function, so there is no `with`.
        self._progress.__enter__()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_index: int,
    ) -> None:
        """Count one step."""
        if self._progress is not None:
            self._progress.update()

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Close the bar also when the run fails."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


def _open_live(log_dir: Path) -> Any:
    """Open DVCLive. If it is not installed, say so and write empty curves."""
    try:
        from dvclive import Live
    except ImportError:
        print(
            f"dvclive is not installed: no metric files in {log_dir}; curves are in run.json",
            file=sys.stderr,
        )
        write_empty_curves(log_dir)
        return None

    try:
        return Live(
            dir=str(log_dir),
            # A resumed run logs all of its epochs again.
            resume=False,
            dvcyaml=None,
            report=None,
            save_dvc_exp=False,
            monitor_system=False,
        )
    except Exception as error:
        raise EarshotError(f"{log_dir}: DVCLive cannot write there: {error}") from error
