"""RCGrad (Wu et al., ICASSP 2022): embed a frame and a waveform, localize with Grad-CAM.

The three variants of FlowGrad (``train/models/flowgrad_*.py``) build on it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from train.models.localizer import (
    CLIP_MEAN,
    CLIP_STD,
    InputFormat,
    Localizer,
    full_precision,
    make_input_format,
)
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import make_encoder
from train.networks.encoders.waveform_encoder import make_waveform_encoder
from train.networks.gradcam import grad_cam
from train.networks.losses import clip_loss

# FlowGrad's code feeds (|flow| + 5) / 200.
FLOW_OFFSET, FLOW_SCALE = 5.0, 1 / 200


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """RCGrad. The defaults are the published settings."""

    method: str = "rcgrad"
    map_stride: int = 16
    batch_size: int = 256
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "plateau"] = "plateau"
    plateau_floor: float = 1e-6
    early_stop_patience: int = 10
    # Its frames are cropped in the middle and never mirrored.
    has_random_crop: bool = False
    has_flip: bool = False
    image_mean: tuple[float, ...] = CLIP_MEAN
    image_std: tuple[float, ...] = CLIP_STD
    # True reproduces the authors' code, which never puts the audio encoder into eval mode.
    uses_batch_statistics: bool = False
    initial_temperature: float = 0.07  # of the loss; its scale is learned

    def __post_init__(self) -> None:
        super().__post_init__()
        # The two embeddings are compared as they are, so they need one size.
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): "
                "there is no projection"
            )

        if self.initial_temperature <= 0:
            raise ValueError(f"initial_temperature ({self.initial_temperature}) must be > 0")

        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} ({getattr(self, name)}) must have 3 values")
        if not min(self.image_std) > 0:
            raise ValueError(f"image_std ({self.image_std}) must be > 0")


class Model(Localizer):
    """``image_encoder`` and ``audio_encoder``.

    The learned scale of the loss is not among the published keys, so it belongs to the criterion.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    vision_name: ClassVar[str] = "image_encoder"
    begins_as: ClassVar[str | None] = "rcgrad"

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = self.choose_input_format(p)
        self.make_encoders(p)
        self.audio_encoder = make_waveform_encoder(
            p.backbone, width=p.width, uses_batch_statistics=p.uses_batch_statistics
        )

    def choose_input_format(self, p: Parameters) -> InputFormat:
        """Return how inputs are prepared."""
        return make_input_format(
            p,
            image_mean=p.image_mean,
            image_std=p.image_std,
            flow_encoding="magnitude",
            flow_offset=FLOW_OFFSET,
            flow_scale=FLOW_SCALE,
        )

    def make_encoders(self, p: Parameters) -> None:
        """Add the encoders of frames and, in variants, of flow."""
        # The published layout also holds a first convolution and a head that nothing reads.
        self.image_encoder = make_encoder(
            p.backbone,
            in_channels=3,
            width=p.width,
            map_stride=p.map_stride,
            unused_stems={"conv1_a": 1},
            has_head=True,
        )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` and ``audio`` (n, c), average-pooled, not normalized."""
        visual = full_precision(self.image_encoder(self.visual_input(inputs))).mean((2, 3))
        return {"visual": visual, "audio": full_precision(self.audio_encoder(inputs["waveforms"]))}

    def visual_input(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the input of the image encoder."""
        return inputs["frames"]

    def loss(
        self, embeddings: dict[str, torch.Tensor], log_scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return CLIP's loss; ``log_scale`` defaults to its initial value."""
        log_scale = self._log_scale(embeddings) if log_scale is None else log_scale
        return clip_loss(embeddings["visual"], embeddings["audio"], log_scale)

    def _log_scale(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        return embeddings["audio"].new_tensor(-math.log(self.settings.initial_temperature))

    def make_criterion(self) -> nn.Module:
        """Return the loss with its learned scale."""
        return LearnedScale(self.loss, -math.log(self.settings.initial_temperature))

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return Grad-CAM maps at the size of the frames.

        The authors then clean them (``keep_upper_half``); evaluation protocols do so.
        """
        height, width = inputs["frames"].shape[-2:]
        features = self.image_encoder(self.visual_input(inputs))
        audio = self.audio_encoder(inputs["waveforms"])
        return grad_cam(features, audio, size=(height, width))


class LearnedScale(nn.Module):
    """A loss with CLIP's learned scale. Its authors set no limit, other than CLIP's code."""

    def __init__(self, loss: Callable[..., torch.Tensor], initial_log_scale: float):
        super().__init__()
        self._loss = loss
        self.log_scale = nn.Parameter(torch.tensor(initial_log_scale))

    def forward(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch."""
        return self._loss(embeddings, self.log_scale)
