"""Stop a run that went wrong: values that are not finite, or a network that learns nothing."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from earshot.errors import RunError
from train.fitting.distributed import average_over_processes
from train.fitting.epoch_statistics import EpochStatistics

_COLLAPSED_SPREAD = 1e-5  # untrained networks have 1e-3 or more
_NUM_STILL_EPOCHS = 3  # in a row
_STILL_CHANGE = 1e-6  # relative to the loss

_ADVICE = (
    "stopped, the best checkpoint before that is kept; "
    "a smaller learning_rate or gradient_clip may help"
)


class CollapseDetector:
    """Raise ``RunError`` in all processes when a run went wrong.

    Args:
        name: of the method, for messages.
    """

    def __init__(self, name: str):
        self._name = name
        self._losses: list[float] = []  # of the latest epochs
        self._num_collapsed = 0  # epochs in a row in which all sounds had the same embedding

    def check_step(self, statistics: EpochStatistics, *, epoch: int, step: int) -> None:
        """Fail when a loss of this epoch is not finite."""
        if not statistics.has_finite_losses():
            raise RunError(
                f"{self._name}: the training loss is not finite (NaN or infinite) at epoch "
                f"{epoch}, step {step}; {_ADVICE}"
            )

    def check_score(self, score: float, *, epoch: int) -> None:
        """Fail when a selection score is not finite, because it cannot be compared."""
        if not math.isfinite(score):
            raise RunError(
                f"{self._name}: the selection score is not finite ({score}) at epoch {epoch}; "
                f"{_ADVICE}"
            )

    def check_weights(self, weights: Mapping[str, torch.Tensor], *, epoch: int) -> None:
        """Fail when weights that are about to be kept are not finite.

        The last step of an epoch can make them so, and no loss of that epoch shows it.
        """
        # Check all weights at once, so that this waits for a GPU only once.
        floats = [values for values in weights.values() if values.is_floating_point()]
        are_finite = torch.stack([values.isfinite().all() for values in floats]).all()
        # All processes stop, or all go on.
        if bool(average_over_processes(are_finite.float()) == 1):
            return

        # If only another process has the broken weights, this process has none to name.
        broken = [name for name, values in weights.items() if not values.isfinite().all()]
        example = f", first {broken[0]}" if broken else ""
        raise RunError(
            f"{self._name}: weights are not finite (NaN or infinite) at the end of epoch {epoch}"
            f"{example}; {_ADVICE}"
        )

    def check_epoch(self, statistics: EpochStatistics, *, epoch: int, step: int) -> None:
        """Fail when an epoch is not finite, or when the network does not learn any more."""
        self.check_step(statistics, epoch=epoch, step=step)
        loss = float(statistics.compute_mean_loss())
        spread = float(statistics.compute_mean_spread())

        # All sounds have the same embedding.
        self._num_collapsed = self._num_collapsed + 1 if spread < _COLLAPSED_SPREAD else 0
        if self._num_collapsed >= _NUM_STILL_EPOCHS:
            raise RunError(
                f"{self._name}: collapsed at epoch {epoch}: for {_NUM_STILL_EPOCHS} epochs every "
                f"sound has had the same embedding (spread {spread:.1e}, loss {loss:.4f}); "
                "stopped, the best checkpoint is kept; a smaller learning_rate may help"
            )

        # The loss does not change any more.
        self._losses = [*self._losses, loss][-_NUM_STILL_EPOCHS - 1 :]
        pairs = zip(self._losses, self._losses[1:], strict=False)
        changes = [abs(after - before) for before, after in pairs]
        if len(changes) == _NUM_STILL_EPOCHS and max(changes) <= _STILL_CHANGE * abs(loss):
            raise RunError(
                f"{self._name}: collapsed at epoch {epoch}: the training loss has been {loss:.6g} "
                f"for {_NUM_STILL_EPOCHS + 1} epochs, nothing is learned; "
                "stopped, the best checkpoint is kept"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"losses": self._losses, "num_collapsed": self._num_collapsed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint."""
        self._losses, self._num_collapsed = list(state["losses"]), int(state["num_collapsed"])
