"""The baselines ``ogl_l1`` and ``ogl_cls``: EZ-VSL's map of objects, without the sound."""

from pathlib import Path
from typing import ClassVar, Literal

import torch

from earshot.errors import DataError
from train.inference.predictor import Predictor
from train.models.localizer import InputFormat, Localizer
from train.networks.object_guidance import ObjectGuidance
from train.weights.frozen_networks import load_classifier

BACKBONE = "resnet18"
# name of the baseline -> kind of ``ObjectGuidance``
KINDS: dict[str, Literal["l1", "cls"]] = {"ogl_l1": "l1", "ogl_cls": "cls"}
_FORMAT = InputFormat(image_size=224, short_side=246)


class ObjectBaseline(Localizer):
    """A frozen classifier's map of objects (n, 7, 7) of each frame; nothing is trained."""

    reads: ClassVar[tuple[str, ...]] = ("frames",)

    def __init__(self, guidance: ObjectGuidance):
        super().__init__()
        self.input_format, self._guidance = _FORMAT, guidance

    def localize(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the maps of objects; they do not depend on the sound."""
        return self._guidance.localize(inputs["frames"])


def make_object_predictor(
    name: str, *, weights: str, weights_dir: Path, device: str = "auto"
) -> Predictor:
    """Make the predictor of a baseline.

    Args:
        name: One of ``KINDS``.
        weights: ``imagenet`` (torchvision's ResNet-18, fetched once), or the path of a file.
        weights_dir: Folder for fetched weights.
        device: As for ``Predictor``.

    Raises:
        DataError: The weights cannot be fetched or read, or do not fit.
    """
    kind = KINDS[name]
    try:
        classifier = load_classifier(
            BACKBONE, source=weights, needs_head=kind == "cls", weights_dir=weights_dir
        )
    except DataError as error:
        # What to do differs from training, where the same weights may be random.
        problem = str(error).partition("; ")[0]
        raise DataError(
            f"the baseline {name} needs an ImageNet {BACKBONE}: {problem}; set "
            "evaluate.object_guidance_weights to the path of torchvision's file, or remove "
            f"{name} from evaluate.baselines"
        ) from None

    model = ObjectBaseline(ObjectGuidance(classifier, kind=kind))
    return Predictor(model, None, device=device)
