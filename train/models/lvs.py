"""LVS, "Localizing Visual Sounds the Hard Way" (Chen et al., CVPR 2021): hard negatives from the same frame."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders import make_encoder
from train.networks.losses import own_similarity, trimap_logits, trimap_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """LVS; its authors released no training code, so optimization settings are ours."""

    method: str = "lvs"
    map_stride: int = 16
    epsilon_positive: float = 0.65
    epsilon_negative: float = 0.4
    tau: float = 0.03
    cross_clip_negatives: Literal["weighted", "mean"] = "weighted"  # released code, or paper

    def __post_init__(self):
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): lvs has no projection"
            )


class Model(Localizer):
    """``imgnet`` and ``audnet``, of one layout: each holds first convolutions and a head that it does not use."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "spectrograms")

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)
        stems = {"conv1_a": 1, "conv1": 3, "conv1_flow": 6}
        options = {"unused_stems": stems, "has_head": True, "map_stride": p.map_stride}
        self.imgnet = make_encoder(
            p.backbone, in_channels=3, stem="conv1", width=p.width, **options
        )
        self.audnet = make_encoder(
            p.backbone, in_channels=1, stem="conv1_a", width=p.audio_width or p.width, **options
        )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``visual`` (n, c, h, w) and ``audio`` (n, c), normalized over channels."""
        visual = self.imgnet(inputs["frames"])
        audio = pool_audio(self.audnet(inputs["spectrograms"]), self.settings.audio_pooling)
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def _options(self) -> dict:
        p = self.settings
        return {
            "epsilon_positive": p.epsilon_positive,
            "epsilon_negative": p.epsilon_negative,
            "tau": p.tau,
            "negatives": p.cross_clip_negatives,
        }

    def logits(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss's logits, see ``trimap_logits``."""
        return trimap_logits(embeddings["visual"], embeddings["audio"], **self._options())

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        return trimap_loss(embeddings["visual"], embeddings["audio"], **self._options())

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        embeddings = self.embed(inputs)
        return own_similarity(embeddings["visual"], embeddings["audio"])
