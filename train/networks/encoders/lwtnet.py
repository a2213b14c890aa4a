"""LWTNet, the network of AVObject (Afouras et al., ECCV 2020): short videos, and their sound.

The names of its tensors are those of the released file, without its parts for speech separation.
"""

import torch
import torch.nn.functional as F
from torch import nn

FULL_WIDTH = 64  # channels of the first convolutions, as published
NUM_LOST_FRAMES = 4  # a time step sees five frames, or 20 columns of the mel spectrogram
PADDING = 58  # zero pixels on each side, so that a cell is at each 16th pixel

# channels in units of the width, kernel, stride, padding, then of the pooling kernel and stride
_VIDEO = (
    (1, (5, 7, 7), (1, 2, 2), 0, ((1, 3, 3), (1, 2, 2))),
    (2, (1, 5, 5), (1, 2, 2), 0, None),
    (4, (1, 3, 3), 1, (0, 1, 1), None),
    (4, (1, 3, 3), 1, (0, 1, 1), None),
    (4, (1, 3, 3), 1, (0, 1, 1), ((1, 3, 3), (1, 2, 2))),
    (8, (1, 5, 5), 1, 0, None),
)
_SOUND = (
    (1, 3, (2, 1), 1, ((3, 1), (2, 1))),
    (3, 3, 1, 1, ((3, 3), (2, 2))),
    (6, 3, 1, 1, None),
    (4, 3, 1, 1, None),
    (4, 3, 1, 1, ((2, 3), (2, 2))),
    (8, 4, 1, 0, None),
)


class _Trunk(nn.Module):
    """Convolutions, each with normalization and ReLU, some with pooling."""

    def __init__(self, layers: tuple, num_channels: int, *, width: int, is_video: bool):
        super().__init__()
        convolution = nn.Conv3d if is_video else nn.Conv2d
        normalization = nn.BatchNorm3d if is_video else nn.BatchNorm2d
        self._pool = F.max_pool3d if is_video else F.max_pool2d
        self._poolings = [pooling for *_, pooling in layers]
        for number, (factor, kernel, stride, padding, _) in enumerate(layers, start=1):
            # The last layer has the name of a fully connected one.
            name = "fc" if number == len(layers) else "conv"
            layer = convolution(num_channels, factor * width, kernel, stride, padding)
            self.add_module(f"{name}{number}", layer)
            self.add_module(f"bn{number}", normalization(factor * width))
            num_channels = factor * width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of the last layer."""
        # Children come as they were added: a layer, its normalization, the next layer.
        modules = list(self.children())
        for layer, normalization, pooling in zip(
            modules[::2], modules[1::2], self._poolings, strict=True
        ):
            x = normalization(layer(x)).relu()
            if pooling is not None:
                x = self._pool(x, *pooling)
        return x


class _Head(nn.Module):
    """Two layers at each place and time."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.fc7 = nn.Conv3d(num_channels, num_channels, 1)
        self.bn7 = nn.BatchNorm3d(num_channels)
        self.fc8 = nn.Conv3d(num_channels, 2 * num_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (n, c, t, h, w) into (n, 2 c, t, h, w)."""
        return self.fc8(self.bn7(self.fc7(x)).relu())


class LwtNet(nn.Module):
    """Embed videos and mel spectrograms in one space of 16 times ``width`` channels."""

    def __init__(self, *, width: int = FULL_WIDTH):
        super().__init__()
        self.net_lip = _Trunk(_VIDEO, 3, width=width, is_video=True)
        self.net_aud = _Trunk(_SOUND, 1, width=width, is_video=False)
        self.ff_lip, self.ff_aud = _Head(8 * width), _Head(8 * width)
        # One number. The authors' files have it as a linear layer.
        self.logits_scale = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.logits_scale.weight)

    def embed_video(self, video: torch.Tensor) -> torch.Tensor:
        """Turn video (n, 3, t, s, s), 0..255, into (n, c, t - 4, h, w), not normalized."""
        return self.ff_lip(self.net_lip(F.pad(video, [PADDING] * 4)))

    def embed_sound(self, mel: torch.Tensor) -> torch.Tensor:
        """Turn mel spectrograms (n, bands, 4 t) into (n, c, t - 4), not normalized."""
        features = self.net_aud(mel[:, None]).squeeze(2)
        return self.ff_aud(features[..., None, None])[..., 0, 0]
