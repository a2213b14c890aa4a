"""AVObject, "Self-Supervised Learning of Audio-Visual Objects" (Afouras et al., ECCV 2020).

Each place of a short video is compared with the sound at the same time.

Theirs: network, mel spectrogram, score and map. No code of their training is public. Ours: which
sounds are negatives. By default they are those of the other clips of the batch, since most sounds
of these datasets do not follow the picture to a frame; the sound of the clip itself, moved in time,
is an option, as the paper is recalled. Also ours: optimizer, batch and epochs; frames are squashed
to a square and only mirrored; the map is that of the middle frame. Numbers that others printed for
AVObject on VGG-SS and Flickr are of trainings that are not known.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from earshot.errors import DataError
from train.models.localizer import Localizer, full_precision, make_input_format
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.lwtnet import NUM_LOST_FRAMES, LwtNet
from train.networks.encoders.mel import MelSettings, MelSpectrogram, fit_length

SAMPLE_RATE = 16000  # in Hz, of the cached waveforms
FPS = 25  # of the cached frames
MEL = MelSettings(
    sample_rate=SAMPLE_RATE, n_fft=512, window_length=320, hop_length=160, num_bands=80, power=1
)
_FULL_SCALE = 32768.0  # its sound is whole numbers of 16 bits
_LOG_OFFSET = 1e-20


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """AVObject. Optimizer, batch and epochs are ours."""

    method: str = "avobject"
    backbone: str = "lwtnet"
    map_stride: int = 16
    init: str = "random"
    has_random_crop: bool = False
    batch_size: int = 32
    # negatives of the loss: sounds of other clips, of the clip itself moved in time, or both
    contrast_with: Literal["clips", "shifts", "both"] = "clips"
    max_shift: int = 2  # frames by which a sound is moved; the sequence needs 2 more on each side
    # of the sound's vector. signs: its quirk in the authors' demo
    sound_normalization: Literal["unit", "signs"] = "unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.backbone, self.map_stride) != ("lwtnet", 16):
            raise ValueError(
                f"backbone and map_stride ({self.backbone}, {self.map_stride}) must be lwtnet and "
                "16"
            )
        if self.init == "imagenet":
            raise ValueError("init (imagenet) must be random or the folder of a run of avobject")
        if self.has_random_crop:
            raise ValueError("has_random_crop (true) must be false: sequences are not cropped")
        if not self.max_shift > 0:
            raise ValueError(f"max_shift ({self.max_shift}) must be > 0")


class Model(LwtNet, Localizer):
    """``net_lip`` of the video, ``net_aud`` of the sound, a head of each, and a learned scale."""

    reads: ClassVar[tuple[str, ...]] = ("sequences", "waveforms")

    def __init__(self, parameters: Parameters):
        super().__init__(width=parameters.width)
        self.settings = parameters
        self.input_format = make_input_format(parameters, sample_rate=SAMPLE_RATE)
        self.mel = MelSpectrogram(MEL)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, t, h, w) and ``sound`` (n, c, t), of unit norm over channels.

        ``audio`` (n, c) is the mean of the sound over time.
        """
        video = inputs["sequences"]
        sound = self.embed_sound(self.read_sound(inputs, num_frames=video.shape[2]))
        sound = self.normalize_sound(sound, self.settings.sound_normalization)
        visual = F.normalize(full_precision(self.embed_video(video)), dim=1)
        # The scale is learned, so it is part of what the loss reads.
        return {"visual": visual * self.logits_scale.weight, "sound": sound, "audio": sound.mean(2)}

    @staticmethod
    def normalize_sound(sound: torch.Tensor, how: Literal["unit", "signs"]) -> torch.Tensor:
        """Return vectors (n, c, t) of unit norm, or their signs."""
        sound = full_precision(sound)
        return sound.sign() if how == "signs" else F.normalize(sound, dim=1)

    def read_sound(self, inputs: dict[str, torch.Tensor], *, num_frames: int) -> torch.Tensor:
        """Return log mel spectrograms (n, bands, 4 num_frames) of the time of the frames."""
        num_samples = num_frames * SAMPLE_RATE // FPS
        # The authors' sound has int16 units. They drop the last column: 4 are left for each frame.
        mel = self.mel(fit_length(inputs["waveforms"], num_samples) * _FULL_SCALE)
        return (mel[..., :-1] + _LOG_OFFSET).log()

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the cross entropy of the true sound among the others."""
        p = self.settings
        visual, sound = embeddings["visual"], embeddings["sound"]

        terms = []
        if p.contrast_with != "shifts":
            scores = score_clips(visual, sound)
            terms.append(F.cross_entropy(scores, torch.arange(len(scores), device=scores.device)))
        if p.contrast_with != "clips":
            scores = score_shifts(visual, sound, max_shift=p.max_shift)
            # The middle one of the shifts is no shift.
            target = torch.full((len(scores),), p.max_shift, device=scores.device)
            terms.append(F.cross_entropy(scores, target))
        return torch.stack(terms).sum()

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return how well each place of the middle frame fits its sound."""
        maps = match_places(*(self.embed(inputs)[name] for name in ("visual", "sound")))
        return maps[:, maps.shape[1] // 2]


def match_places(visual: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Return the product of each place and the sound at its time, (n, t, h, w)."""
    return torch.einsum("ncthw,nct->nthw", visual, sound)


def score_clips(visual: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Return the scores (n, m) of videos with sounds: the best place of each time, averaged."""
    return torch.einsum("ncthw,mct->nmthw", visual, sound).amax((3, 4)).mean(2)


def score_shifts(visual: torch.Tensor, sound: torch.Tensor, *, max_shift: int) -> torch.Tensor:
    """Return the scores (n, 2 max_shift + 1) of videos with their own sounds moved in time.

    The middle one is not moved. ``max_shift`` time steps of the video at each end take no part.
    """
    num_steps = visual.shape[2] - 2 * max_shift
    if num_steps < 1:
        found = visual.shape[2] + NUM_LOST_FRAMES
        needed = 2 * max_shift + 1 + NUM_LOST_FRAMES
        raise DataError(
            f"sequences: have {found} frames, but a max_shift of {max_shift} needs {needed}; set "
            "sequence.num_frames"
        )

    middle = visual[:, :, max_shift : max_shift + num_steps]
    moved = sound.unfold(2, num_steps, 1)  # (n, c, shifts, steps)
    # From (n, shifts, steps, h, w): the best place at each step, and the mean over steps.
    return torch.einsum("ncthw,ncst->nsthw", middle, moved).amax((3, 4)).mean(2)
