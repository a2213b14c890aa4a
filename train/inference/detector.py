"""The network behind the feature ``detections``: an object detector of torchvision.

``pipeline.features.detections`` says what the arrays contain. This module fetches the weights
(once, checked by their SHA-256), loads them and runs the detector.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torchvision.models import detection

from earshot.errors import DataError
from pipeline.features import detections
from pipeline.features.detections import ALTERNATIVES, COCO_WEIGHTS_URLS, Detections, Parameters
from pipeline.features.feature import Feature
from train.runs.tensor_files import load_tensors
from train.weights.fetch import fetch_weights

_NUM_COCO_CATEGORIES = 91


def make_detections_feature(parameters: Parameters, *, weights_dir: Path) -> Feature:
    """Make the feature ``detections`` with its network, so that it can be computed.

    Args:
        parameters: The detector and its weights.
        weights_dir: COCO weights are fetched into this folder unless they are there.

    Returns:
        The feature. Each worker process loads the network when it computes its first frame.

    Raises:
        DataError: The weights cannot be had, or are not of this detector.
    """
    path = detections.find_weights_path(parameters, weights_dir=weights_dir)
    if parameters.weights == "coco":
        url = COCO_WEIGHTS_URLS[parameters.name]
        # Torchvision puts the beginning of the SHA-256 at the end of the file's name.
        prefix = path.stem.rsplit("-", 1)[1]
        fetch_weights(url, path, sha256=prefix, alternatives=ALTERNATIVES)

    # Each worker process loads the network when it computes its first frame.
    detect = functools.partial(_load_and_detect, parameters, path)
    feature = detections.make_feature(parameters, weights_dir=weights_dir, detect=detect)

    # Unusable weights are one error here instead of a failure of every sample.
    load_detector(parameters, path)
    return feature


def _load_and_detect(parameters: Parameters, weights_path: Path, rgb: np.ndarray, /) -> Detections:
    return detect_objects(load_detector(parameters, weights_path), rgb)


@functools.lru_cache(maxsize=1)
def load_detector(parameters: Parameters, weights_path: Path) -> torch.nn.Module:
    """Load the detector in eval mode; a process keeps the last one.

    Raises:
        DataError: The file has the weights of something else.
    """
    # No weights at first: torchvision would fetch its own.
    model = getattr(detection, parameters.name)(
        weights=None,
        weights_backbone=None,
        num_classes=_NUM_COCO_CATEGORIES,
        box_score_thresh=parameters.min_score,
        box_detections_per_img=parameters.max_boxes,
    )

    weights = load_tensors(weights_path)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise DataError(
            f"{weights_path}: not weights of {parameters.name}; {ALTERNATIVES}"
        ) from None
    return model.eval()


@torch.inference_mode()
def detect_objects(model: torch.nn.Module, rgb: np.ndarray) -> Detections:
    """Find the objects in one frame, uint8 ``(height, width, 3)``."""
    height, width = rgb.shape[:2]
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
    # torchvision's detectors take a list of pictures and resize them themselves.
    (found,) = model([image])

    # Pixels become shares of the frame's width and height.
    boxes = found["boxes"].numpy().astype(np.float64) / (width, height, width, height)
    return Detections(boxes, found["labels"].numpy(), found["scores"].numpy())
