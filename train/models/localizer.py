"""The interface of every model: what it reads, its embeddings, its loss on a batch and its localization maps."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from train.models.training_parameters import TrainingParameters

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class InputFormat:
    """How cached arrays become what the network reads (done on the device, ``train/data/augmentation.py``).

    ``flow_encoding``: ``signed`` (x, y), ``jpeg`` (negative components are 0, levels are whole and at most 255: what
    Hear The Flow's files hold) or ``magnitude`` (one channel); then ``(value + flow_offset) * flow_scale``.
    ``flow_unit``: ``pixels`` of the native frame, or ``frame``: fractions of the native frame's height, so that the
    same scene at another resolution looks the same.
    """

    image_size: int
    short_side: int
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD
    spectrogram_mean: float = 0.0
    spectrogram_std: float = 1.0
    spectrogram_pooling: int = 1
    flow_encoding: Literal["signed", "jpeg", "magnitude"] = "signed"
    flow_unit: Literal["pixels", "frame"] = "pixels"
    flow_offset: float = 0.0
    flow_scale: float = 1.0


def make_input_format(parameters: TrainingParameters, **further) -> InputFormat:
    """The part of the format that every method's parameters hold, and ``further`` fields."""
    p = parameters
    return InputFormat(
        p.image_size,
        p.short_side,
        spectrogram_mean=p.spectrogram_mean,
        spectrogram_std=p.spectrogram_std,
        spectrogram_pooling=p.spectrogram_pooling,
        **further,
    )


def full_precision(values: torch.Tensor) -> torch.Tensor:
    """At least float32: what mixed precision computed in half is compared and summed in full."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def pool_audio(features: torch.Tensor, how: str) -> torch.Tensor:
    """Feature map (n, c, h, w) to one vector a sound (n, c): ``max`` or ``mean``."""
    return features.amax((2, 3)) if how == "max" else features.mean((2, 3))


class Localizer(nn.Module):
    """A network that localizes a sound in a frame.

    ``reads`` names the cached features it needs. ``inputs`` below is a mapping with, of these, ``frames``
    (n, 3, s, s), ``flow`` (n, 1 or 2, s, s), ``spectrograms`` (n, 1, bins, times) and ``waveforms`` (n, samples), as
    ``input_format`` says.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    input_format: InputFormat
    vision_name: ClassVar[str] = "imgnet"  # the encoder that ImageNet's weights initialize
    further_imagenet_encoders: ClassVar[tuple[str, ...]] = ()
    imagenet_trunks: ClassVar[
        tuple[str, ...]
    ] = ()  # encoders that get them but for the first convolution, if there
    trained_as: ClassVar[str | None] = (
        None  # the method whose training makes the weights, where it is not its own
    )

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the loss compares, first axis samples: processes exchange these, when negatives are gathered."""
        raise TypeError(f"{type(self).__module__} does not define embed")

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """The training loss of a batch (scalar)."""
        raise TypeError(f"{type(self).__module__} does not define loss")

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Localization maps (n, h, w), larger is more likely; sample by sample, whatever else is in the batch."""
        raise TypeError(f"{type(self).__module__} does not define localize")

    def make_criterion(self) -> nn.Module:
        """``loss`` as a module: what it learns besides the network (a scale) is trained with it, but is not part of
        the network's state."""
        return Criterion(self.loss)


class Criterion(nn.Module):
    """A loss that learns nothing."""

    def __init__(self, loss):
        super().__init__()
        self._loss = loss

    def forward(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._loss(embeddings)
