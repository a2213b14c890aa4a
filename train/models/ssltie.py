"""SSL-TIE (Liu et al., ACM MM 2022): LVS with equivariance, on a mel spectrogram.

LVS's network and loss. A frame that is turned, shrunk or mirrored must give the map that is turned,
shrunk or mirrored. For the same on cached spectrograms, set ``equivariance_weight`` of ``lvs``.

Not as its authors train: their frames are cropped at 0.3 to 1 of the area and change in colour,
grey and sharpness; here they have the crops and flips of all methods. Mixing sounds by nearest
neighbours (``main_audmix``) is left out.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from train.models import lvs
from train.models.localizer import make_input_format
from train.networks.encoders.mel import MelSettings, MelSpectrogram, decibels, fit_length
from train.networks.sample_draws import SampleDraws

SAMPLE_RATE = 16000  # in Hz, of the cached waveforms
_MEL = MelSettings(
    sample_rate=SAMPLE_RATE,
    n_fft=512,
    hop_length=239,
    num_bands=257,  # 28 of them hold no frequency of the transform and stay at -100 dB
    filters="htk",
    is_normalized=True,
)
_NUM_DRAWS = 5  # of a mask: whether, and width and place along both axes


@dataclass(frozen=True, kw_only=True)
class Parameters(lvs.Parameters):
    """SSL-TIE. The defaults are the published settings."""

    method: str = "ssltie"
    init: str = "random"
    batch_size: int = 32
    weight_decay: float = 1e-4
    select_on: Literal["val", "test", "last"] = "test"
    equivariance_weight: float = 1.0
    sound_seconds: float = 10.0  # to which the cached sound is repeated or cut
    mask_probability: float = 0.8  # that a training spectrogram is masked
    mask_times: int = 180  # most columns of a mask
    mask_bands: int = 35  # most rows of another

    def __post_init__(self) -> None:
        super().__post_init__()
        # 512 samples at 16 kHz: one transform.
        if not self.sound_seconds * SAMPLE_RATE >= _MEL.n_fft:
            raise ValueError(f"sound_seconds ({self.sound_seconds}) must be >= 0.032")
        if not 0 <= self.mask_probability <= 1:
            raise ValueError(f"mask_probability ({self.mask_probability}) must be in [0, 1]")
        for name in ("mask_times", "mask_bands"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")


class Model(lvs.Model):
    """LVS's network, and layers of the released weights that nothing uses."""

    reads: ClassVar[tuple[str, ...]] = ("frames", "waveforms")
    settings: Parameters

    def __init__(self, parameters: Parameters):
        super().__init__(parameters)
        self.input_format = make_input_format(parameters, sample_rate=SAMPLE_RATE)
        self.mel = MelSpectrogram(_MEL)
        self._mask_draws = SampleDraws()

        num_features = self.imgnet.num_features
        self.vision_fc1 = nn.Conv2d(2 * num_features, num_features, kernel_size=1)
        self.conv3, self.norm3 = nn.Conv2d(1, 1, kernel_size=1), nn.BatchNorm2d(1)
        # Nothing ever gives them a gradient.
        for unused in (self.vision_fc1, self.conv3, self.norm3):
            unused.requires_grad_(False)

    def read_sound(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return mel spectrograms in dB, (n, 1, 257, times)."""
        num_samples = round(self.settings.sound_seconds * SAMPLE_RATE)
        mel = self.mel(fit_length(inputs["waveforms"], num_samples))
        if self.training and self.settings.mask_probability:
            # As published, before the decibels: no power becomes -100 dB.
            mel = self._mask(mel)
        return decibels(mel)[:, None]

    def _mask(self, mel: torch.Tensor) -> torch.Tensor:
        """Set some columns and some rows of (n, bands, times) to no power at all."""
        p = self.settings
        draws = self._mask_draws(len(mel), _NUM_DRAWS).to(mel)
        columns = _draw_band(draws[:, 1], draws[:, 2], mel.shape[2], most=p.mask_times)
        rows = _draw_band(draws[:, 3], draws[:, 4], mel.shape[1], most=p.mask_bands)
        is_masked = (draws[:, 0] < p.mask_probability)[:, None, None]
        return mel.masked_fill(is_masked & (columns[:, None, :] | rows[:, :, None]), 0.0)


def _draw_band(width: torch.Tensor, place: torch.Tensor, size: int, *, most: int) -> torch.Tensor:
    """Return (n, size), True in a band of less than ``most``, from draws (n,) in [0, 1)."""
    widths = (width * min(most, size)).floor()
    starts = (place * (size - widths)).floor()
    steps = torch.arange(size, device=width.device)
    return (steps >= starts[:, None]) & (steps < (starts + widths)[:, None])
