"""FlowGrad-H (Singh et al., ICASSP 2023): RCGrad's map times the flow magnitude.

It has no training of its own. Its weights are those of an RCGrad run with the same parameters.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from train.models import rcgrad
from train.networks.object_guidance import min_max


@dataclass(frozen=True, kw_only=True)
class Parameters(rcgrad.Parameters):
    """FlowGrad-H has the parameters of RCGrad."""

    method: str = "flowgrad_h"


class Model(rcgrad.Model):
    """RCGrad's network; ``localize`` multiplies its map by the flow."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "flow", "waveforms")
    trained_as: ClassVar[str | None] = "rcgrad"

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return Grad-CAM maps times the flow magnitude, which is scaled to 0..1."""
        # min_max also takes back the offset and the scale of the input format.
        return super().localize(inputs) * min_max(inputs["flow"][:, 0])
