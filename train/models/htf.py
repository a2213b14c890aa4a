"""Hear The Flow (Fedorishin et al., WACV 2023): flow tells by cross-attention where in the frame to look."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders import make_encoder
from train.networks.losses import multiple_instance_loss, own_similarity, trimap_loss


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Hear The Flow; defaults as published."""

    method: str = "htf"
    learning_rate: float = 1e-3
    flow_encoder: Literal["cnn", "maxpool"] = "cnn"
    freeze_vision: bool = (
        True  # weights only: the BatchNorm statistics move, as in the authors' training
    )
    epsilon: float = 0.65
    margin: float = 0.25
    tau: float = 0.03
    cross_clip_negatives: Literal["weighted", "mean"] = (
        "weighted"  # as published; mean: the LVS paper's
    )
    loss: Literal["trimap", "multiple_instance"] = (
        "trimap"  # trimap as published; the other is EZ-VSL's, an experiment
    )
    attention_size: int = (
        0  # channels of queries and keys; 0: an eighth of the features', 64 as published
    )
    flow_encoding: Literal["signed", "jpeg"] = (
        "signed"  # jpeg: as the authors' files, for their weights
    )
    flow_unit: Literal["pixels", "frame"] = "pixels"
    flow_scale: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.tau <= 0:
            raise ValueError(f"tau ({self.tau}) must be > 0")
        if self.freeze_vision and self.init == "random":
            raise ValueError(
                "freeze_vision with init random would keep an untrained vision encoder; set one of them"
            )


class FlowAttention(nn.Module):
    """Attention over places: queries and values of the vision features, keys of the flow features."""

    def __init__(self, num_features: int, num_key_channels: int, *, attention_size: int = 0):
        super().__init__()
        self.num_dimensions = attention_size or num_features // 8
        self.query_conv = nn.Conv2d(num_features, self.num_dimensions, kernel_size=1)
        self.key_conv = nn.Conv2d(num_key_channels, self.num_dimensions, kernel_size=1)
        self.value_conv = nn.Conv2d(num_features, num_features, kernel_size=1)

    def forward(self, visual: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """``visual`` (n, c, h, w), ``keys`` (n, k, h, w) -> what is added to ``visual``, same shape."""
        query, key, value = (
            convolution(x).flatten(2)
            for convolution, x in (
                (self.query_conv, visual),
                (self.key_conv, keys),
                (self.value_conv, visual),
            )
        )
        weights = (torch.einsum("ncq,nck->nqk", query, key) / self.num_dimensions**0.5).softmax(-1)
        return torch.einsum("nck,nqk->ncq", value, weights).view_as(visual)


class Model(Localizer):
    """``imgnet``, ``audnet``, ``flownet`` (for the ``cnn`` flow encoder) and ``flowatt``."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "flow", "spectrograms")
    imagenet_trunks: ClassVar[tuple[str, ...]] = ("flownet",)

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(
            p, flow_encoding=p.flow_encoding, flow_unit=p.flow_unit, flow_scale=p.flow_scale
        )
        self.imgnet = make_encoder(
            p.backbone, in_channels=3, width=p.width, map_stride=p.map_stride
        )
        self.audnet = make_encoder(p.backbone, in_channels=1, width=p.audio_width or p.width)
        if p.flow_encoder == "cnn":
            self.flownet = make_encoder(
                p.backbone, in_channels=2, width=p.width, map_stride=p.map_stride
            )
        if (
            self.audnet.num_features != self.imgnet.num_features
        ):  # an experiment: published widths are equal
            self.aud_proj = nn.Linear(self.audnet.num_features, self.imgnet.num_features)
        num_key_channels = self.imgnet.num_features if p.flow_encoder == "cnn" else 2
        self.flowatt = FlowAttention(
            self.imgnet.num_features, num_key_channels, attention_size=p.attention_size
        )
        if p.freeze_vision:
            self.imgnet.requires_grad_(False)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``visual`` (n, c, h, w) with the attention added and ``audio`` (n, c), normalized over channels."""
        visual = self.imgnet(inputs["frames"])
        if self.settings.flow_encoder == "cnn":
            keys = self.flownet(inputs["flow"])
        else:
            keys = F.adaptive_max_pool2d(inputs["flow"], visual.shape[-2:])
        audio = pool_audio(self.audnet(inputs["spectrograms"]), self.settings.audio_pooling)
        if hasattr(self, "aud_proj"):
            audio = self.aud_proj(audio)
        visual = visual + self.flowatt(visual, keys)
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        p = self.settings
        if p.loss == "multiple_instance":
            return multiple_instance_loss(embeddings["visual"], embeddings["audio"], tau=p.tau)
        return trimap_loss(
            embeddings["visual"],
            embeddings["audio"],
            epsilon_positive=p.epsilon,
            epsilon_negative=p.epsilon - p.margin,
            tau=p.tau,
            negatives=p.cross_clip_negatives,
        )

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        embeddings = self.embed(inputs)
        return own_similarity(embeddings["visual"], embeddings["audio"])
