"""EZ-VSL, "Localizing Visual Sounds the Easy Way" (Mo & Morgado, ECCV 2022).

Two encoders with projections to a common space, and a multiple-instance contrastive loss. At test
its authors mix in a map of objects (``train/networks/object_guidance.py``).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import (
    Localizer,
    NeededClassifier,
    full_precision,
    make_input_format,
    pool_audio,
)
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import (
    ResNetEncoder,
    draw_norms,
    draw_projection,
    make_encoder,
)
from train.networks.losses import multiple_instance_loss, own_similarity
from train.networks.object_guidance import ObjectGuidance


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """EZ-VSL. The defaults are the published settings."""

    method: str = "ezvsl"
    embedding_size: int = 512  # channels of the common space
    tau: float = 0.03  # temperature of the loss
    matching: Literal["max", "average", "pooled"] = "max"  # how a frame matches a sound
    # subtracted from the similarity of true pairs; MarginNCE: -0.2
    margin: float = 0.0
    # how the projections and the norms of the sound begin; `kaiming` is for narrow networks
    first_weights: Literal["published", "kaiming"] = "published"

    # the map of objects that is mixed in at test; needs ImageNet's weights
    object_guidance: Literal["none", "l1", "cls"] = "none"
    object_guidance_weights: str = "imagenet"  # or the path of torchvision's resnet18 weights
    object_guidance_alpha: float = 0.4  # weight of the audio-visual map in the mixture

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if not 0 <= self.object_guidance_alpha <= 1:
            raise ValueError(
                f"object_guidance_alpha ({self.object_guidance_alpha}) must be in [0, 1]"
            )

    def name_variant(self) -> str:
        """Name MarginNCE, which is EZ-VSL with a margin."""
        is_margin_nce = self.method == "ezvsl" and self.margin != 0
        return "marginnce" if is_margin_nce else super().name_variant()


class Model(Localizer):
    """``imgnet`` with a 1x1 convolution and ``audnet`` with a linear layer to a common space."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "spectrograms")
    has_similarity: ClassVar[bool] = True

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)

        self.imgnet = make_encoder(
            p.backbone, in_channels=3, width=p.width, map_stride=p.map_stride
        )
        # Sound becomes one vector, so a finer map of it would only cost time.
        self.audnet = make_encoder(p.backbone, in_channels=1, width=p.audio_width or p.width)

        self.img_proj = nn.Conv2d(self.imgnet.num_features, p.embedding_size, kernel_size=1)
        self.aud_proj = nn.Linear(self.audnet.num_features, p.embedding_size)
        if p.first_weights == "published":
            draw_norms(self.audnet)
        for layer in (self.img_proj, self.aud_proj):
            draw_projection(layer, how=p.first_weights)

        # `attach_classifier` sets it: its weights are frozen, fetched, and not part of a run.
        self._guidance: ObjectGuidance | None = None
        if p.object_guidance != "none":
            self.needed_classifier = NeededClassifier(
                "resnet18", p.object_guidance_weights, needs_head=p.object_guidance == "cls"
            )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, h, w) and ``audio`` (n, c), of unit norm over channels."""
        visual = self.img_proj(self.imgnet(inputs["frames"]))
        sound = pool_audio(self.audnet(inputs["spectrograms"]), self.settings.audio_pooling)
        audio = self.aud_proj(sound)
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the multiple-instance loss."""
        return multiple_instance_loss(
            embeddings["visual"],
            embeddings["audio"],
            tau=self.settings.tau,
            matching=self.settings.matching,
            margin=self.settings.margin,
        )

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps over tau, as the authors' code does.

        With object guidance return the mixture, at the size of the frames.
        """
        maps = self.localize_unguided(inputs)
        if self.settings.object_guidance == "none":
            return maps

        assert self._guidance is not None, "attach_classifier comes before localize"
        return self._guidance.mix(maps, inputs["frames"], alpha=self.settings.object_guidance_alpha)

    def localize_unguided(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps over tau, never mixed with objects."""
        embeddings = self.embed(inputs)
        return own_similarity(embeddings["visual"], embeddings["audio"]) / self.settings.tau

    def similarity(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the cosine of each place and the sound, scaled to 0..1 (Juanola et al.)."""
        return (own_similarity(embeddings["visual"], embeddings["audio"]) + 1) / 2

    def attach_classifier(self, classifier: nn.Module) -> None:
        """Keep the frozen classifier whose map is mixed in."""
        assert isinstance(classifier, ResNetEncoder)
        # ObjectGuidance is no module, so the classifier stays out of this model's state dict.
        assert self.settings.object_guidance != "none"
        self._guidance = ObjectGuidance(classifier, kind=self.settings.object_guidance)
