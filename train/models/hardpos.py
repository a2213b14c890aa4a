"""HardPos, "Less Can Be More" (Senocak et al., ICASSP 2022), as we read it: no code is public.

Clips that look or sound alike are positives, too. A frame is compared with the sound of a neighbour
by sound, and a sound with the frame of a neighbour by frame. Network and thresholds are LVS's.

Recalled from the paper: the four positive terms, the soft threshold of 0.65 for both parts, plain
means of other clips' maps, neighbours among the nearest by trained networks. Ours, since the paper
leaves it open or could not be read: each negative is a logit of its own, as in LVS's code, and the
mean of the four positives is the first; 100 neighbours (a later paper of the same authors has
1000); the encoders that find them; that frame and sound are normalized in separate passes;
optimizer, batch and epochs. Validation compares each clip with itself alone.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from train.models import lvs
from train.networks.losses import hard_positive_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(lvs.Parameters):
    """HardPos. What the paper does not say is as for LVS."""

    method: str = "hardpos"
    init: str = "random"
    cross_clip_negatives: Literal["weighted", "mean"] = "mean"
    epsilon_negative: float = 0.65
    # which network finds neighbours: imagenet, or the folder of a run
    frame_encoder: str = "imagenet"
    sound_encoder: str = "cache/runs/lvs"
    num_neighbours: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.equivariance_weight:
            raise ValueError(
                f"equivariance_weight ({self.equivariance_weight}) must be 0 for hardpos"
            )
        if not self.num_neighbours > 0:
            raise ValueError(f"num_neighbours ({self.num_neighbours}) must be > 0")

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: also the encoders."""
        return (*super().list_sources(), self.frame_encoder, self.sound_encoder)


class Model(lvs.Model):
    """LVS's network."""

    needs_neighbours: ClassVar[bool] = True

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` and ``audio`` as LVS, and in training those of the neighbours.

        They are ``near_visual`` (n, c, h, w) and ``near_audio`` (n, c).
        """
        embeddings = super().embed(inputs)
        # At validation there are no neighbours: the clip then takes their place.
        if "neighbour_frames" not in inputs:
            return embeddings
        near = super().embed({name: inputs[f"neighbour_{name}"] for name in self.reads})
        return embeddings | {"near_visual": near["visual"], "near_audio": near["audio"]}

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss over the four pairs of a clip and its neighbours."""
        visual, audio = embeddings["visual"], embeddings["audio"]
        return hard_positive_loss(
            visual,
            audio,
            embeddings.get("near_visual", visual),
            embeddings.get("near_audio", audio),
            **self._loss_options(),
        )
