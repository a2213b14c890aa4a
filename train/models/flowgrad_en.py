"""FlowGrad-EN (Singh et al., ICASSP 2023): RCGrad with a third encoder for the flow magnitude."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from train.models import rcgrad
from train.models.localizer import full_precision
from train.networks.encoders.image_encoder import make_encoder
from train.networks.gradcam import grad_cam
from train.networks.losses import clip_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(rcgrad.Parameters):
    """FlowGrad-EN. The defaults are the published settings."""

    method: str = "flowgrad_en"
    batch_size: int = 64
    early_stop_patience: int = 50
    pair_losses: Literal["mean", "sum"] = "mean"  # released code, or paper


class Model(rcgrad.Model):
    """RCGrad's network and ``flow_encoder``."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "flow", "waveforms")
    settings: Parameters
    further_imagenet_encoders: ClassVar[tuple[str, ...]] = ("flow_encoder",)

    def make_encoders(self, p: rcgrad.Parameters) -> None:
        """Add the encoders of frame and flow magnitude."""
        super().make_encoders(p)
        # The published layout also holds first convolutions and a head that nothing reads.
        self.flow_encoder = make_encoder(
            p.backbone,
            in_channels=1,
            width=p.width,
            map_stride=p.map_stride,
            stem="conv1_flow",
            unused_stems={"conv1_a": 1, "conv1": 3},
            has_head=True,
        )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual``, ``flow`` and ``audio`` (n, c), average-pooled, not normalized."""
        flow = full_precision(self.flow_encoder(inputs["flow"])).mean((2, 3))
        return {**super().embed(inputs), "flow": flow}

    def loss(
        self, embeddings: dict[str, torch.Tensor], log_scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return CLIP's loss over the three pairs of embeddings."""
        log_scale = self._log_scale(embeddings) if log_scale is None else log_scale
        pairs = (("visual", "audio"), ("flow", "audio"), ("visual", "flow"))
        total = sum(
            clip_loss(embeddings[first], embeddings[second], log_scale) for first, second in pairs
        )
        return total / len(pairs) if self.settings.pair_losses == "mean" else total

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the product of the Grad-CAM maps of frame and flow, at the size of the frames."""
        height, width = inputs["frames"].shape[-2:]

        size = (height, width)
        audio = self.audio_encoder(inputs["waveforms"])
        visual_map = grad_cam(self.image_encoder(inputs["frames"]), audio, size=size)
        return visual_map * grad_cam(self.flow_encoder(inputs["flow"]), audio, size=size)
