"""DMC, "Deep Multimodal Clustering" (Hu et al., CVPR 2019), in its authors' simplified form.

The places of a picture and of a spectrogram are clustered. The sound's cluster should be near to
one of the picture's clusters, and far from those of another picture. The map says which places
belong to the nearest cluster. The first code of the authors cannot be trained, and they name this
one (Simplified_DMC) instead.

Theirs: networks, clustering, distances, loss, mel spectrogram. Ours: the other picture is the next
one of the shuffled batch; frames have the crops of all methods and no change of brightness; the
second of sound lies around the frame.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from train.models.localizer import Localizer, full_precision, make_input_format
from train.models.training_parameters import TrainingParameters
from train.networks.clustering import cluster_places, measure_distances
from train.networks.encoders.image_encoder import make_twin_encoders
from train.networks.encoders.mel import MelSettings, MelSpectrogram, decibels, fit_length
from train.networks.losses import contrast_distances

SAMPLE_RATE = 16000  # in Hz, of the cached waveforms
# Many of the 64 bands hold one frequency of the transform or none, as in the authors' code.
MEL = MelSettings(
    sample_rate=SAMPLE_RATE, n_fft=160, hop_length=80, num_bands=64, padding="constant", power=1
)
_DYNAMIC_RANGE = 80.0  # in dB below the maximum


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """DMC. The defaults are the settings of the authors' simplified code."""

    method: str = "dmc"
    map_stride: int = 16
    init: str = "random"  # imagenet helps where there is little data
    batch_size: int = 32
    num_picture_clusters: int = 2  # one for each sound, and the background
    num_sound_clusters: int = 1
    margin: float = 5.0  # distance from other pictures beyond which nothing is gained
    sound_seconds: float = 1.0  # of sound, cut from the middle of what is cached
    # assignment: as published, nearly 0 or 1, so that many places tie. difference: how much nearer
    # a place is to its cluster's last centre than to others; ours, nearly the same without ties
    map_values: Literal["assignment", "difference"] = "assignment"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): "
                "dmc compares both features as they are"
            )

        if self.num_picture_clusters < 2:
            raise ValueError(
                f"num_picture_clusters ({self.num_picture_clusters}) must be >= 2: one is the "
                "background"
            )
        for name in ("num_sound_clusters", "margin", "sound_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")


class Model(Localizer):
    """``visual_net`` and ``audio_net`` of one layout, and a projection of each."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    vision_name: ClassVar[str] = "visual_net"

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p, sample_rate=SAMPLE_RATE)
        self.mel = MelSpectrogram(MEL)

        self.visual_net, self.audio_net = make_twin_encoders(
            p.backbone, width=p.width, map_stride=p.map_stride
        )

        num_features = self.visual_net.num_features
        self.fc_v_1 = nn.Linear(num_features, num_features)
        self.fc_a_1 = nn.Linear(num_features, num_features)

        # Nothing reads these three. They are here because the authors' files have them.
        self.fc_v_2, self.fc_a_2, self.fc_av = (
            nn.Linear(128, 128),
            nn.Linear(128, 128),
            nn.Linear(1, 2),
        )
        for unused in (self.fc_v_2, self.fc_a_2, self.fc_av):
            unused.requires_grad_(False)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return features of all places, which are not normalized.

        ``visual`` (n, c, h, w) and ``sound`` (n, c, times, bands); ``audio`` (n, c) is its mean.
        """
        visual = _project(self.visual_net(inputs["frames"]), self.fc_v_1)
        sound = _project(self.audio_net(self.read_sound(inputs)), self.fc_a_1)
        return {"visual": visual, "sound": sound, "audio": sound.mean((2, 3))}

    def read_sound(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return log mel spectrograms (n, 1, times, bands): time is the vertical axis."""
        num_samples = round(self.settings.sound_seconds * SAMPLE_RATE)
        mel = self.mel(fit_length(inputs["waveforms"], num_samples))
        return decibels(mel, dynamic_range=_DYNAMIC_RANGE).transpose(1, 2)[:, None]

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the contrastive loss of each sound with its own and with the next picture."""
        p = self.settings
        # Centres (n, clusters, c).
        pictures, _ = cluster_places(embeddings["visual"].flatten(2), p.num_picture_clusters)
        sounds, _ = cluster_places(embeddings["sound"].flatten(2), p.num_sound_clusters)

        # For each cluster of the sound, the nearest one of its own picture and of the next one.
        distances = [
            measure_distances(centres, sounds).amin(1).square().sum(1)
            for centres in (pictures, pictures.roll(-1, 0))
        ]
        return contrast_distances(*distances, margin=p.margin)

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return how much each place belongs to the picture's cluster nearest to the sound.

        Of several clusters of sound the largest value counts; that is ours.
        """
        p = self.settings
        embeddings = self.embed(inputs)
        visual = embeddings["visual"]
        pictures, values = cluster_places(visual.flatten(2), p.num_picture_clusters)
        sounds, _ = cluster_places(embeddings["sound"].flatten(2), p.num_sound_clusters)

        # The assignments are nearly 0 or 1, and a threshold at the median needs values to rank.
        if p.map_values == "difference":
            values = _compare_with_others(-measure_distances(pictures, visual.flatten(2).mT))
        nearest = measure_distances(pictures, sounds).argmin(1)
        maps = values.gather(1, nearest[:, :, None].expand(-1, -1, values.shape[2]))
        return maps.amax(1).unflatten(1, visual.shape[2:])


def _project(features: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    """Apply a linear layer to each place of (n, c, h, w)."""
    return full_precision(layer(features.movedim(1, -1)).movedim(-1, 1))


def _compare_with_others(values: torch.Tensor) -> torch.Tensor:
    """Subtract from each row of (n, k, places) the largest of the other rows."""
    own = torch.eye(values.shape[1], dtype=torch.bool, device=values.device)
    others = values[:, None].masked_fill(own[None, :, :, None], -torch.inf)
    return values - others.amax(2)
