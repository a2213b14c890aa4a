"""Noticing a run that went wrong: a loss that is not finite, and embeddings that became the same for every sample."""

import math
from collections.abc import Mapping

import torch

from earshot.errors import RunError
from train.fitting.distributed import average_over_processes

# 1 - |mean unit embedding|^2 of a batch: 0 when all are equal. Untrained networks have 1e-3 or more.
_COLLAPSED_SPREAD = 1e-5
_STILL_EPOCHS = 3  # epochs in a row
_STILL_CHANGE = 1e-6  # relative


class EpochStatistics:
    """Losses and the spread of the sounds' embeddings in one epoch; sums on the device, read once an epoch."""

    def __init__(self):
        self.start()

    def start(self) -> None:
        """Forget the last epoch. Lightning does not start an epoch that a resumed run enters in its middle."""
        self._sums: torch.Tensor | None = None
        self.num_batches = 0

    @torch.no_grad()
    def add(self, loss: torch.Tensor, embeddings: dict[str, torch.Tensor]) -> None:
        """Count one batch."""
        audio = torch.nn.functional.normalize(embeddings["audio"].float(), dim=1)
        spread = 1 - audio.mean(0).square().sum()
        values = torch.stack([loss.detach().float(), spread])
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self.num_batches += 1

    def mean_loss(self) -> torch.Tensor:
        """Mean loss (scalar)."""
        return self._mean()[0]

    def mean_spread(self) -> torch.Tensor:
        """Mean spread (scalar)."""
        return self._mean()[1]

    def latest_is_finite(self) -> bool:
        """Whether the losses so far are, in all processes, so that all stop together; waits for the device."""
        return self._sums is None or bool(average_over_processes(self._sums[0]).isfinite())

    def _mean(self) -> torch.Tensor:
        if self._sums is None:
            return torch.full((2,), float("nan"))
        return self._sums / self.num_batches

    def state_dict(self) -> dict:
        return {
            "sums": None if self._sums is None else self._sums.cpu(),
            "num_batches": self.num_batches,
        }

    def load_state_dict(self, state: dict) -> None:
        self._sums, self.num_batches = state["sums"], state["num_batches"]


class CollapseWatch:
    """Raises ``RunError`` when a loss stops being finite or the run has collapsed."""

    def __init__(self, name: str):
        self._name = name
        self._losses: list[float] = []
        self._num_flat = 0

    def check_step(self, statistics: EpochStatistics, *, epoch: int, step: int) -> None:
        """Within an epoch: is the loss finite?"""
        if not statistics.latest_is_finite():
            raise RunError(
                f"{self._name}: the training loss is not finite (NaN or infinite) at epoch {epoch}, step {step}; "
                "stopped, the best checkpoint before that is kept; a smaller learning_rate or gradient_clip may help"
            )

    def check_score(self, score: float, *, epoch: int) -> None:
        """A selection score that is not a number would never be the best one: nothing would be kept."""
        if not math.isfinite(score):
            raise RunError(
                f"{self._name}: the selection score is not finite ({score}) at epoch {epoch}; stopped, the best "
                "checkpoint before that is kept; a smaller learning_rate or gradient_clip may help"
            )

    def check_weights(self, weights: Mapping[str, torch.Tensor], *, epoch: int) -> None:
        """Before an epoch's weights are kept: an epoch's last step can spoil them, of which no loss tells any more."""
        are_finite = torch.stack(
            [v.isfinite().all() for v in weights.values() if v.is_floating_point()]
        ).all()
        if not bool(average_over_processes(are_finite.float()) == 1):
            broken = [name for name, values in weights.items() if not values.isfinite().all()]
            raise RunError(
                f"{self._name}: weights are not finite (NaN or infinite) at the end of epoch {epoch}"
                f"{f', first {broken[0]}' if broken else ''}; stopped, the best checkpoint before that is kept; "
                "a smaller learning_rate or gradient_clip may help"
            )

    def check_epoch(self, statistics: EpochStatistics, *, epoch: int, step: int) -> None:
        """At the end of an epoch: is it finite, does it move, do embeddings differ?"""
        self.check_step(statistics, epoch=epoch, step=step)
        loss = float(average_over_processes(statistics.mean_loss()))
        spread = float(average_over_processes(statistics.mean_spread()))
        self._num_flat = self._num_flat + 1 if spread < _COLLAPSED_SPREAD else 0
        self._losses = [*self._losses, loss][-_STILL_EPOCHS - 1 :]
        if self._num_flat >= _STILL_EPOCHS:
            raise RunError(
                f"{self._name}: collapsed at epoch {epoch}: for {_STILL_EPOCHS} epochs every sound has had the same "
                f"embedding (spread {spread:.1e}, loss {loss:.4f}); stopped, the best checkpoint is kept; "
                "a smaller learning_rate may help"
            )
        changes = [
            abs(now - before) for before, now in zip(self._losses, self._losses[1:], strict=False)
        ]
        if len(changes) == _STILL_EPOCHS and max(changes) <= _STILL_CHANGE * abs(loss):
            raise RunError(
                f"{self._name}: collapsed at epoch {epoch}: the training loss has been {loss:.6g} for "
                f"{_STILL_EPOCHS + 1} epochs, nothing is learned; stopped, the best checkpoint is kept"
            )

    def state_dict(self) -> dict:
        return {"losses": self._losses, "num_flat": self._num_flat}

    def load_state_dict(self, state: dict) -> None:
        self._losses, self._num_flat = list(state["losses"]), int(state["num_flat"])
