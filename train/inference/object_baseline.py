"""The baselines ``ogl_l1`` and ``ogl_cls``: EZ-VSL's object-guided map alone, the same whatever sounds."""

from pathlib import Path
from typing import ClassVar

import torch

from earshot.errors import DataError
from train.inference.predictor import Predictor
from train.models.localizer import InputFormat, Localizer
from train.networks.encoders import make_encoder
from train.networks.object_guidance import ObjectGuidance
from train.weights.initialization import load_backbone, load_imagenet_weights

BACKBONE = "resnet18"
KINDS = {"ogl_l1": "l1", "ogl_cls": "cls"}  # name of the baseline -> kind of ``ObjectGuidance``
_FORMAT = InputFormat(image_size=224, short_side=246)


class ObjectBaseline(Localizer):
    """A frozen classifier's object map (n, 7, 7) of each frame; nothing is trained."""

    reads: ClassVar[tuple[str, ...]] = ("frames",)

    def __init__(self, guidance: ObjectGuidance):
        super().__init__()
        self.input_format, self._guidance = _FORMAT, guidance

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._guidance.localize(inputs["frames"])


def object_predictor(
    name: str, *, weights: str, weights_dir: Path, device: str = "auto"
) -> Predictor:
    """The predictor of the baseline ``name`` (of ``KINDS``).

    ``weights``: ``imagenet`` (torchvision's ResNet-18, fetched once by hash into ``weights_dir``) or a file's path.
    """
    classifier = make_encoder(BACKBONE, in_channels=3, has_head=True)
    try:
        found = load_imagenet_weights(BACKBONE, init=weights, weights_dir=weights_dir)
        absent = {"fc.weight", "fc.bias"} - set(found)
        if absent and KINDS[name] == "cls":
            raise DataError(
                f"{weights}: has no {sorted(absent)[0]}, expected a classifier with its head"
            )
        load_backbone(classifier, found, source=weights)
    except DataError as error:
        problem = str(error).partition("; ")[0]
        raise DataError(
            f"the baseline {name} needs an ImageNet {BACKBONE}: {problem}; set evaluate.object_guidance_weights to the "
            f"path of torchvision's file, or take {name} out of evaluate.baselines"
        ) from None
    return Predictor(
        ObjectBaseline(ObjectGuidance(classifier, kind=KINDS[name])), None, device=device
    )
