"""SoundNet-8 (Aytar et al., NeurIPS 2016): a frozen network that names objects by their sound.

ImageNet's and Places' networks taught it on two million Flickr videos. Only its first head, the
objects, is read.
"""

import torch
from torch import nn

SAMPLE_RATE = 22050  # in Hz
NUM_OBJECTS = 1000
MIN_SECONDS = 9.5  # shorter sound gives no output
_FULL_SCALE = 256.0  # a waveform of -1..1 times this is what it reads

# channels, kernel, stride, padding, pooling, all along time
_LAYERS = (
    (16, 64, 2, 32, 8),
    (32, 32, 2, 16, 8),
    (64, 16, 2, 8, 0),
    (128, 8, 2, 4, 0),
    (256, 4, 2, 2, 4),
    (512, 4, 2, 2, 0),
    (1024, 4, 2, 2, 0),
)


class SoundNet(nn.Module):
    """Turn waveforms (n, num_samples) in -1..1 into object logits (n, 1000, times).

    The names of its tensors are those of the PyTorch port ``sound8.pth``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        num_channels = 1
        for number, (channels, kernel, stride, padding, pooling) in enumerate(_LAYERS, start=1):
            layers: list[nn.Module] = [
                nn.Conv2d(num_channels, channels, (kernel, 1), (stride, 1), (padding, 0)),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            if pooling:
                layers.append(nn.MaxPool2d((pooling, 1)))
            self._names.append(f"conv{number}")
            self.add_module(self._names[-1], nn.Sequential(*layers))
            num_channels = channels

        self.conv8 = nn.Sequential(nn.Conv2d(num_channels, NUM_OBJECTS, (8, 1), (2, 1)))
        self.conv8_2 = nn.Sequential(nn.Conv2d(num_channels, 401, (8, 1), (2, 1)))  # scenes

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the logits of the objects."""
        # Time is the vertical axis, as in the authors' layout: (n, 1, num_samples, 1).
        x = waveforms[:, None, :, None] * _FULL_SCALE
        for name in self._names:
            x = self.get_submodule(name)(x)
        return self.conv8(x)[..., 0]
