"""LVS, "Localizing Visual Sounds the Hard Way" (Chen et al., CVPR 2021).

Its loss takes hard negatives from the frame itself: places that surely do not sound.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from pipeline.base.parameters import IS_NEW
from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import draw_norms, make_twin_encoders
from train.networks.equivariance import Transform, draw_transform, move
from train.networks.losses import own_similarity, trimap_logits, trimap_loss
from train.networks.sample_draws import SampleDraws


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """LVS. Its authors released no training code, so the optimization settings are ours."""

    method: str = "lvs"
    map_stride: int = 16
    epsilon_positive: float = 0.65  # places with a higher similarity sound
    epsilon_negative: float = 0.4  # places with a lower one do not
    tau: float = 0.03  # softness of both thresholds
    cross_clip_negatives: Literal["weighted", "mean"] = "weighted"  # released code, or paper
    # whether places of the own frame that surely do not sound are negatives; false: an ablation
    has_hard_negatives: bool = field(default=True, metadata=IS_NEW)
    # subtracted from the similarity of the sounding places, as in MarginNCE
    margin: float = field(default=0.0, metadata=IS_NEW)
    # of SSL-TIE's loss that a moved frame has the moved map; 0: LVS, without moved frames
    equivariance_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if self.equivariance_weight < 0:
            raise ValueError(f"equivariance_weight ({self.equivariance_weight}) must be >= 0")

        # The map of a frame of half the size must be smaller than that of the frame.
        if self.equivariance_weight and self.image_size < 2 * self.map_stride:
            raise ValueError(
                f"image_size ({self.image_size}) must be >= twice map_stride ({self.map_stride}) "
                "for equivariance"
            )

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
    has_similarity: ClassVar[bool] = True

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)

        self._angle_draws = SampleDraws()
        self.imgnet, self.audnet = make_twin_encoders(
            p.backbone,
            width=p.width,
            audio_width=p.audio_width,
            map_stride=p.map_stride,
            further_stems={"conv1_flow": 6},
        )
        for encoder in (self.imgnet, self.audnet):
            draw_norms(encoder)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, h, w) and ``audio`` (n, c), of unit norm over channels.

        In training with equivariance also the ``moved`` features of a random transform of the
        frames, and its ``angles`` and ``is_mirrored`` (n,).
        """
        sound = pool_audio(self.audnet(self.read_sound(inputs)), self.settings.audio_pooling)
        embeddings = {
            "visual": self._embed_frames(inputs["frames"]),
            "audio": F.normalize(full_precision(sound), dim=1),
        }
        if self.training and self.settings.equivariance_weight:
            embeddings |= self._embed_moved(inputs["frames"])
        return embeddings

    def read_sound(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return what ``audnet`` reads, (n, 1, bins, times)."""
        return inputs["spectrograms"]

    def _embed_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return F.normalize(full_precision(self.imgnet(frames)), dim=1)

    def _embed_moved(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        # Drawn for the whole batch, so that several processes turn frames as one would.
        transform = draw_transform(self._angle_draws(len(frames), 1)[:, 0].to(frames))
        moved = move(frames, transform, size=self.settings.image_size)
        return {
            "moved": self._embed_frames(moved),
            "angles": transform.angles,
            "is_mirrored": transform.is_mirrored,
        }

    def _loss_options(self) -> dict[str, Any]:
        p = self.settings
        return {
            "epsilon_positive": p.epsilon_positive,
            "epsilon_negative": p.epsilon_negative,
            "tau": p.tau,
            "negatives": p.cross_clip_negatives,
            "margin": p.margin,
            "has_hard_negatives": p.has_hard_negatives,
        }

    def logits(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of the loss, see ``trimap_logits``."""
        return trimap_logits(embeddings["visual"], embeddings["audio"], **self._loss_options())

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the tri-map loss; with moved frames, its mean over both, and equivariance."""
        visual, audio = embeddings["visual"], embeddings["audio"]
        contrast = trimap_loss(visual, audio, **self._loss_options())
        if "moved" not in embeddings:
            return contrast

        moved = embeddings["moved"]
        # As published, the frames and the moved frames count half each.
        contrast = (contrast + trimap_loss(moved, audio, **self._loss_options())) / 2
        # A smaller map tells that the frames were shrunk.
        transform = Transform(
            embeddings["angles"],
            embeddings["is_mirrored"],
            scale=1.0 if moved.shape[-1] == visual.shape[-1] else 0.5,
        )
        # As in the authors' code, gradients flow through both maps.
        maps = own_similarity(visual, audio)[:, None]
        expected = move(maps, transform, size=self.settings.image_size)
        distance = F.mse_loss(own_similarity(moved, audio)[:, None], expected)
        return contrast + self.settings.equivariance_weight * distance

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps at the resolution of the encoder."""
        return self.similarity(self.embed(inputs))

    def similarity(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the cosine of each place and the sound."""
        return own_similarity(embeddings["visual"], embeddings["audio"])
