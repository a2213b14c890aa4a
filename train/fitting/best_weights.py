"""Keep the weights of the epoch with the best selection score."""

from collections.abc import Mapping
from typing import Any

import torch

SMALLEST_GAIN = 1e-12  # a score that is better by less is the same score


class BestWeights:
    """The best epoch so far: its number (from 0), its score and a copy of its weights.

    Args:
        prefers_later: of epochs with the same score, whether the later one is kept.
    """

    def __init__(self, *, prefers_later: bool = False) -> None:
        # A negative gain: a later epoch wins although rounding made its equal score a little lower.
        self._needed_gain = -SMALLEST_GAIN if prefers_later else SMALLEST_GAIN
        self.epoch = -1  # none yet
        self.score = float("-inf")
        self.weights: dict[str, torch.Tensor] | None = None

    def is_better(self, score: float) -> bool:
        """Return whether ``score`` beats the best one so far."""
        return score > self.score + self._needed_gain

    def keep(self, weights: Mapping[str, torch.Tensor], *, epoch: int, score: float) -> None:
        """Copy ``weights`` to the CPU as those of the best epoch."""
        self.epoch, self.score = epoch, score
        self.weights = {name: values.cpu().clone() for name, values in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"epoch": self.epoch, "score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint."""
        self.epoch, self.score, self.weights = state["epoch"], state["score"], state["weights"]
