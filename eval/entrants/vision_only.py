"""The topline ``vision_only`` of FlowGrad: every moving vehicle in the picture, whatever the sound.

A detector's boxes in the sample's frame and in the frame 0.5 s later are the feature
``pipeline.features.detections``. This module has the two filters of "vision-only+CF+TF": the class
filter, and the temporal filter that drops what stands still.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from earshot.reader import FeatureReader
from eval.entrants.entrant import Entrant
from eval.scoring.ground_truth import GRID
from pipeline.features.detections import Detections, unpack_detections

# COCO category ids, as torchvision's detectors give them.
COCO_VEHICLES = {3: "car", 4: "motorcycle", 6: "bus", 8: "truck"}
_ALL_CLASSES = range(1000)

# A box stands still if a box of the next frame overlaps it by more.
STILL_IOU = 0.95
# From this confidence on, YOLOR-P6, the authors' detector, reports a box by default.
MIN_SCORE = 0.25


def make_vision_only(datasets: Collection[str] | None = None) -> Entrant:
    """Make the entrant ``vision_only``.

    Args:
        datasets: those that have the feature ``detections``; None: all.
    """
    return Entrant(
        "vision_only",
        "baseline",
        lambda ids, readers: VisionOnlyMaps(ids, readers["detections"]),
        reads=("detections",),
        datasets=datasets,
        is_absolute=True,
    )


class VisionOnlyMaps:
    """Maps of the topline, computed when they are read; score them as absolute.

    Args:
        sample_ids: ``(n,)``, samples that have detections.
        reader: of the feature ``detections``.
        filters: options of ``make_vision_only_map``.
    """

    def __init__(self, sample_ids: Sequence[str], reader: FeatureReader, **filters: Any):
        self._sample_ids, self._reader, self._filters = list(sample_ids), reader, filters

    def __len__(self) -> int:
        return len(self._sample_ids)

    def __getitem__(self, position: int, /) -> np.ndarray:
        sample_id = self._sample_ids[position]
        num_frames = int(self._reader.read_attributes(sample_id)["num_frames"])
        current, following = unpack_detections(self._reader.read(sample_id), num_frames=num_frames)
        return make_vision_only_map(current, following, **self._filters)


def make_vision_only_map(
    current: Detections,
    following: Detections | None,
    *,
    has_class_filter: bool = True,
    has_temporal_filter: bool = True,
    min_score: float = MIN_SCORE,
) -> np.ndarray:
    """Mark the boxes that pass the filters.

    Args:
        current: detections in the sample's frame.
        following: detections 0.5 s later; None: there is no such frame, and nothing is dropped.
        has_class_filter: keep vehicles alone.
        has_temporal_filter: drop what stands still.
        min_score: least confidence of a box.

    Returns:
        float32 ``(224, 224)``: 1 in any of the boxes, 0 elsewhere; score it as absolute.
    """
    classes = COCO_VEHICLES if has_class_filter else _ALL_CLASSES
    boxes = filter_detections(current, classes=classes, min_score=min_score).boxes
    if has_temporal_filter and following is not None:
        next_boxes = filter_detections(following, classes=classes, min_score=min_score).boxes
        boxes = drop_still_boxes(boxes, next_boxes)

    # Boxes are truncated and half open, as those of the ground truth.
    grid_map = np.zeros((GRID, GRID), np.float32)
    for x1, y1, x2, y2 in (np.clip(boxes, 0, 1) * GRID).astype(int):
        grid_map[y1:y2, x1:x2] = 1
    return grid_map


def filter_detections(
    detections: Detections,
    *,
    classes: Collection[int] = tuple(COCO_VEHICLES),
    min_score: float = MIN_SCORE,
) -> Detections:
    """Keep the boxes of these classes that have at least this confidence."""
    is_kept = np.isin(detections.labels, list(classes)) & (detections.scores >= min_score)
    return Detections(
        detections.boxes[is_kept], detections.labels[is_kept], detections.scores[is_kept]
    )


def drop_still_boxes(
    boxes: np.ndarray, next_boxes: np.ndarray, *, iou: float = STILL_IOU
) -> np.ndarray:
    """Drop the boxes that a box of the next frame overlaps by more than ``iou``.

    Without a box in the next frame all boxes are kept. (The authors' code marks no box at all if
    the next frame has no file of detections, which also happens at the end of a clip.)

    Args:
        boxes: ``(n, 4)``, x1 y1 x2 y2.
        next_boxes: ``(m, 4)``, of the next frame.
        iou: largest overlap of a box that is kept.

    Returns:
        The boxes that are kept, ``(k, 4)``.
    """
    if len(boxes) == 0 or len(next_boxes) == 0:
        return boxes
    return boxes[compute_pairwise_iou(boxes, next_boxes).max(axis=1) <= iou]


def compute_pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of all pairs of boxes.

    Args:
        first: ``(n, 4)``, x1 y1 x2 y2.
        second: ``(m, 4)``.

    Returns:
        float64 ``(n, m)``; 0 for two boxes without area.
    """
    # Shapes (n, 1, 4) and (1, m, 4), which broadcast to all pairs.
    first, second = first[:, None], second[None, :]
    bottom_right = np.minimum(first[..., 2:], second[..., 2:])
    top_left = np.maximum(first[..., :2], second[..., :2])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)

    first_area, second_area = (
        np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1) for boxes in (first, second)
    )
    union = first_area + second_area - intersection
    return np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)
