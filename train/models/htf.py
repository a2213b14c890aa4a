"""Hear The Flow (Fedorishin et al., WACV 2023): optical flow guides where in a frame to look.

Cross-attention between the features of the frame and of the flow adds to the visual features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters, require_trained
from train.networks.encoders.image_encoder import draw_norms, make_encoder
from train.networks.losses import multiple_instance_loss, own_similarity, trimap_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Hear The Flow. The defaults are the published settings."""

    method: str = "htf"
    learning_rate: float = 1e-3
    flow_encoder: Literal["cnn", "maxpool"] = "cnn"
    # Weights only: BatchNorm statistics are still updated, as in the authors' training.
    freeze_vision: bool = True

    # --- loss
    epsilon: float = 0.65  # places with a higher similarity sound
    margin: float = 0.25  # places below epsilon - margin do not
    tau: float = 0.03  # softness of both thresholds
    # weighted as published; mean as in the LVS paper
    cross_clip_negatives: Literal["weighted", "mean"] = "weighted"
    # trimap as published; multiple_instance, EZ-VSL's loss, is an experiment
    loss: Literal["trimap", "multiple_instance"] = "trimap"

    # --- flow
    # channels of queries and keys; 0: an eighth of the features', which is 64 as published
    attention_size: int = 0
    # jpeg: what the authors' files hold; their weights need it
    flow_encoding: Literal["signed", "jpeg"] = "signed"
    flow_unit: Literal["pixels", "frame"] = "pixels"
    flow_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        require_trained(self, is_frozen=self.freeze_vision)


class FlowAttention(nn.Module):
    """Attention over places: queries and values from vision features, keys from flow features."""

    def __init__(self, num_features: int, num_key_channels: int, *, attention_size: int = 0):
        super().__init__()
        self.num_dimensions = attention_size or num_features // 8
        self.query_conv = nn.Conv2d(num_features, self.num_dimensions, kernel_size=1)
        self.key_conv = nn.Conv2d(num_key_channels, self.num_dimensions, kernel_size=1)
        self.value_conv = nn.Conv2d(num_features, num_features, kernel_size=1)

    def forward(self, visual: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return what is added to ``visual``.

        Args:
            visual: (n, c, h, w).
            keys: (n, k, h, w).

        Returns:
            (n, c, h, w).
        """
        query = self.query_conv(visual).flatten(2)
        key = self.key_conv(keys).flatten(2)
        value = self.value_conv(visual).flatten(2)
        # (n, places, places): each place of the frame looks at all places of the flow.
        weights = (torch.einsum("ncq,nck->nqk", query, key) / self.num_dimensions**0.5).softmax(-1)
        return torch.einsum("nck,nqk->ncq", value, weights).view_as(visual)


def pool_flow(flow: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return the largest motion in each cell of a grid, x and y for themselves: (n, 2, h, w).

    Args:
        flow: (n, 2, s, s), whose maximum counts as published; or (n, 4, s, s) of the encoding
            ``signs``, where the larger of both signs counts and keeps its sign.
        size: (h, w) of the grid.
    """
    largest = F.adaptive_max_pool2d(flow, tuple(size))
    if flow.shape[1] == 2:
        return largest
    # `signs` gives the positive parts of x and y, then the sizes of their negative parts.
    positive, negative = largest.chunk(2, dim=1)
    return torch.where(positive >= negative, positive, -negative)


class Model(Localizer):
    """``imgnet``, ``audnet``, ``flownet`` (where the flow encoder is ``cnn``) and ``flowatt``."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "flow", "spectrograms")
    has_similarity: ClassVar[bool] = True
    imagenet_trunks: ClassVar[tuple[str, ...]] = ("flownet",)

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        # The published maximum is that of pictures without negative values. Of signed flow it would
        # keep motion to the right and below only, so both signs are pooled.
        has_two_signs = p.flow_encoder == "maxpool" and p.flow_encoding == "signed"
        self.input_format = make_input_format(
            p,
            flow_encoding="signs" if has_two_signs else p.flow_encoding,
            flow_unit=p.flow_unit,
            flow_scale=p.flow_scale,
        )

        # The order of the layers decides their random weights.
        self.imgnet = make_encoder(
            p.backbone, in_channels=3, width=p.width, map_stride=p.map_stride
        )
        self.audnet = make_encoder(p.backbone, in_channels=1, width=p.audio_width or p.width)
        draw_norms(self.audnet)
        # With `maxpool` the flow itself is the input of the attention's keys.
        if p.flow_encoder == "cnn":
            self.flownet = make_encoder(
                p.backbone, in_channels=2, width=p.width, map_stride=p.map_stride
            )

        # Published widths are equal; other widths are an experiment and need a projection.
        if self.audnet.num_features != self.imgnet.num_features:
            self.aud_proj = nn.Linear(self.audnet.num_features, self.imgnet.num_features)

        num_key_channels = self.imgnet.num_features if p.flow_encoder == "cnn" else 2
        self.flowatt = FlowAttention(
            self.imgnet.num_features, num_key_channels, attention_size=p.attention_size
        )

        # Its BatchNorm statistics go on changing, as in the authors' training.
        if p.freeze_vision:
            self.imgnet.requires_grad_(False)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, h, w) and ``audio`` (n, c), of unit norm over channels."""
        visual = self.imgnet(inputs["frames"])
        if self.settings.flow_encoder == "cnn":
            keys = self.flownet(inputs["flow"])
        else:
            keys = pool_flow(inputs["flow"], visual.shape[-2:])

        visual = visual + self.flowatt(visual, keys)

        audio = pool_audio(self.audnet(inputs["spectrograms"]), self.settings.audio_pooling)
        if hasattr(self, "aud_proj"):
            audio = self.aud_proj(audio)
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the tri-map loss, or as an experiment EZ-VSL's loss."""
        p = self.settings
        if p.loss == "multiple_instance":
            return multiple_instance_loss(embeddings["visual"], embeddings["audio"], tau=p.tau)

        # Places between the two thresholds count neither as sounding nor as silent.
        return trimap_loss(
            embeddings["visual"],
            embeddings["audio"],
            epsilon_positive=p.epsilon,
            epsilon_negative=p.epsilon - p.margin,
            tau=p.tau,
            negatives=p.cross_clip_negatives,
        )

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps at the resolution of the encoder."""
        return self.similarity(self.embed(inputs))

    def similarity(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the cosine of each place and the sound."""
        return own_similarity(embeddings["visual"], embeddings["audio"])
