"""Attention10k with encoders that are trained, which needs no weights of SoundNet.

This is the form in which GeWu-Lab compared with Attention10k (CSOL, TPAMI 2021), on other data than
ours; nobody published it on Flickr or VGG-SS. A sound attends to places of a picture, and what it
attends to must be near the sound's own vector, and far from it in another picture. That vector
learns, too, and the margin keeps all vectors from becoming alike.

Theirs: both encoders, attention, distances, loss, learning rate, weight decay, batch. Ours: the
sound is the cached spectrogram, whose vertical axis is frequency (theirs is a log mel spectrogram
of one second, with time as vertical axis); the other picture is the next one of the shuffled batch;
epochs.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from train.models.localizer import Localizer, full_precision, make_input_format, pool_audio
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import make_twin_encoders
from train.networks.losses import contrast_distances, own_similarity


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Attention10k with trained encoders. The defaults are GeWu-Lab's settings."""

    method: str = "attention_resnet"
    map_stride: int = 16
    batch_size: int = 32
    weight_decay: float = 1e-4
    margin: float = 10.0  # distance from other pictures beyond which nothing is gained

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audio_width not in (0, self.width):
            raise ValueError(
                f"audio_width ({self.audio_width}) must be 0 or width ({self.width}): "
                "attention_resnet compares both features as they are"
            )
        if not self.margin > 0:
            raise ValueError(f"margin ({self.margin}) must be > 0")


class Model(Localizer):
    """``visual_net`` and ``audio_net`` of one layout, and two layers behind each."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "spectrograms")
    vision_name: ClassVar[str] = "visual_net"

    def __init__(self, parameters: Parameters):
        super().__init__()
        p = self.settings = parameters
        self.input_format = make_input_format(p)
        self.visual_net, self.audio_net = make_twin_encoders(
            p.backbone, width=p.width, map_stride=p.map_stride
        )

        size = self.visual_net.num_features
        self.fc_v_1, self.fc_v_2 = nn.Linear(size, size), nn.Linear(size, size)
        self.fc_a_1, self.fc_a_2 = nn.Linear(size, size), nn.Linear(size, size)
        # Nothing reads it. It is here because the authors' files have it.
        self.fc_av = nn.Linear(1, 2).requires_grad_(False)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return features of all places, and the sound's vector, which are not normalized.

        ``visual`` (n, c, h, w) and ``audio`` (n, c).
        """
        sound = pool_audio(self.audio_net(inputs["spectrograms"]), self.settings.audio_pooling)
        return {
            "visual": full_precision(self.visual_net(inputs["frames"])),
            "audio": full_precision(sound),
        }

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the contrastive loss of each sound with its own and with the next picture."""
        visual, audio = embeddings["visual"], embeddings["audio"]
        distances = [
            (self.attend(pictures, audio)[1] - audio).square().sum(1)
            for pictures in (visual, visual.roll(-1, 0))
        ]
        return contrast_distances(*distances, margin=self.settings.margin)

    def attend(
        self, visual: torch.Tensor, audio: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the attention (n, h, w), which sums to 1, and what is attended to, (n, c).

        Args:
            visual: (n, c, h, w), from ``embed``.
            audio: (n, c), from ``embed``; row i attends to picture i.
        """
        places = F.normalize(visual, dim=1)
        hidden = self.fc_a_2(self.fc_a_1(audio).relu()).relu()
        matches = own_similarity(places, F.normalize(full_precision(hidden), dim=1))

        # As published, the softmax has no temperature.
        attention = matches.flatten(1).softmax(1).view_as(matches)
        attended = torch.einsum("nchw,nhw->nc", places, attention)
        return attention, full_precision(self.fc_v_2(self.fc_v_1(attended).relu()).relu())

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the attention."""
        embeddings = self.embed(inputs)
        return self.attend(embeddings["visual"], embeddings["audio"])[0]
