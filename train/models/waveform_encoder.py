"""The audio encoder of RCGrad and FlowGrad: waveform in, spectrogram inside the network."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from train.models.encoders import FULL_WIDTH, FeatureEncoder, ResNetEncoder, is_resnet

N_FFT, HOP_LENGTH = 512, 353
_LOG_OFFSET = 1e-7
_SMALLEST_DEVIATION = 1e-3  # of a spectrogram in logarithms; any sound has a thousand times that, digital silence none


class Spectrogram(nn.Module):
    """Power spectrogram (n, bins, times); its window travels in the published state dict."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        # FFTs know no bfloat16: always computed in float32
        with torch.autocast(waveforms.device.type, enabled=False):
            window = self.window.to(waveforms.dtype)
            spectrum = torch.stft(
                waveforms, N_FFT, HOP_LENGTH, window=window, center=True, return_complex=True
            )
            return spectrum.real.square() + spectrum.imag.square()


def make_waveform_encoder(
    backbone: str, *, width: int = FULL_WIDTH, uses_batch_statistics: bool = False
) -> "WaveformEncoder":
    """The encoder of waveforms on ``backbone``; ``width`` is for ResNets."""
    if is_resnet(backbone):
        return _WaveformResNet(backbone, uses_batch_statistics=uses_batch_statistics, width=width)
    return _WaveformFeatures(backbone, uses_batch_statistics=uses_batch_statistics)


class WaveformEncoder:
    """An encoder (what else a class inherits from) on the standardized log spectrogram:
    (n, num_samples) -> embeddings (n, num_features).

    The authors standardize over the whole batch. In evaluation they pass one sample at a time, so here each sample is
    standardized by itself then, and a map does not depend on what else is in its batch. The released code moreover
    never puts this encoder in evaluation mode; ``uses_batch_statistics`` reproduces that: BatchNorm takes the
    statistics of the single sample. Digital silence, which the authors' code would divide by zero, becomes zeros.
    """

    def __init__(self, backbone: str, *, uses_batch_statistics: bool, **options):
        super().__init__(backbone, in_channels=1, **options)
        self.spectrogram = Spectrogram()
        self.uses_batch_statistics = uses_batch_statistics
        self.compute_moments = _moments  # replaced where several processes share a batch

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        x = (self.spectrogram(waveforms) + _LOG_OFFSET).log()
        if self.training:
            mean, deviation = self.compute_moments(x)
            x = (x - mean) / deviation.clamp_min(_SMALLEST_DEVIATION)
            return super().forward(x[:, None]).mean((2, 3))
        deviation = x.std((1, 2), keepdim=True).clamp_min(_SMALLEST_DEVIATION)
        x = (x - x.mean((1, 2), keepdim=True)) / deviation
        if not self.uses_batch_statistics:
            return super().forward(x[:, None]).mean((2, 3))
        with _StatisticsOfEachSample(self):
            return super().forward(x[:, None]).mean((2, 3))


class _WaveformResNet(WaveformEncoder, ResNetEncoder):
    """As published."""


class _WaveformFeatures(WaveformEncoder, FeatureEncoder):
    """With another torchvision backbone."""


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.mean(), values.std()


class _StatisticsOfEachSample:
    """While inside, the BatchNorm layers of a network in evaluation mode use (and do not record) the statistics of each
    sample by itself: what batches of one give, for a whole batch at once.
    """

    def __init__(self, network: nn.Module):
        # the common base: layers that synchronize several processes are no BatchNorm2d
        self._layers = [
            m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]

    def __enter__(self):
        for layer in self._layers:
            layer.forward = functools.partial(
                F.instance_norm, weight=layer.weight, bias=layer.bias, eps=layer.eps
            )

    def __exit__(self, *exception):
        for layer in self._layers:
            del layer.forward
