"""FlowGrad-IC (Singh et al., ICASSP 2023): RCGrad with the flow magnitude as fourth channel."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from train.models import rcgrad
from train.networks.encoders.image_encoder import make_encoder


@dataclass(frozen=True, kw_only=True)
class Parameters(rcgrad.Parameters):
    """FlowGrad-IC. The defaults are the published settings."""

    method: str = "flowgrad_ic"
    batch_size: int = 64
    early_stop_patience: int = 50


class Model(rcgrad.Model):
    """RCGrad's network; ``image_encoder.conv1_flow`` reads four channels."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "flow", "waveforms")

    def make_encoders(self, p: rcgrad.Parameters) -> None:
        """Add an image encoder of four channels."""
        # The published layout also holds first convolutions and a head that nothing reads.
        self.image_encoder = make_encoder(
            p.backbone,
            in_channels=4,
            width=p.width,
            map_stride=p.map_stride,
            stem="conv1_flow",
            unused_stems={"conv1_a": 1, "conv1": 3},
            has_head=True,
        )

    def visual_input(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return frame and flow magnitude, (n, 4, s, s)."""
        return torch.cat([inputs["frames"], inputs["flow"]], 1)
