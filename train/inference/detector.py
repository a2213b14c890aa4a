"""Object detections as a feature: what the ``vision_only`` topline sees in a sample's frame and 0.5 s later.

FlowGrad's authors use YOLOR-P6; here a COCO detector of torchvision. Its weights are fetched once and known by their
SHA-256, or come from a file. Detections are cached like any feature: ``make_feature`` goes to ``pipeline.shards.build``.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from torchvision.models import detection

from earshot.errors import DataError
from earshot.files import sha256_of
from eval.entrants.vision_only import NEXT_FRAME_SECONDS, Detections, pack_detections
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.media.reader import MediaInfo
from train.runs.run_folder import load_tensors
from train.weights.fetch import fetch_weights

VERSION = 1
_ALTERNATIVES = (
    "set detections.detector.weights to the path of torchvision's file for this detector, or take the dataset out of "
    "detections.datasets"
)


@dataclass(frozen=True)
class DetectorParameters:
    """``name``: a detector of torchvision. ``weights``: ``coco`` (fetched by hash) or the path of a file.

    ``min_score``: boxes below are not cached (the filters choose again, higher). ``max_boxes``: of a frame.
    """

    name: Literal[
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn_v2",
    ] = "fasterrcnn_mobilenet_v3_large_fpn"
    weights: str = "coco"
    min_score: float = 0.05
    max_boxes: int = 100

    def __post_init__(self):
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}, expected 0 to 1")
        if self.max_boxes < 1:
            raise ValueError(f"max_boxes is {self.max_boxes}, expected at least 1")


@dataclass(frozen=True)
class DetectorKey:
    """What detections depend on: the parameters with the content of the weights instead of their place."""

    name: str
    weights_sha256: str
    min_score: float
    max_boxes: int


def find_weights(parameters: DetectorParameters, *, weights_dir: Path) -> Path:
    """The file with the detector's weights, fetched into ``weights_dir`` unless it is there."""
    if parameters.weights != "coco":
        path = Path(parameters.weights).expanduser().absolute()
        if not path.is_file():
            raise DataError(
                f"{path}: found no such file of weights, expected a detector's; {_ALTERNATIVES}"
            )
        return path
    url = torchvision.models.get_model_weights(parameters.name).DEFAULT.url
    file_name = url.rsplit("/", 1)[1]
    prefix = file_name.rsplit("-", 1)[1].split(".")[
        0
    ]  # torchvision puts the beginning of the SHA-256 into the name
    return fetch_weights(url, weights_dir / file_name, sha256=prefix, alternatives=_ALTERNATIVES)


@functools.lru_cache(maxsize=1)
def load_detector(
    name: str, weights_path: Path, min_score: float, max_boxes: int
) -> torch.nn.Module:
    """The detector in eval mode; one a process. ``DataError``: the file is not of this detector."""
    model = getattr(detection, name)(
        weights=None,
        weights_backbone=None,
        num_classes=91,
        box_score_thresh=min_score,
        box_detections_per_img=max_boxes,
    )
    weights = load_tensors(weights_path)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise DataError(f"{weights_path}: not weights of {name}; {_ALTERNATIVES}") from None
    return model.eval()


@torch.inference_mode()
def detect(model: torch.nn.Module, rgb: np.ndarray) -> Detections:
    """Boxes in one frame, uint8 ``(height, width, 3)``, with COCO category ids, best first."""
    height, width = rgb.shape[:2]
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
    (found,) = model([image])
    boxes = found["boxes"].numpy().astype(np.float64) / (width, height, width, height)
    return Detections(boxes, found["labels"].numpy(), found["scores"].numpy())


def make_feature(parameters: DetectorParameters, *, weights_dir: Path) -> Feature:
    """The feature ``detections``; arrays as ``eval.entrants.vision_only.pack_detections`` makes them."""
    weights_path = find_weights(parameters, weights_dir=weights_dir)
    # Once here, so that unusable weights are one sentence and not a failure of every sample.
    load_detector(parameters.name, weights_path, parameters.min_score, parameters.max_boxes)
    key = DetectorKey(
        parameters.name, sha256_of(weights_path), parameters.min_score, parameters.max_boxes
    )
    return Feature(
        name="detections",
        version=VERSION,
        parameters=key,
        attributes={
            "layout": "box, (frame 0 or 1, x1, y1, x2, y2, score, COCO category)",
            "units": "boxes as shares of the frame's width and height",
            "seconds_between_frames": NEXT_FRAME_SECONDS,
            "attribute_num_frames": "1 where the clip ends before the second frame",
        },
        needs=_find_needs,
        compute=functools.partial(_compute, key, weights_path),
    )


def _find_needs(moment: Moment, info: MediaInfo) -> Needs:
    now = moment.time_in(info.duration_seconds)
    following = now + NEXT_FRAME_SECONDS
    return Needs(frame_times=(now, following) if following < info.duration_seconds else (now,))


def _compute(key: DetectorKey, weights_path: Path, moment: Moment, decoded: Decoded) -> Extracted:
    model = load_detector(key.name, weights_path, key.min_score, key.max_boxes)
    found = [detect(model, frame.rgb) for frame in decoded.frames]
    return Extracted(pack_detections(*found), {"num_frames": len(found)})
