"""LVS, "Localizing Visual Sounds the Hard Way" (Chen et al., CVPR 2021).

Its loss takes hard negatives from the frame itself: places that surely do not sound.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders import make_encoder
from train.networks.losses import own_similarity, trimap_logits, trimap_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """LVS. Its authors released no training code, so the optimization settings are ours."""

    method: str = "lvs"
    map_stride: int = 16
    epsilon_positive: float = 0.65  # places with a higher similarity sound
    epsilon_negative: float = 0.4  # places with a lower one do not
    tau: float = 0.03  # softness of both thresholds
    cross_clip_negatives: Literal["weighted", "mean"] = "weighted"  # released code, or paper

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): "
                "lvs has no projection"
            )


class Model(Localizer):
    """Two encoders of one layout, ``imgnet`` and ``audnet``.

    Each holds first convolutions and a head that it does not use, as the released weights do.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames", "spectrograms")

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)

        # Each encoder holds all first convolutions of the released layout, and uses one of them.
        stems = {"conv1_a": 1, "conv1": 3, "conv1_flow": 6}
        options: dict[str, Any] = {
            "unused_stems": stems,
            "has_head": True,
            "map_stride": p.map_stride,
        }

        self.imgnet = make_encoder(
            p.backbone, in_channels=3, stem="conv1", width=p.width, **options
        )
        self.audnet = make_encoder(
            p.backbone, in_channels=1, stem="conv1_a", width=p.audio_width or p.width, **options
        )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, h, w) and ``audio`` (n, c), of unit norm over channels."""
        visual = self.imgnet(inputs["frames"])
        audio = pool_audio(self.audnet(inputs["spectrograms"]), self.settings.audio_pooling)
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def _loss_options(self) -> dict[str, Any]:
        p = self.settings
        return {
            "epsilon_positive": p.epsilon_positive,
            "epsilon_negative": p.epsilon_negative,
            "tau": p.tau,
            "negatives": p.cross_clip_negatives,
        }

    def logits(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of the loss, see ``trimap_logits``."""
        return trimap_logits(embeddings["visual"], embeddings["audio"], **self._loss_options())

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the tri-map loss."""
        return trimap_loss(embeddings["visual"], embeddings["audio"], **self._loss_options())

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps at the resolution of the encoder."""
        embeddings = self.embed(inputs)
        return own_similarity(embeddings["visual"], embeddings["audio"])
