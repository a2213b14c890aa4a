"""Random numbers for the samples of a batch, the same in one process or several."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


class SampleDraws(nn.Module):
    """Draw random values for each sample of a batch.

    ``train.fitting.distributed.share_randomness`` replaces it where several processes share a
    batch, so that each sample gets the values that it has in one process.
    """

    def forward(self, num_samples: int, num_draws: int) -> torch.Tensor:
        """Return (num_samples, num_draws) uniform in [0, 1), on the CPU."""
        return self.draw(num_samples, lambda number: torch.rand(number, num_draws))

    def draw(self, num_samples: int, draw: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Return what ``draw`` returns for so many samples, (num_samples, ...)."""
        return draw(num_samples)


class SampleDropout(nn.Module):
    """Dropout of single values, the same in one process or several."""

    def __init__(self, probability: float):
        """Say which share of the values is dropped in training."""
        super().__init__()
        self._probability, self._draws = probability, SampleDraws()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Set some of the values (n, ...) to 0, and scale the others up."""
        if not self.training or self._probability == 0:
            return values

        def draw(number: int) -> torch.Tensor:
            # Like the values: memory layout and type decide in which order numbers are drawn.
            ones = [torch.ones_like(values)] * (number // len(values))
            return F.dropout(torch.cat(ones), self._probability)

        return values * self._draws.draw(len(values), draw)
