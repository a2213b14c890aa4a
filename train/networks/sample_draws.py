"""Random numbers for the samples of a batch, the same in one process or several."""

import torch
from torch import nn


class SampleDraws(nn.Module):
    """Draw uniform numbers for each sample of a batch.

    ``train.fitting.distributed.share_randomness`` replaces it where several processes share a
    batch, so that each sample gets the numbers that it has in one process.
    """

    def forward(self, num_samples: int, num_draws: int) -> torch.Tensor:
        """Return (num_samples, num_draws) in [0, 1), on the CPU."""
        return torch.rand(num_samples, num_draws)
