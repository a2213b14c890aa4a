"""EZ-VSL's object-guided localization: where an ImageNet classifier sees an object, whatever sounds."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from train.models.encoders import ResNetEncoder


class ObjectGuidance:
    """A frozen classifier and the way its activations become a map.

    ``kind`` ``l1``: mean absolute activation of the last stage; ``cls``: the largest class posterior, the classifier
    applied at each place. Maps are of the last stage's resolution.
    """

    def __init__(self, classifier: ResNetEncoder, *, kind: Literal["l1", "cls"]):
        if kind == "cls" and not isinstance(getattr(classifier, "fc", None), nn.Linear):
            raise AssertionError("kind cls needs a classifier with its head")
        self.classifier, self.kind = classifier.eval().requires_grad_(False), kind

    @torch.no_grad()
    def localize(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (n, 3, s, s), ImageNet normalization -> maps (n, h, w)."""
        self.classifier.to(frames)  # device, and dtype
        features = self.classifier(frames)
        if self.kind == "l1":
            return features.abs().mean(1)
        head = self.classifier.fc
        logits = F.conv2d(features, head.weight[:, :, None, None], head.bias)
        return logits.softmax(1).amax(1)

    def mix(self, maps: torch.Tensor, frames: torch.Tensor, *, alpha: float) -> torch.Tensor:
        """``alpha`` audio-visual + (1 - alpha) object map, each upsampled to the frame, min-max normalized."""
        size = frames.shape[-2:]
        audio_visual = min_max(upsample_aligned(maps, size))
        objects = min_max(upsample_aligned(self.localize(frames), size))
        return min_max(alpha * audio_visual + (1 - alpha) * objects)


def upsample_aligned(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear with aligned corners, as the authors' test script does."""
    return F.interpolate(
        maps[:, None].float(), size=tuple(size), mode="bilinear", align_corners=True
    )[:, 0]


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Each map (h, w) to 0..1; a constant map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
