"""The feature ``detections``: what an object detector sees at the sample's time and 0.5 s later.

FlowGrad's authors use YOLOR-P6 for their topline ``vision_only``; here it is a COCO detector of
torchvision. This module says what the arrays contain and what their keys are made from. The
network is in ``train.inference.detector``, which gives it to ``make_feature`` as ``detect``.
Without it the feature has keys, which is what ``verify`` needs, but cannot be computed.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from earshot.errors import DataError
from earshot.files import sha256_of
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.media.reader import MediaInfo

# 2: damaged and odd files are read otherwise (docs/lab/media.md); 3: frames of the picture only
VERSION = 3
NEXT_FRAME_SECONDS = 0.5
# Torchvision's COCO weights, by the name of the detector. The last part of a file's name is the
# beginning of its SHA-256.
COCO_WEIGHTS_URLS = {
    name: f"https://download.pytorch.org/models/{file_name}"
    for name, file_name in {
        "fasterrcnn_mobilenet_v3_large_320_fpn": (
            "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth"
        ),
        "fasterrcnn_mobilenet_v3_large_fpn": "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        "fasterrcnn_resnet50_fpn_v2": "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    }.items()
}
ALTERNATIVES = (
    "set detections.detector.weights to the path of torchvision's file for this detector, or take "
    "the dataset out of detections.datasets"
)
_NUM_COLUMNS = 7  # frame, x1, y1, x2, y2, score, label


@dataclass(frozen=True)
class Parameters:
    """Section ``detections.detector`` of params.yaml."""

    name: Literal[
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn_v2",
    ] = "fasterrcnn_mobilenet_v3_large_fpn"
    weights: str = "coco"  # coco: fetched and checked by hash; or the path of a file
    min_score: float = 0.05  # boxes below are not cached; who reads them chooses again, higher
    max_boxes: int = 100  # per frame

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}, expected 0 to 1")
        if self.max_boxes < 1:
            raise ValueError(f"max_boxes is {self.max_boxes}, expected at least 1")


@dataclass(frozen=True)
class Settings:
    """What detections depend on; shards record it. Weights count by content, not by place."""

    name: str
    weights_sha256: str
    min_score: float
    max_boxes: int


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame, best first."""

    boxes: np.ndarray  # (num_boxes, 4): x1 y1 x2 y2 as shares of the frame's width and height
    labels: np.ndarray  # (num_boxes,): COCO category ids
    scores: np.ndarray  # (num_boxes,): 0 to 1

    def __post_init__(self) -> None:
        is_consistent = len(self.boxes) == len(self.labels) == len(self.scores)
        if self.boxes.shape != (len(self.boxes), 4) or not is_consistent:
            raise DataError(
                f"detections: boxes {self.boxes.shape}, labels {self.labels.shape}, scores "
                f"{self.scores.shape}, expected (n, 4), (n,) and (n,)"
            )


class Detect(Protocol):
    """Find objects in a frame, uint8 RGB ``(height, width, 3)``. Worker processes receive it."""

    def __call__(self, rgb: np.ndarray, /) -> Detections: ...


def pack_detections(current: Detections, following: Detections | None = None) -> np.ndarray:
    """Put the detections of one or two frames into one array, as it is stored.

    Returns:
        float32 ``(num_boxes, 7)``: frame (0 or 1), x1, y1, x2, y2, score, label.
    """
    parts = [
        np.column_stack(
            [np.full(len(found.boxes), number), found.boxes, found.scores, found.labels]
        )
        for number, found in enumerate((current, following))
        if found is not None
    ]
    return np.concatenate(parts).astype(np.float32)


def unpack_detections(
    array: np.ndarray, *, num_frames: int
) -> tuple[Detections, Detections | None]:
    """Return what ``pack_detections`` packed.

    Args:
        array: ``(num_boxes, 7)``.
        num_frames: 1 where the picture ends before the second frame.

    Returns:
        The detections of the sample's frame and of the frame 0.5 s later, if there is one.

    Raises:
        DataError: The array has another shape.
    """
    if array.ndim != 2 or array.shape[1] != _NUM_COLUMNS:
        raise DataError(
            f"detections have shape {array.shape}, expected (num_boxes, {_NUM_COLUMNS})"
        )

    # A frame in which nothing was found has no row and gives empty arrays.
    first, second = (
        Detections(
            rows[:, 1:5].astype(np.float64), rows[:, 6].astype(int), rows[:, 5].astype(np.float64)
        )
        for rows in (array[array[:, 0] == number] for number in (0, 1))
    )
    # None: there was no second frame. Empty detections: nothing was found in it.
    return first, second if num_frames > 1 else None


def find_weights_path(parameters: Parameters, *, weights_dir: Path) -> Path:
    """Return the path of the detector's weights, which may not be fetched yet.

    Args:
        parameters: The detector, and ``coco`` or the path of a file.
        weights_dir: The folder of fetched weights.
    """
    if parameters.weights == "coco":
        # torchvision puts the beginning of a file's SHA-256 into its name: two versions, two files.
        return weights_dir / COCO_WEIGHTS_URLS[parameters.name].rsplit("/", 1)[1]
    return Path(parameters.weights).expanduser().absolute()


def make_feature(
    parameters: Parameters, *, weights_dir: Path, detect: Detect | None = None
) -> Feature:
    """Make the feature; arrays as ``pack_detections`` makes them.

    Args:
        parameters: The detector and its weights.
        weights_dir: The folder of fetched weights. Nothing is fetched here.
        detect: The network with these parameters. None: only keys are wanted.

    Raises:
        DataError: The file of weights is absent, so there are no keys.
    """
    weights_path = find_weights_path(parameters, weights_dir=weights_dir)
    if not weights_path.is_file():
        # Who passes `detect` has fetched the COCO weights, so a file of the user is absent.
        remedy = (
            "run the stage `detections`, which fetches them" if detect is None else ALTERNATIVES
        )
        raise DataError(
            f"{weights_path}: found no such file of weights, expected a detector's; {remedy}"
        )

    settings = Settings(
        parameters.name, sha256_of(weights_path), parameters.min_score, parameters.max_boxes
    )
    return Feature(
        name="detections",
        kind="boxes",
        version=VERSION,
        parameters=settings,
        attributes={
            "layout": "box, (frame 0 or 1, x1, y1, x2, y2, score, COCO category)",
            "units": "boxes as shares of the frame's width and height",
            "seconds_between_frames": NEXT_FRAME_SECONDS,
            "attribute_num_frames": "1 where the picture ends before the second frame",
        },
        needs=_find_needs,
        # Without `detect` the feature can be described, as its readers need, but not computed.
        compute=None if detect is None else functools.partial(_compute, detect),
    )


def _find_needs(moment: Moment, info: MediaInfo) -> Needs:
    # Before the first picture and behind the last one everything would seem to stand still.
    now = info.move_into_picture(moment.time_in(info.duration_seconds))
    following = now + NEXT_FRAME_SECONDS
    return Needs(frame_times=(now, following) if following < info.moving_seconds else (now,))


def _compute(detect: Detect, moment: Moment, decoded: Decoded) -> Extracted:
    found = [detect(frame.rgb) for frame in decoded.frames]
    return Extracted(pack_detections(*found), {"num_frames": len(found)})
