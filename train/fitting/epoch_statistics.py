"""Sum up the losses and the spread of the embeddings of one epoch."""

from typing import Any

import torch

from train.fitting.distributed import count_processes, sum_over_processes


class EpochStatistics:
    """Mean loss and mean spread of the sound embeddings of an epoch, over all processes.

    Each batch is weighted by its number of samples, because the last one can be smaller.
    Spread is 1 - |mean unit embedding|^2 of a batch: 0 when all embeddings are equal. The sums stay
    on the device and are read once an epoch, so that no step waits for them.
    """

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = (
            None  # (3,) float64: loss and spread, each times samples, samples
        )
        self.num_batches = 0

    def reset(self) -> None:
        """Begin a new epoch.

        Lightning does not call this if a resumed run begins in the middle of an epoch.
        """
        self._sums = None
        self.num_batches = 0

    @torch.no_grad()
    def add(self, loss: torch.Tensor, embeddings: dict[str, torch.Tensor]) -> None:
        """Add the loss and the ``audio`` embeddings (n, c) of one batch."""
        audio = torch.nn.functional.normalize(embeddings["audio"].float(), dim=1)
        # The mean of unit vectors has length 1 only where all of them are equal.
        spread = 1 - audio.mean(0).square().sum()
        facts = torch.stack([loss.detach().double(), spread.double(), spread.new_ones(()).double()])
        values = facts * len(audio)
        # Sums of a resumed run were loaded on the CPU.
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self.num_batches += 1

    def compute_mean_loss(self) -> torch.Tensor:
        """Return the mean loss of the epoch so far (scalar); NaN before the first batch."""
        return self._compute_means()[0]

    def compute_mean_spread(self) -> torch.Tensor:
        """Return the mean spread of the epoch so far (scalar); NaN before the first batch."""
        return self._compute_means()[1]

    def has_finite_losses(self) -> bool:
        """Return whether all losses so far are finite, in all processes. Waits for the device."""
        return self._sums is None or bool(sum_over_processes(self._sums[0]).isfinite())

    def _compute_means(self) -> torch.Tensor:
        if self._sums is None:
            return torch.full((2,), float("nan"))
        sums = sum_over_processes(self._sums)
        return sums[:2] / sums[2]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; all processes must call this together.

        The first process writes the state and all processes load it, so it is their mean.
        """
        sums = None
        if self._sums is not None:
            sums = (sum_over_processes(self._sums) / count_processes()).cpu()
        return {"sums": sums, "num_batches": self.num_batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint."""
        self._sums, self.num_batches = state["sums"], state["num_batches"]
