"""The audio encoder of RCGrad and FlowGrad: waveform in, spectrogram inside the network."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from train.networks.encoders.image_encoder import (
    FULL_WIDTH,
    FeatureEncoder,
    ResNetEncoder,
    is_resnet,
)

N_FFT, HOP_LENGTH = 512, 353
_LOG_OFFSET = 1e-7

# Standard deviation of a log spectrogram below which it counts as constant. Any sound has a
# thousand times that; digital silence has none.
_SMALLEST_DEVIATION = 1e-3


class Spectrogram(nn.Module):
    """Power spectrogram: (n, num_samples) to (n, bins, times).

    Its window is a buffer, because the published state dict holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return squared magnitudes, in float32 also under mixed precision."""
        # There is no FFT in bfloat16.
        with torch.autocast(waveforms.device.type, enabled=False):
            window = self.window.to(waveforms.dtype)
            spectrum = torch.stft(
                waveforms, N_FFT, HOP_LENGTH, window=window, center=True, return_complex=True
            )
            return spectrum.real.square() + spectrum.imag.square()


def make_waveform_encoder(
    backbone: str, *, width: int = FULL_WIDTH, uses_batch_statistics: bool = False
) -> "WaveformEncoder":
    """Make an encoder of waveforms with random weights.

    Args:
        backbone: a ResNet, or another convolutional classifier of torchvision.
        width: of a ResNet, as for ``ResNetEncoder``; other backbones have their own.
        uses_batch_statistics: as for ``WaveformEncoder``.

    Returns:
        A network that turns waveforms (n, num_samples) into embeddings (n, num_features).

    Raises:
        ParameterError: the backbone has no trunk of convolutions that is known here.
    """
    if is_resnet(backbone):
        return _WaveformResNet(backbone, uses_batch_statistics=uses_batch_statistics, width=width)
    return _WaveformFeatures(backbone, uses_batch_statistics=uses_batch_statistics)


class WaveformEncoder(nn.Module):
    """A mixin: turn waveforms (n, num_samples) into embeddings (n, num_features).

    The other base class is an encoder of images; it reads the standardized log spectrogram.

    The authors standardize over the whole batch. In evaluation they pass one sample at a time. Here
    each sample is standardized by itself in evaluation, so that a map does not depend on the other
    samples of its batch. The authors' code divides by zero for digital silence; here it becomes
    zeros.

    Args:
        backbone: of the encoder of images.
        uses_batch_statistics: whether BatchNorm uses the statistics of the single sample in
            evaluation. The released code does, since it never puts this encoder into evaluation
            mode.
        options: further arguments of the encoder of images.
    """

    def __init__(self, backbone: str, *, uses_batch_statistics: bool, **options):
        super().__init__(backbone, in_channels=1, **options)
        self.spectrogram = Spectrogram()
        self.uses_batch_statistics = uses_batch_statistics
        self.compute_moments = _compute_moments  # replaced where several processes share a batch

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return embeddings, average-pooled over the feature map."""
        x = (self.spectrogram(waveforms) + _LOG_OFFSET).log()
        if self.training:
            mean, deviation = self.compute_moments(x)
            x = (x - mean) / deviation.clamp_min(_SMALLEST_DEVIATION)
            return super().forward(x[:, None]).mean((2, 3))

        # In evaluation each sample is by itself.
        deviation = x.std((1, 2), keepdim=True).clamp_min(_SMALLEST_DEVIATION)
        x = (x - x.mean((1, 2), keepdim=True)) / deviation
        if not self.uses_batch_statistics:
            return super().forward(x[:, None]).mean((2, 3))
        # In the authors' tests BatchNorm uses the statistics of the sample itself.
        with _StatisticsOfEachSample(self):
            return super().forward(x[:, None]).mean((2, 3))


class _WaveformResNet(WaveformEncoder, ResNetEncoder):
    """On a ResNet, as published."""


class _WaveformFeatures(WaveformEncoder, FeatureEncoder):
    """On another torchvision backbone."""


def _compute_moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.mean(), values.std()


class _StatisticsOfEachSample:
    """A context in which BatchNorm layers use the statistics of each sample by itself.

    The network is in evaluation mode; nothing is recorded. The result is that of batches of one.
    """

    def __init__(self, network: nn.Module):
        # The private base class covers the layers that synchronize several processes, too.
        kind = nn.modules.batchnorm._BatchNorm
        self._layers = [module for module in network.modules() if isinstance(module, kind)]

    def __enter__(self) -> None:
        # BatchNorm of a batch of one is instance normalization.
        for layer in self._layers:
            layer.forward = functools.partial(
                F.instance_norm, weight=layer.weight, bias=layer.bias, eps=layer.eps
            )

    def __exit__(self, *exception: object) -> None:
        for layer in self._layers:
            del layer.forward
