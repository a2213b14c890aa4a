"""The interface of every model: inputs, embeddings, the loss of a batch, localization maps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from train.models.training_parameters import TrainingParameters

# Mean and deviation of RGB values 0..1, as ImageNet's and CLIP's networks expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class InputFormat:
    """How cached arrays become what a network reads (``train/data/augmentation.py`` does it)."""

    image_size: int  # pixels of the square input
    short_side: int  # pixels to which a frame is resized before the square is cropped
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD

    # (cached spectrogram - mean) / std, then blocks of pooling x pooling averaged
    spectrogram_mean: float = 0.0
    spectrogram_std: float = 1.0
    spectrogram_pooling: int = 1

    # in Hz, of the waveforms; None: any
    sample_rate: int | None = None

    # signed: x and y. magnitude: one channel. jpeg: what Hear The Flow's files hold; negative
    # components are 0, levels are whole numbers up to 255. signs: four channels, the positive parts
    # of x and y, then the sizes of the negative ones, so that a maximum keeps motion both ways.
    flow_encoding: Literal["signed", "jpeg", "magnitude", "signs"] = "signed"
    # pixels of the native frame; or frame: fractions of its height, so that the same scene at
    # another resolution looks the same
    flow_unit: Literal["pixels", "frame"] = "pixels"
    # the network reads (value + offset) * scale
    flow_offset: float = 0.0
    flow_scale: float = 1.0


@dataclass(frozen=True)
class NeededClassifier:
    """A frozen classifier that a network needs: of ImageNet, or a network of sound.

    ``train/weights/frozen_networks.py`` makes it. It is not trained and no part of the state dict.
    """

    backbone: str  # a ResNet, soundnet8 or vggish
    weights: str  # imagenet, or the path of torchvision's (SoundNet's) weights
    needs_head: bool  # whether its class probabilities are used, or only its features
    is_needed_in_training: bool = False
    is_needed_at_test: bool = True


def make_input_format(parameters: TrainingParameters, **further: Any) -> InputFormat:
    """Make the input format of a method.

    Args:
        parameters: hold the fields that every method has.
        further: other fields of ``InputFormat``.
    """
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
    """Return values of half precision as float32, and all others as they are.

    Sums and comparisons would lose digits in half precision.
    """
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def pool_audio(features: torch.Tensor, how: Literal["max", "mean"]) -> torch.Tensor:
    """Pool a feature map (n, c, h, w) to one vector a sound (n, c)."""
    return features.amax((2, 3)) if how == "max" else features.mean((2, 3))


class Localizer(nn.Module):
    """A network that localizes a sound in a frame.

    ``inputs`` below is a mapping that holds the features of ``reads``, prepared as ``input_format``
    says:

    - ``frames`` (n, 3, s, s)
    - ``flow`` (n, 1, 2 or 4, s, s)
    - ``spectrograms`` (n, 1, bins, times)
    - ``waveforms`` (n, num_samples)
    - ``sequences`` (n, 3, times, s, s), levels 0..255

    In training it also holds what ``read_values`` returns.
    """

    # names of the cached features that the network needs
    reads: ClassVar[tuple[str, ...]] = ()
    # how they become its inputs
    input_format: InputFormat
    # the classifier that must be attached before it is used; None: none
    needed_classifier: NeededClassifier | None = None

    # ``similarity`` is defined: sounds can be compared by how well they fit a place
    has_similarity: ClassVar[bool] = False

    # the encoder that ImageNet's weights initialize
    vision_name: ClassVar[str] = "imgnet"
    # encoders that get the same weights, their first convolution averaged over its channels
    further_imagenet_encoders: ClassVar[tuple[str, ...]] = ()
    # encoders that get them except for the first convolution
    imagenet_trunks: ClassVar[tuple[str, ...]] = ()

    # the method whose trained weights may be the first ones, see ``init``; None: none
    begins_as: ClassVar[str | None] = None
    # parts of the network that a run whose weights are the first ones, see ``init``, may lack
    further_parts: ClassVar[tuple[str, ...]] = ()
    # the method whose training makes the weights; None: this method's own
    trained_as: ClassVar[str | None] = None
    # training reads each frame in two ways; the inputs then have ``second_frames``
    needs_second_view: ClassVar[bool] = False
    # training reads a clip's neighbours by frame and by sound, see ``train/neighbours``; their
    # inputs have ``neighbour_`` before the name
    needs_neighbours: ClassVar[bool] = False

    def read_values(self, sample_ids: list[str]) -> dict[str, np.ndarray]:
        """Return what the loss needs of samples besides their features: name -> (n, ...).

        Names are those of ``train.data.collate.VALUES``.
        """
        return {}

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute what the loss compares; the first axis is the samples.

        ``audio`` (n, c) is among it: training watches whether all sounds become alike.

        Several processes exchange these tensors, so that each sees the negatives of all.
        """
        raise TypeError(f"{type(self).__module__} does not define embed")

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute the training loss of a batch, a scalar."""
        raise TypeError(f"{type(self).__module__} does not define loss")

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute localization maps (n, h, w); a larger value is more likely.

        The map of a sample does not depend on the other samples of the batch.
        """
        raise TypeError(f"{type(self).__module__} does not define localize")

    def localize_unguided(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute the maps that choose the epoch: without what is mixed in at test."""
        return self.localize(inputs)

    def similarity(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute how well each place fits the sound, (n, h, w), from what ``embed`` returns.

        It is not normalized: one threshold holds for all frames and sounds.
        """
        raise TypeError(f"{type(self).__module__} does not define similarity")

    def embed_sounds(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute what ``embed`` returns of m sounds, whatever frames stand beside them.

        Args:
            inputs: m sounds, and all other features of one sample.
        """
        found = self.embed(inputs)
        return {name: values for name, values in found.items() if "audio" in name}

    def take_first_weights(self) -> None:
        """Prepare what follows from the first weights; called once, when the network has them."""

    def learning_rate_factor(self, name: str) -> float:
        """Return the learning rate of a trained tensor, in units of ``learning_rate``."""
        return 1.0

    def has_decay(self, name: str) -> bool:
        """Return whether the weight decay of AdamW and SGD is for a tensor of weights."""
        return True

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch a training is in, from 0: some losses change in the course of it."""

    def begin_step(self) -> None:
        """Prepare an optimizer step of a training; called before the first of its batches."""

    def attach_classifier(self, classifier: nn.Module) -> None:
        """Keep the classifier that ``needed_classifier`` describes."""
        raise TypeError(f"{type(self).__module__} needs no classifier")

    def make_criterion(self) -> nn.Module:
        """Return ``loss`` as a module.

        What a loss learns (a scale) is trained with the network but is no part of its state.
        """
        return Criterion(self.loss)


class Criterion(nn.Module):
    """A loss that learns nothing."""

    def __init__(self, loss: Callable[[dict[str, torch.Tensor]], torch.Tensor]):
        super().__init__()
        self._loss = loss

    def forward(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch."""
        return self._loss(embeddings)
