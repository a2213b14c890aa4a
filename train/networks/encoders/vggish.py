"""VGGish (Hershey et al., ICASSP 2017): vectors of sound from patches of a log mel spectrogram.

The names of its tensors are those of the PyTorch port ``vggish-10086976.pth``.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SAMPLE_RATE = 16000  # in Hz
FULL_WIDTH = 64  # channels of the first convolution, as published
_WINDOW_LENGTH, _HOP_LENGTH, _N_FFT = 400, 160, 512
_NUM_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 64, 125.0, 7500.0
_LOG_OFFSET = 0.01
_PATCH_LENGTH = 96  # spectra
MIN_SECONDS = ((_PATCH_LENGTH - 1) * _HOP_LENGTH + _WINDOW_LENGTH) / SAMPLE_RATE

# channels in units of the width; M is a pooling
_LAYERS = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M")
_NUM_PLACES = _PATCH_LENGTH * _NUM_BANDS // 16**2


class LogMelPatches(nn.Module):
    """Turn waveforms (n, num_samples) into patches (n, patches, 1, 96, 64)."""

    def __init__(self) -> None:
        super().__init__()
        # torch's window is periodic unless told otherwise, and so is VGGish's.
        window = torch.hann_window(_WINDOW_LENGTH)
        self.register_buffer("window", window, persistent=False)
        filters = torch.from_numpy(_make_filters()).float()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return whole patches; what is left over at the end is not used."""
        # There is no FFT in bfloat16.
        with torch.autocast(waveforms.device.type, enabled=False):
            # Nothing is padded at the ends. Each frame of 400 samples gets zeros up to 512.
            frames = waveforms.unfold(1, _WINDOW_LENGTH, _HOP_LENGTH)
            spectra = torch.fft.rfft(frames * self.window.to(waveforms.dtype), _N_FFT).abs()
            mel = (spectra @ self.filters.to(waveforms.dtype) + _LOG_OFFSET).log()

        num_patches = mel.shape[1] // _PATCH_LENGTH
        return mel[:, : num_patches * _PATCH_LENGTH].unflatten(1, (num_patches, 1, _PATCH_LENGTH))


def _make_filters() -> np.ndarray:
    """Return (257, 64): triangles of height 1 that are linear in mel."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(hertz / 700)

    places = to_mel(np.linspace(0, SAMPLE_RATE / 2, _N_FFT // 2 + 1))[:, None]
    low, high = to_mel(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    edges = np.linspace(low, high, _NUM_BANDS + 2)
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    # As in VGGish's code, the constant part of a sound counts in no band.
    filters[0] = 0
    return filters


class VggishEncoder(nn.Module):
    """Turn patches (n, 1, 96, 64) into vectors (n, 2 width), 128 as published."""

    def __init__(self, *, width: int = FULL_WIDTH):
        super().__init__()
        layers: list[nn.Module] = []
        num_channels = 1
        for layer in _LAYERS:
            if isinstance(layer, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(num_channels, layer * width, 3, padding=1), nn.ReLU()]
                num_channels = layer * width
        self.features = nn.Sequential(*layers)

        self.num_features, hidden = 2 * width, 64 * width
        self.embeddings = nn.Sequential(
            nn.Linear(num_channels * _NUM_PLACES, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, self.num_features),
            nn.ReLU(),
        )

        # torch's own first weights would make all sounds alike.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return vectors, not negative."""
        # The order is that of TensorFlow's code: time, band, channel.
        features = F.relu(self.features(patches)).permute(0, 2, 3, 1)
        return self.embeddings(features.flatten(1))
