"""CoarseToFine, "Multiple Sound Sources Localization from Coarse to Fine" (Qian et al., ECCV 2020).

The authors' later, simplified code. Stage 1 learns which sounds and pictures belong together, and
names both by seven categories, for which there are pseudo-labels. Stage 2 begins with its weights.
It compares what sounds like a category with what looks like it: the parts of one clip and category
should be alike.

Theirs: networks, both losses, the map, mel spectrogram, settings. Ours: which of ImageNet's classes
belong to which category (``train/networks/sound_categories.py``); pictures are named when they are
read, and give the labels of sounds, too, as the authors' README allows; the map of stage 1;
that training takes the middle of the frame, which theirs squashes; that biases do not decay. The
authors took the labels of sounds from a network that AudioSet's annotations taught, which is not
here; a file of labels can replace ours. Either way the method is self-supervised only in the sense
of its paper. Without any weights, the clusters of another run's features can be the labels
(``label_encoder``): that is ours, too, and clusters have no names.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import (
    Localizer,
    NeededClassifier,
    full_precision,
    make_input_format,
)
from train.models.training_parameters import TrainingParameters
from train.networks.category_labels import label_pictures, read_category_labels
from train.networks.encoders.image_encoder import (
    ResNetEncoder,
    is_resnet,
    make_twin_encoders,
)
from train.networks.encoders.mel import MelSettings, MelSpectrogram, fit_length
from train.networks.part_alignment import align_parts, pool_parts
from train.networks.sound_categories import CATEGORIES

SAMPLE_RATE = 22050  # in Hz, of the cached waveforms
MEL = MelSettings(
    sample_rate=SAMPLE_RATE, n_fft=882, hop_length=441, num_bands=64, padding="constant"
)
_LOG_OFFSET = 2.2e-16
_SMALLEST_PEAK = 1e-8  # of a waveform that is divided by it
_LABELLER = "resnet18"  # names pictures
_NUM_CATEGORIES = len(CATEGORIES)
_EMBEDDING_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """CoarseToFine. The defaults are those of stage 1; stage 2 has learning rate 1e-4."""

    method: str = "coarsetofine"
    # 1: coarse; init as of all methods. 2: fine; init is the folder of a run of stage 1
    stage: Literal[1, 2] = 1
    # of the seven categories. imagenet: of the frame, for both sides. Else the path of an .npz with
    # sample_ids (n,), sound and picture (n, 7), values 0..1
    labels: str = "imagenet"
    # the folder of a run whose features are clustered into labels, which are written to the file
    # `labels`; "": none, the file is yours
    label_encoder: str = ""
    teacher_weights: str = "imagenet"  # of the ResNet-18 that names frames, or their path
    map_stride: int = 16
    image_size: int = 256
    has_random_crop: bool = False
    batch_size: int = 16
    epochs: int = 20
    optimizer: Literal["adam", "adamw", "sgd"] = "sgd"
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    select_on: Literal["val", "test", "last"] = "last"
    sound_seconds: float = 5.0  # of sound, cut from the middle of what is cached
    # where waveforms are divided by their peak: the authors do so at test, but not in training
    peak_normalization: Literal["never", "test", "always"] = "test"
    class_threshold: float = 0.3  # probability above which a category is taken to be there
    margin: float = 1.4  # distance beyond which other parts are far enough

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_resnet(self.backbone):
            raise ValueError(f"backbone ({self.backbone}) must be a ResNet")
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): "
                "coarsetofine projects both features alike"
            )

        if self.stage == 2 and self.init in ("imagenet", "random"):
            raise ValueError(
                f"init ({self.init}) must be the folder of a run of stage 1, such as "
                "cache/runs/coarsetofine_1: stage 2 begins with its weights"
            )

        if self.label_encoder and self.labels == "imagenet":
            raise ValueError(
                f"label_encoder ({self.label_encoder}) needs labels, the path of an .npz to which "
                "its clusters are written"
            )

        for name in ("sound_seconds", "margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")
        if not 0 <= self.class_threshold < 1:
            raise ValueError(f"class_threshold ({self.class_threshold}) must be in [0, 1)")

    def name_variant(self) -> str:
        """Name what is not CoarseToFine itself: its first stage, and other labels."""
        stage = "_stage_1" if self.stage == 1 else ""
        if self.labels == "imagenet":
            return f"{self.method}{stage}"
        return f"{self.method}{stage}" + ("_clusters" if self.label_encoder else "_own_labels")

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: also what labels are made from."""
        # Labels that the training writes itself are none of it; evaluation does without them.
        return (*super().list_sources(), self.teacher_weights, self.label_encoder or self.labels)


class Model(Localizer):
    """``vision`` and ``audio`` of one layout, and heads; stage 2 has a projection of each, too."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    vision_name: ClassVar[str] = "vision"
    further_parts: ClassVar[tuple[str, ...]] = ("project_a", "project_v")

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p, sample_rate=SAMPLE_RATE)
        self.mel = MelSpectrogram(MEL)

        self.vision, self.audio = make_twin_encoders(
            p.backbone, width=p.width, map_stride=p.map_stride
        )

        size = self.vision.num_features
        self.avc = nn.Sequential(nn.Linear(2 * size, 128), nn.ReLU(), nn.Linear(128, 2))
        # Without a bias, the same layer names the mean of all places and, as a map, each of them.
        self.class_a = nn.Conv2d(size, _NUM_CATEGORIES, kernel_size=1, bias=False)
        self.class_v = nn.Conv2d(size, _NUM_CATEGORIES, kernel_size=1, bias=False)
        if p.stage == 2:
            self.project_a, self.project_v = _make_projection(size), _make_projection(size)

        # `attach_classifier` sets it: its weights are frozen, and not part of a run.
        self.needed_classifier = NeededClassifier(
            _LABELLER,
            p.teacher_weights,
            needs_head=True,
            is_needed_in_training=p.labels == "imagenet",
            is_needed_at_test=False,
        )
        self._labeller: tuple[ResNetEncoder, ...] = ()

    def attach_classifier(self, classifier: nn.Module) -> None:
        """Keep the frozen network that names frames."""
        assert isinstance(classifier, ResNetEncoder)
        # A tuple keeps it out of this model's state dict.
        self._labeller = (classifier.eval().requires_grad_(False),)

    def read_values(self, sample_ids: list[str]) -> dict[str, np.ndarray]:
        """Return ``labels`` (n, 14), of sounds and of pictures, where a file has them."""
        if self.settings.labels == "imagenet":
            return {}
        return {"labels": read_category_labels(self.settings.labels, sample_ids)}

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return of sounds, and likewise of pictures (``visual``, ``picture_*``):

        ``audio`` (n, c) features; ``sound_classes`` (n, 7) logits; ``sound_labels`` (n, 7); in
        stage 2 ``sound_parts`` (n, 7, 128), of unit norm.
        """
        p = self.settings
        sound = self.audio(self.read_sound(inputs, is_normalized=p.peak_normalization == "always"))
        picture = self.vision(inputs["frames"])

        embeddings: dict[str, torch.Tensor] = {}
        labels = inputs.get("labels")
        if labels is None and self._labeller:
            labels = self._name_frames(inputs["frames"])
        # Without either, as at test, there are features but no loss.
        if labels is not None:
            embeddings = {"sound_labels": labels[:, :7], "picture_labels": labels[:, 7:]}

        for name, features, head, projection in (
            ("audio", full_precision(sound), self.class_a, "project_a"),
            ("visual", full_precision(picture), self.class_v, "project_v"),
        ):
            kind = "sound" if name == "audio" else "picture"
            mean = features.mean((2, 3))
            embeddings[name] = mean
            embeddings[f"{kind}_classes"] = head(mean[:, :, None, None])[:, :, 0, 0]
            if p.stage == 2:
                embeddings[f"{kind}_parts"] = self._find_parts(features, head, projection)
        return {name: full_precision(values) for name, values in embeddings.items()}

    def read_sound(
        self, inputs: dict[str, torch.Tensor], *, is_normalized: bool = False
    ) -> torch.Tensor:
        """Return log mel spectrograms (n, 1, times, bands): time is the vertical axis."""
        waveforms = fit_length(
            inputs["waveforms"], round(self.settings.sound_seconds * SAMPLE_RATE)
        )
        # The authors' test does this, their training does not. It shifts a whole log mel by one
        # number.
        if is_normalized:
            peaks = waveforms.abs().amax(1, keepdim=True)
            waveforms = waveforms / peaks.clamp_min(_SMALLEST_PEAK)
        return (self.mel(waveforms) + _LOG_OFFSET).log().transpose(1, 2)[:, None]

    @torch.no_grad()
    def _name_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Return labels (n, 14): those of the frames, for both sides."""
        (labeller,) = self._labeller
        features = labeller.to(frames)(frames).mean((2, 3))
        probabilities = full_precision(labeller.fc(features)).softmax(1)
        # The authors' README allows the same labels for both sides.
        return label_pictures(probabilities).repeat(1, 2)

    def _find_parts(self, features: torch.Tensor, head: nn.Conv2d, projection: str) -> torch.Tensor:
        """Return the part of each category, (n, 7, 128), of unit norm."""
        # As published, the activations weigh the places, but the head learns nothing from that.
        with torch.no_grad():
            activations = full_precision(head(features)).relu()
        parts = self.get_submodule(projection)(pool_parts(features, activations))
        return F.normalize(full_precision(parts), dim=1).transpose(1, 2)

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the terms of ``measure_losses``."""
        return self.measure_losses(embeddings).sum()

    def measure_losses(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the terms of the loss.

        They are correspondence, categories of sounds, of pictures, and in stage 2 the distances of
        parts that match and how far others are within the margin.
        """
        p, e = self.settings, embeddings
        terms = [
            self._measure_correspondence(e["audio"], e["visual"]),
            F.binary_cross_entropy_with_logits(e["sound_classes"], e["sound_labels"]),
            F.binary_cross_entropy_with_logits(e["picture_classes"], e["picture_labels"]),
        ]

        if p.stage == 2:
            terms += align_parts(
                e["sound_parts"],
                e["picture_parts"],
                e["sound_classes"].sigmoid() > p.class_threshold,
                e["picture_classes"].sigmoid() > p.class_threshold,
                margin=p.margin,
            )
        return torch.stack(terms)

    def compare_pairs(self, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """Return logits (n, m, 2) of whether sound i belongs to picture j; 1: it does."""
        # The authors' order, which their weights know: sound first.
        pairs = [
            audio[:, None].expand(-1, len(visual), -1),
            visual[None].expand(len(audio), -1, -1),
        ]
        return self.avc(torch.cat(pairs, 2))

    def _measure_correspondence(self, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """Return the mean of the cross entropies of own and of other pairs."""
        logits = full_precision(self.compare_pairs(audio, visual))
        is_own = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
        entropies = F.cross_entropy(logits.flatten(0, 1), is_own.flatten().long(), reduction="none")
        entropies = entropies.view_as(is_own)
        # Of n x n pairs only n are own ones, so each kind counts half.
        return (entropies[is_own].mean() + entropies[~is_own].mean()) / 2

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean of the maps of the categories that sound.

        In stage 1 the map of a category says where the picture looks like it; that is ours.
        """
        p = self.settings
        sound = full_precision(
            self.audio(self.read_sound(inputs, is_normalized=p.peak_normalization != "never"))
        )
        picture = full_precision(self.vision(inputs["frames"]))

        probabilities = self.name_sounds(sound)
        if p.stage == 2:
            maps = self.localize_categories(sound, picture)
        else:
            maps = full_precision(self.class_v(picture)).relu()

        # The most likely category always counts.
        most_likely = probabilities.amax(1, keepdim=True)
        is_there = (probabilities > p.class_threshold) | (probabilities == most_likely)
        weights = probabilities * is_there
        weights = weights / weights.sum(1, keepdim=True)
        return torch.einsum("nk,nkhw->nhw", weights, maps)

    def name_sounds(self, sound: torch.Tensor) -> torch.Tensor:
        """Return the probability of each category, (n, 7), of sounds' features (n, c, h, w)."""
        logits = self.class_a(sound.mean((2, 3), keepdim=True))[:, :, 0, 0]
        return full_precision(logits).sigmoid()

    def localize_categories(self, sound: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """Return where each category's part of the sound is, (n, 7, h, w), from features."""
        # (n, 7, 128) of the sound against (n, 128, places) of the picture.
        parts = self._find_parts(sound, self.class_a, "project_a")
        places = F.normalize(full_precision(self.project_v(picture.flatten(2))), dim=1)
        return (parts @ places).relu().unflatten(2, picture.shape[2:])


def _make_projection(size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(size, 2 * size, kernel_size=1, bias=False),
        nn.ReLU(),
        nn.Conv1d(2 * size, _EMBEDDING_SIZE, kernel_size=1, bias=False),
    )
