"""Attention10k, "Learning to Localize Sound Source in Visual Scenes" (Senocak et al., CVPR 2018).

A sound attends to places of a picture; what it attends to must resemble the sound. Picture and
sound are read by frozen networks, VGG-16 and SoundNet, and four linear layers are trained.

Theirs (the authors' later PyTorch code): network, attention, unsupervised loss, settings. Ours: the
other sound is that of the next sample of the shuffled batch, and SoundNet runs inside the network,
on the cached waveform. The weights that the authors released saw annotated boxes, so they are no
unsupervised result.
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
)
from train.models.training_parameters import TrainingParameters, require_trained
from train.networks.encoders.image_encoder import VggEncoder
from train.networks.encoders.mel import fit_length
from train.networks.encoders.soundnet import MIN_SECONDS, NUM_OBJECTS, SAMPLE_RATE, SoundNet
from train.networks.losses import own_similarity


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Attention10k. The defaults are what the authors' README runs."""

    method: str = "attention10k"
    backbone: str = "vgg16"
    map_stride: int = 16
    image_size: int = 320  # cache frames with a short side of 320
    batch_size: int = 30
    epochs: int = 10
    has_random_crop: bool = False
    has_flip: bool = False
    select_on: Literal["val", "test", "last"] = "test"
    select_by: Literal["adaptive_ciou", "ezvsl_val", "htf", "loss"] = "loss"
    freeze_vision: bool = True
    teacher_weights: str = "cache/weights/sound8.pth"  # of SoundNet
    sound_seconds: float = 20.0  # to which the cached sound is repeated
    # softmax: as published; places that do not match at all tie. cosine: without ties
    map_values: Literal["softmax", "cosine"] = "softmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.backbone, self.map_stride) != ("vgg16", 16):
            raise ValueError(
                f"backbone and map_stride ({self.backbone}, {self.map_stride}) must be vgg16 and 16"
            )
        require_trained(self, is_frozen=self.freeze_vision)
        if not self.sound_seconds >= MIN_SECONDS:
            raise ValueError(f"sound_seconds ({self.sound_seconds}) must be >= {MIN_SECONDS}")

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: also SoundNet."""
        return (*super().list_sources(), self.teacher_weights)


class Model(Localizer):
    """``vision_embedding_model`` and four linear layers; SoundNet is attached."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    vision_name: ClassVar[str] = "vision_embedding_model"

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p, sample_rate=SAMPLE_RATE)
        self.vision_embedding_model = VggEncoder(width=p.width)
        self.vision_embedding_model.requires_grad_(not p.freeze_vision)

        num_features = self.vision_embedding_model.num_features
        self.sound_fc1 = nn.Linear(NUM_OBJECTS, NUM_OBJECTS)
        self.sound_fc2 = nn.Linear(NUM_OBJECTS, num_features)
        self.vision_fc1 = nn.Linear(num_features, num_features)
        self.vision_fc2 = nn.Linear(num_features, NUM_OBJECTS)

        # `attach_classifier` sets it: its weights are frozen, and not part of a run.
        self.needed_classifier = NeededClassifier(
            "soundnet8", p.teacher_weights, needs_head=True, is_needed_in_training=True
        )
        self._teacher: tuple[SoundNet, ...] = ()

    def attach_classifier(self, classifier: nn.Module) -> None:
        """Keep the frozen SoundNet."""
        assert isinstance(classifier, SoundNet)
        # A tuple keeps the teacher out of this model's state dict.
        self._teacher = (classifier.eval().requires_grad_(False),)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what the sound attends to, ``visual``, and the sound, ``audio``: (n, 1000)."""
        sound = self.read_sound(inputs)
        features = full_precision(self.vision_embedding_model(inputs["frames"]))

        # The published softmax has no temperature: of 400 places, one gets about e / 400 at most.
        attention = self._match(features, sound).relu().flatten(1).softmax(1)
        # Only the matching normalizes features. What is summed here, (n, 512), keeps its lengths.
        attended = torch.einsum("ncp,np->nc", features.flatten(2), attention).relu()
        visual = full_precision(self.vision_fc2(self.vision_fc1(attended).relu()))
        return {"visual": visual, "audio": sound}

    @torch.no_grad()
    def read_sound(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean over time of SoundNet's objects, (n, 1000)."""
        assert self._teacher, "attach_classifier comes before embed"
        (soundnet,) = self._teacher
        # SoundNet gives one step of output for 9.5 s and 4 for 20 s. Shorter sounds are repeated.
        waveforms = fit_length(
            inputs["waveforms"], round(self.settings.sound_seconds * SAMPLE_RATE)
        )
        return full_precision(soundnet.to(waveforms)(waveforms)).mean(2)

    def embed_sound(self, sound: torch.Tensor) -> torch.Tensor:
        """Return the sound in the space of the visual features, (n, c), of unit norm."""
        hidden = self.sound_fc1(sound.relu()).relu()
        return F.normalize(full_precision(self.sound_fc2(hidden)), dim=1)

    def _match(self, features: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        return own_similarity(F.normalize(features, dim=1), self.embed_sound(sound))

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return how much farther the own sound is than the next one, squared.

        The authors' code compares with the sounds as they are, not with their positive parts.
        """
        own, other = self.measure(embeddings["visual"], embeddings["audio"])
        # The authors average (q - (0, 1))^2 over both entries of the softmax: with two, that is
        # q_own^2.
        return torch.stack([own, other], 1).softmax(1)[:, 0].square().mean()

    @staticmethod
    def measure(
        visual: torch.Tensor, audio: torch.Tensor, others: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances (n,) to the own sounds and to others; None: the next ones."""
        # In a shuffled batch the next sound is a random one. The authors draw from the whole set.
        others = audio.roll(-1, 0) if others is None else others
        return F.pairwise_distance(visual, audio), F.pairwise_distance(visual, others)

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the attention, which sums to 1, or the cosine that it is made from."""
        features = full_precision(self.vision_embedding_model(inputs["frames"]))
        matches = self._match(features, self.read_sound(inputs))
        if self.settings.map_values == "cosine":
            return matches
        return matches.relu().flatten(1).softmax(1).view_as(matches)
