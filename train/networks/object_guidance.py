"""EZ-VSL's object-guided localization (OGL): where an ImageNet classifier sees an object."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.networks.encoders.image_encoder import ResNetEncoder


class ObjectGuidance:
    """A frozen classifier, and how its activations become a map.

    Args:
        classifier: a ResNet with ImageNet's weights; with its head where ``kind`` is ``cls``.
        kind: ``l1``: the mean absolute activation of the last stage. ``cls``: the probability of
            the most likely class, with the classifier applied at each place.
    """

    def __init__(self, classifier: ResNetEncoder, *, kind: Literal["l1", "cls"]):
        if kind == "cls" and not isinstance(getattr(classifier, "fc", None), nn.Linear):
            raise AssertionError("kind cls needs a classifier with its head")
        self.classifier, self.kind = classifier.eval().requires_grad_(False), kind

    @torch.no_grad()
    def localize(self, frames: torch.Tensor) -> torch.Tensor:
        """Return a map of objects for each frame.

        Args:
            frames: (n, 3, s, s), normalized with ImageNet's mean and deviation.

        Returns:
            (n, h, w), at the resolution of the classifier's last stage.
        """
        self.classifier.to(frames)  # to the same device and dtype
        features = self.classifier(frames)
        if self.kind == "l1":
            return features.abs().mean(1)

        # The linear head becomes a 1x1 convolution, so that it applies at each place.
        head = self.classifier.fc
        logits = F.conv2d(features, head.weight[:, :, None, None], head.bias)
        return logits.softmax(1).amax(1)

    def mix(self, maps: torch.Tensor, frames: torch.Tensor, *, alpha: float) -> torch.Tensor:
        """Mix audio-visual maps with maps of objects.

        Args:
            maps: (n, h, w), audio-visual.
            frames: (n, 3, s, s), as for ``localize``.
            alpha: weight of the audio-visual maps; the objects get ``1 - alpha``.

        Returns:
            (n, s, s), values 0..1.
        """
        size = (frames.shape[-2], frames.shape[-1])
        # Both get the range 0..1 first: a cosine over tau and activations have no unit in common.
        audio_visual = min_max(upsample_aligned(maps, size))
        objects = min_max(upsample_aligned(self.localize(frames), size))
        return min_max(alpha * audio_visual + (1 - alpha) * objects)


def upsample_aligned(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Upsample (n, h, w) bilinearly with aligned corners, as the authors' test script does."""
    maps = maps[:, None].float()
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)[:, 0]


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Return each map of (n, h, w) scaled to 0..1; a constant map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
