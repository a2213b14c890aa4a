"""SSPL, "Self-supervised Predictive Learning" (Song et al., CVPR 2022).

A sound attends to two views of its frame, and what it attends to must agree. There are no
negatives. VGG-16 and VGGish are frozen; two layers behind VGGish and SimSiam's head are trained,
and with predictive coding a module that lets the sound correct the features of the frame.

Theirs: networks, attention, loss, map, log mel, settings, two learning rates. Ours: biases do not
decay, and frames are resized with their aspect before they are cropped, not squashed.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from earshot.errors import ParameterError
from train.models.localizer import (
    Localizer,
    NeededClassifier,
    full_precision,
    make_input_format,
)
from train.models.training_parameters import TrainingParameters, require_trained
from train.networks.encoders.image_encoder import VggEncoder
from train.networks.encoders.mel import fit_length
from train.networks.encoders.vggish import (
    FULL_WIDTH,
    MIN_SECONDS,
    SAMPLE_RATE,
    LogMelPatches,
    VggishEncoder,
)
from train.networks.losses import own_similarity
from train.networks.predictive_coding import PredictiveCoding
from train.networks.simsiam import SimSiamHead, predict_each_other

_RANGE_EPSILON = 1e-10  # of the authors' code: a map that is constant has a range of 0
_PEAK_EPSILON = 1e-3


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """SSPL. The defaults are the published settings without predictive coding.

    With it the authors train 20 epochs at a learning rate of 2e-5, the head at 2.5 times that.
    """

    method: str = "sspl"
    backbone: str = "vgg16"
    map_stride: int = 16
    batch_size: int = 256
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = 5e-4  # of the layers behind VGGish
    head_rate: float = 4.0  # learning rate of SimSiam's head, in units of learning_rate
    weight_decay: float = 1e-4
    select_on: Literal["val", "test", "last"] = "test"
    # whether the predictive coding module corrects the features of frames
    has_predictive_coding: bool = False
    freeze_vision: bool = True
    freeze_sound: bool = True
    # of VGGish: the path of vggish-10086976.pth, or random with freeze_sound false
    teacher_weights: str = "cache/weights/vggish-10086976.pth"
    sound_seconds: float = 3.0  # of sound, cut from the middle or repeated

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.backbone, self.map_stride) != ("vgg16", 16):
            raise ValueError(
                f"backbone and map_stride ({self.backbone}, {self.map_stride}) must be vgg16 and 16"
            )

        require_trained(self, is_frozen=self.freeze_vision)
        if self.freeze_sound and self.teacher_weights == "random":
            raise ValueError(
                "freeze_sound with teacher_weights random would keep an untrained sound encoder; "
                "set one of them"
            )

        if self.audio_width not in (0, self.width):
            raise ValueError(f"audio_width ({self.audio_width}) must be 0 or width ({self.width})")
        if not self.sound_seconds >= MIN_SECONDS:
            raise ValueError(f"sound_seconds ({self.sound_seconds}) must be >= {MIN_SECONDS}")

        # At 224 the levels have 14, 7 and 3 places a side. The way back is 2 * 3 + 1, an odd one.
        if self.has_predictive_coding and self.image_size % 64 != 32:
            raise ValueError(
                f"image_size ({self.image_size}) must be an odd multiple of 32, such as 224, for "
                "predictive coding"
            )
        if not self.head_rate > 0:
            raise ValueError(f"head_rate ({self.head_rate}) must be > 0")

    def name_variant(self) -> str:
        """Name SSPL without predictive coding, whose rows in the paper are others."""
        return self.method if self.has_predictive_coding else f"{self.method}_without_pcm"

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: also VGGish."""
        return (*super().list_sources(), self.teacher_weights)


class _SoundEncoder(VggishEncoder):
    """VGGish, and two layers that turn its vectors into the space of the frames' features."""

    def __init__(self, *, width: int, num_features: int):
        super().__init__(width=width)
        self.fc = nn.Sequential(
            nn.Linear(self.num_features, num_features),
            nn.ReLU(),
            nn.Linear(num_features, num_features),
        )


class Model(Localizer):
    """``frame`` (VGG-16), ``sound`` (VGGish and ``fc``), ``ssl_head``, and perhaps ``pcm``."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    vision_name: ClassVar[str] = "frame"
    needs_second_view: ClassVar[bool] = True

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p, sample_rate=SAMPLE_RATE)
        self.patches = LogMelPatches()
        self.frame = VggEncoder(width=p.width, trunk="feat_extractor")
        self.sound = _SoundEncoder(width=p.width, num_features=self.frame.num_features)
        if p.has_predictive_coding:
            self.pcm = PredictiveCoding(self.frame.num_features, self.sound.num_features)
        self.ssl_head = SimSiamHead(self.frame.num_features)

        self.frame.requires_grad_(not p.freeze_vision)
        # VGGish is frozen. Of the sound, `fc` alone learns.
        for part in (self.sound.features, self.sound.embeddings):
            part.requires_grad_(not p.freeze_sound)

        if p.teacher_weights != "random":
            self.needed_classifier = NeededClassifier(
                "vggish",
                p.teacher_weights,
                needs_head=False,
                is_needed_in_training=True,
                is_needed_at_test=False,  # it is part of the state dict
            )

    def attach_classifier(self, classifier: nn.Module) -> None:
        """Take over the weights of VGGish.

        Raises:
            ParameterError: the network is narrower than these.
        """
        if self.settings.width != FULL_WIDTH:
            raise ParameterError(
                f"width ({self.settings.width}) must be {FULL_WIDTH} with the weights of VGGish; "
                "set teacher_weights to random and freeze_sound to false"
            )
        # The state of VGGish has no `fc`, so those weights stay.
        self.sound.load_state_dict(self.sound.state_dict() | classifier.state_dict())

    def learning_rate_factor(self, name: str) -> float:
        """Return the factor of the learning rate of a tensor."""
        return self.settings.head_rate if name.startswith("ssl_head.") else 1.0

    def has_decay(self, name: str) -> bool:
        """Return whether the weights of a tensor decay: not the rates of predictive coding."""
        return not name.startswith(("pcm.a0.", "pcm.b0."))

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``audio`` (n, c), and projection and prediction of both views.

        Without a second view, as in validation, both are the same.
        """
        sound, vectors = self.embed_sound(self.read_sound(inputs))
        first = self._view(inputs["frames"], sound, vectors)
        second = first
        if "second_frames" in inputs:
            second = self._view(inputs["second_frames"], sound, vectors)

        embeddings = {"audio": sound}
        for name, (projection, prediction) in (("first", first), ("second", second)):
            # SimSiam lets no gradient into projections: with it, all of them would become alike.
            embeddings[f"{name}_projection"] = full_precision(projection).detach()
            embeddings[f"{name}_prediction"] = full_precision(prediction)
        return embeddings

    def read_sound(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return log mel patches (n, patches, 1, 96, 64) of the sound, scaled to about -1..1."""
        num_samples = round(self.settings.sound_seconds * SAMPLE_RATE)
        waveforms = fit_length(inputs["waveforms"], num_samples)
        # As in the authors' code, silence has an offset.
        shifted = waveforms - waveforms.amin(1, keepdim=True)
        peaks = shifted.amax(1, keepdim=True) + _PEAK_EPSILON
        return self.patches((shifted / peaks - 0.5) * 2)

    def embed_sound(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means over patches: what attends (n, c), and VGGish's vectors (n, a)."""
        # All patches in one pass, (n patches, a). The means below are over the patches of a sample.
        vectors = self.sound(patches.flatten(0, 1))
        sound, vectors = (
            full_precision(values).unflatten(0, patches.shape[:2]).mean(1)
            for values in (self.sound.fc(vectors), vectors)
        )
        return sound, vectors

    def attend(
        self, frames: torch.Tensor, sound: torch.Tensor, vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cosine map (n, h, w), and what the sound attends to, (n, c).

        Args:
            frames: the input of the vision encoder.
            sound: (n, c), from ``embed_sound``.
            vectors: (n, a), from ``embed_sound``.
        """
        features = self.frame(frames)
        if self.settings.has_predictive_coding:
            # As published, the vectors that predict have unit norm.
            features = self.pcm(features, F.normalize(vectors, dim=1))
        features = full_precision(features)

        maps = own_similarity(F.normalize(features, dim=1), F.normalize(sound, dim=1))
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        weights = (maps - low) / (high - low + _RANGE_EPSILON)
        # As published: a sum over places, not a mean, of features that are not normalized.
        return maps, torch.einsum("nchw,nhw->nc", features, weights)

    def _view(
        self, frames: torch.Tensor, sound: torch.Tensor, vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ssl_head(self.attend(frames, sound, vectors)[1])

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return how badly the views predict each other, -1 at best."""
        first, second = (
            (embeddings[f"{name}_projection"], embeddings[f"{name}_prediction"])
            for name in ("first", "second")
        )
        return predict_each_other(first, second)

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return cosine maps."""
        return self.attend(inputs["frames"], *self.embed_sound(self.read_sound(inputs)))[0]
