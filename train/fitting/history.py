"""What a run did, epoch by epoch: its history, DVCLive's files and lines on the terminal."""

import sys
import time
import warnings
from pathlib import Path

import lightning

from earshot.errors import EarshotError
from pipeline.base.progress import Progress
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import write_empty_curves

_LINE_INTERVAL_SECONDS = 10.0


class History:
    """Rows of metrics, one an epoch, in memory and as DVCLive files in ``log_dir`` (None: no files).

    A resumed run writes the files anew from its checkpoint's history: epochs that a killed run logged after that
    checkpoint do not appear twice.
    """

    def __init__(self, log_dir: Path | None):
        self.rows: list[dict[str, float]] = []
        self._log_dir = log_dir
        self._live = None

    def open(self, rows: list[dict[str, float]]) -> None:
        """Begin with the rows of a resumed run (none for a new one)."""
        self.rows = []
        self._live = None if self._log_dir is None else _open_live(self._log_dir)
        for row in rows:
            self.append(row)

    def append(self, row: dict[str, float]) -> None:
        """Log one epoch."""
        self.rows.append(dict(row))
        if self._live is not None:
            for name, value in row.items():
                if name != "epoch":
                    self._live.log_metric(name, value)
            self._live.next_step()

    def close(self) -> None:
        """Finish DVCLive's files."""
        if self._live is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._live.end()
            self._live = None


class EpochLines:
    """A line about the latest epoch at most every ten seconds, so that logs stay readable."""

    def __init__(self, name: str, num_epochs: int, *, is_quiet: bool):
        self._name, self._num_epochs, self._is_quiet = name, num_epochs, is_quiet
        self._last = time.monotonic()

    def report(self, row: dict[str, float], *, is_best: bool, is_last: bool) -> None:
        """Print the epoch ``row``, unless another was printed just now."""
        now = time.monotonic()
        if self._is_quiet or (not is_last and now - self._last < _LINE_INTERVAL_SECONDS):
            return
        self._last = now
        losses = ", ".join(
            f"{name.replace('_', ' ')} {row[name]:.4f}" for name in row if name.endswith("loss")
        )
        best = ", best so far" if is_best else ""
        print(
            f"{self._name}: epoch {int(row['epoch']) + 1}/{self._num_epochs}, {losses}{best}",
            file=sys.stderr,
            flush=True,
        )


class StepBar(lightning.Callback):
    """A progress bar over all steps of the run."""

    def __init__(self, parameters: TrainingParameters, *, is_quiet: bool):
        self._parameters, self._is_quiet, self._progress = parameters, is_quiet, None

    def on_train_start(self, trainer, module) -> None:
        if trainer.is_global_zero:
            left = (
                self._parameters.epochs * trainer.num_training_batches
                - trainer.fit_loop.total_batch_idx
                - 1
            )
            self._progress = Progress(
                left, f"train {self._parameters.method}", unit="step", is_quiet=self._is_quiet
            )
            self._progress.__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index) -> None:
        if self._progress is not None:
            self._progress.update()

    def on_train_end(self, trainer, module) -> None:
        self._close()

    def on_exception(self, trainer, module, exception) -> None:
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


def _open_live(log_dir: Path):
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
            resume=False,
            dvcyaml=None,
            report=None,
            save_dvc_exp=False,
            monitor_system=False,
        )
    except Exception as error:
        raise EarshotError(f"{log_dir}: DVCLive cannot write there: {error}") from error
