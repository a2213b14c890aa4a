"""SSPL's predictive coding module: what a sound predicts corrects the features of a frame."""

import torch
import torch.nn.functional as F
from torch import nn

NUM_CYCLES = 4
_NUM_LEVELS = 3  # of representations: at 14x14, 7x7 and 3x3 places


class _DownLayer(nn.Module):
    """A convolution and pooling: a level predicts the next smaller one."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.conv2d = nn.Conv2d(num_channels, num_channels, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve the size of a feature map, rounded down."""
        return F.max_pool2d(self.conv2d(x), 2)


class _UpLayer(nn.Module):
    """Upsampling and a transposed convolution: an error corrects the next larger level."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.convtrans2d = nn.ConvTranspose2d(num_channels, num_channels, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Double the size of a feature map."""
        larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.convtrans2d(larger)


class PredictiveCoding(nn.Module):
    """Turn features of a frame (n, c, 14, 14) and a sound (n, a) into features (n, c, 14, 14).

    Three levels of representation begin with the frame alone. Then errors go up and predictions go
    down for some cycles: the smallest level predicts the sound. Each step has its own
    normalization. The names of its tensors are those of the authors' code.

    Args:
        num_channels: c.
        num_sound_features: a.
    """

    def __init__(self, num_channels: int, num_sound_features: int):
        super().__init__()
        c, a = num_channels, num_sound_features
        # The attributes have the names of the authors' state dict.
        self.PredProcess = nn.ModuleList([nn.Conv2d(c, a, 1), _DownLayer(c), _DownLayer(c)])
        self.ErrorProcess = nn.ModuleList(
            [
                nn.ConvTranspose2d(a, c, 1, bias=False),
                nn.ConvTranspose2d(c, c, 3, stride=2, bias=False),
                _UpLayer(c),
                nn.ConvTranspose2d(c, c, 1),
            ]
        )
        # How much predictions and errors count, for each channel.
        self.b0 = _make_rates(c, 0.5)
        self.a0 = _make_rates(c, 1.0)

        self.BNPred = _make_normalizations(c, _NUM_LEVELS - 1)
        self.BNError = _make_normalizations(c, _NUM_LEVELS)
        self.BNPred_step = _make_normalizations(c, (_NUM_LEVELS - 1) * NUM_CYCLES)
        self.BNError_step = _make_normalizations(c, _NUM_LEVELS * NUM_CYCLES)

    def forward(self, features: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        """Return the corrected features of the frame."""
        # From the largest level, 2, to the smallest, 0.
        middle = F.gelu(self.BNPred[1](self.PredProcess[2](features)))
        smallest = F.gelu(self.BNPred[0](self.PredProcess[1](middle)))
        predictions = [smallest, middle, features]
        levels = self._correct(predictions, predictions, sound, self.BNError)

        for cycle in range(NUM_CYCLES):
            levels, predictions = self._predict(levels, predictions, cycle)
            # Each cycle and level has a normalization of its own.
            first = _NUM_LEVELS * cycle
            normalizations = self.BNError_step[first : first + _NUM_LEVELS]
            levels = self._correct(levels, predictions, sound, normalizations)
        return self.ErrorProcess[3](levels[2])

    def _predict(
        self, levels: list[torch.Tensor], predictions: list[torch.Tensor], cycle: int
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Let each level move towards what the larger one predicts; the largest, to the frame."""
        levels, predictions = list(levels), list(predictions)
        levels[2] = F.gelu(self._move(levels[2], predictions[2], 2))
        for level in (1, 0):
            predictions[level] = self.PredProcess[level + 1](levels[level + 1])
            moved = self._move(levels[level], predictions[level], level)
            normalize = self.BNPred_step[(_NUM_LEVELS - 1) * cycle + level]
            levels[level] = F.gelu(normalize(moved))
        return levels, predictions

    def _move(self, values: torch.Tensor, prediction: torch.Tensor, level: int) -> torch.Tensor:
        rate = self.b0[level].relu()
        return (1 - rate) * values + rate * prediction

    def _correct(
        self,
        levels: list[torch.Tensor],
        predictions: list[torch.Tensor],
        sound: torch.Tensor,
        normalizations: nn.ModuleList,
    ) -> list[torch.Tensor]:
        """Add to each level what the smaller one did not predict; to the smallest, the sound."""
        # (n, a, 1, 1): one error for the whole frame, which `ErrorProcess[0]` adds to all its
        # places.
        guess = F.gelu(self.PredProcess[0](levels[0])).mean((2, 3), keepdim=True)
        error = sound[:, :, None, None] - guess
        corrected: list[torch.Tensor] = []
        for level, normalize in enumerate(normalizations):
            # A rate below 0 would turn a correction round.
            step = self.a0[level].relu() * self.ErrorProcess[level](error)
            corrected.append(F.gelu(normalize(levels[level] + step)))
            error = corrected[level] - predictions[level]
        return corrected


def _make_rates(num_channels: int, value: float) -> nn.ParameterList:
    return nn.ParameterList(
        [nn.Parameter(torch.full((1, num_channels, 1, 1), value)) for _ in range(_NUM_LEVELS)]
    )


def _make_normalizations(num_channels: int, number: int) -> nn.ModuleList:
    return nn.ModuleList([nn.BatchNorm2d(num_channels) for _ in range(number)])
