"""SLAVC, simultaneous localization and correspondence (Mo & Morgado, NeurIPS 2022).

EZ-VSL's encoders with two projections each: one says which sound a place corresponds to, the other
where the sound is localized. Momentum copies of all networks give the targets.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import draw_norms, draw_projection, make_encoder
from train.networks.losses import own_similarity, simultaneous_loss
from train.networks.sample_draws import SampleDropout

_MOMENTUM = "momentum_"  # before the name of a copy
_NETWORKS = ("imgnet", "img_proj1", "img_proj2", "audnet", "aud_proj1", "aud_proj2")
_FEATURES = ("visual", "visual_2", "audio", "audio_2")


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """SLAVC. The defaults are the published settings."""

    method: str = "slavc"
    embedding_size: int = 512  # channels of both common spaces
    # how the projections and the norms of the sound begin; `kaiming` is for narrow networks
    first_weights: Literal["published", "kaiming"] = "published"
    tau: float = 0.03  # temperature of the loss
    epochs: int = 20
    negatives: Literal["gathered", "local"] = "local"
    select_on: Literal["val", "test", "last"] = "last"
    momentum: float = 0.999  # share of a copy's weights that a step keeps
    dropout: float = 0.9  # of single values of the visual features
    uses_momentum_at_test: bool = False  # whether the copies make the maps

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum ({self.momentum}) must be in [0, 1]")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout ({self.dropout}) must be in [0, 1)")


class Model(Localizer):
    """Encoders, two projections each, and a momentum copy of all of them."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "spectrograms")
    has_similarity: ClassVar[bool] = True

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)

        self.imgnet = make_encoder(
            p.backbone, in_channels=3, width=p.width, map_stride=p.map_stride
        )
        self.audnet = make_encoder(p.backbone, in_channels=1, width=p.audio_width or p.width)
        num_visual, num_audio = self.imgnet.num_features, self.audnet.num_features
        self.img_proj1 = nn.Conv2d(num_visual, p.embedding_size, kernel_size=1)
        self.img_proj2 = nn.Conv2d(num_visual, p.embedding_size, kernel_size=1)
        self.aud_proj1 = nn.Linear(num_audio, p.embedding_size)
        self.aud_proj2 = nn.Linear(num_audio, p.embedding_size)
        if p.first_weights == "published":
            draw_norms(self.audnet)
        for layer in (self.img_proj1, self.img_proj2, self.aud_proj1, self.aud_proj2):
            draw_projection(layer, how=p.first_weights)

        self._dropout = SampleDropout(p.dropout)
        # The optimizer never sees the copies: their weights follow those of the networks.
        for name in _NETWORKS:
            network = copy.deepcopy(getattr(self, name)).requires_grad_(False)
            self.add_module(_MOMENTUM + name, network)

    def take_first_weights(self) -> None:
        """Begin with equal copies."""
        # The copies were made before the networks got their first weights.
        for name in _NETWORKS:
            self.get_submodule(_MOMENTUM + name).load_state_dict(
                self.get_submodule(name).state_dict()
            )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return features of unit norm over channels, and those of the copies.

        Of correspondence ``visual`` (n, c, h, w) and ``audio`` (n, c), of localization ``visual_2``
        and ``audio_2``; the same with ``momentum_`` before the name.
        """
        embeddings = self._embed_by(inputs, prefix="")
        # As published, gradients flow into one side of each term only.
        with torch.no_grad():
            targets = self._embed_by(inputs, prefix=_MOMENTUM)
        return embeddings | {_MOMENTUM + name: values for name, values in targets.items()}

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of correspondence and localization at once."""
        first, second = (
            tuple(embeddings[prefix + name] for name in _FEATURES) for prefix in ("", _MOMENTUM)
        )
        return simultaneous_loss(first, second, tau=self.settings.tau)  # type: ignore[arg-type]

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of both cosine maps over tau."""
        prefix = _MOMENTUM if self.settings.uses_momentum_at_test else ""
        features = self._embed_by(inputs, prefix=prefix)
        return _mean_cosine(features) / self.settings.tau

    def similarity(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of both cosines, scaled to 0..1 (Juanola et al.)."""
        prefix = _MOMENTUM if self.settings.uses_momentum_at_test else ""
        return (_mean_cosine(embeddings, prefix=prefix) + 1) / 2

    def _embed_by(self, inputs: dict[str, torch.Tensor], *, prefix: str) -> dict[str, torch.Tensor]:
        def network(name: str) -> nn.Module:
            return self.get_submodule(prefix + name)

        # As published, single values are dropped and not channels, also for the copies.
        visual = self._dropout(network("imgnet")(inputs["frames"]))
        sound = pool_audio(network("audnet")(inputs["spectrograms"]), self.settings.audio_pooling)
        features = {
            "visual": network("img_proj1")(visual),
            "visual_2": network("img_proj2")(visual),
            "audio": network("aud_proj1")(sound),
            "audio_2": network("aud_proj2")(sound),
        }
        return {
            name: F.normalize(full_precision(values), dim=1) for name, values in features.items()
        }

    @torch.no_grad()
    def begin_step(self) -> None:
        """Move the copies' weights towards the networks', once for each optimizer step.

        Running statistics are not averaged: the copies are in training mode and have their own.
        """
        for name in _NETWORKS:
            own = self.get_submodule(name).parameters()
            for target, source in zip(
                self.get_submodule(_MOMENTUM + name).parameters(), own, strict=True
            ):
                target.lerp_(source, 1 - self.settings.momentum)


def _mean_cosine(features: dict[str, torch.Tensor], *, prefix: str = "") -> torch.Tensor:
    correspondence = own_similarity(features[prefix + "visual"], features[prefix + "audio"])
    localization = own_similarity(features[prefix + "visual_2"], features[prefix + "audio_2"])
    return (correspondence + localization) / 2
