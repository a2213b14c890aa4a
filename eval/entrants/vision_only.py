"""The topline ``vision_only`` of FlowGrad: every moving vehicle that a detector sees, whatever the sound.

Detections (boxes of a frame and of the frame 0.5 s later) are the feature ``pipeline.features.detections``;
here are the two filters of "vision-only+CF+TF": the class filter, and the temporal filter that drops what stands still.
"""

from collections.abc import Sequence

import numpy as np

from eval.scoring.ground_truth import GRID
from pipeline.features.detections import Detections, unpack_detections

COCO_VEHICLES = {
    3: "car",
    4: "motorcycle",
    6: "bus",
    8: "truck",
}  # COCO category ids, as torchvision's detectors give
STILL_IOU = 0.95
MIN_SCORE = (
    0.25  # the confidence from which YOLOR-P6, the authors' detector, reports a box by default
)


def filter_classes(
    detections: Detections, *, classes=tuple(COCO_VEHICLES), min_score: float = MIN_SCORE
) -> Detections:
    """Keep boxes of these classes and at least this score."""
    keep = np.isin(detections.labels, classes) & (detections.scores >= min_score)
    return Detections(detections.boxes[keep], detections.labels[keep], detections.scores[keep])


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``(n, 4)`` with boxes ``(m, 4)``: ``(n, m)``; 0 for boxes without area."""
    first, second = first[:, None], second[None, :]
    overlap = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    intersection = np.clip(overlap, 0, None).prod(axis=-1)
    areas = [
        np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1) for boxes in (first, second)
    ]
    union = areas[0] + areas[1] - intersection
    return np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)


def drop_still(boxes: np.ndarray, next_boxes: np.ndarray, *, iou: float = STILL_IOU) -> np.ndarray:
    """Keep the boxes that no box of the next frame overlaps by more than ``iou``: what stands still goes.

    Without a box in the next frame nothing stands still and all are kept. (The authors' code gives no box at all when
    the next frame has no file of detections, which also happens at the end of a clip.)
    """
    if len(boxes) == 0 or len(next_boxes) == 0:
        return boxes
    return boxes[pairwise_iou(boxes, next_boxes).max(axis=1) <= iou]


def vision_only_map(
    current: Detections,
    following: Detections | None,
    *,
    has_class_filter: bool = True,
    has_temporal_filter: bool = True,
    min_score: float = MIN_SCORE,
) -> np.ndarray:
    """Union of the boxes that pass the filters: float32 ``(224, 224)`` of 0 and 1; score it as absolute.

    ``following``: detections 0.5 s later (None: there is no such frame, nothing is dropped).
    """
    classes = tuple(COCO_VEHICLES) if has_class_filter else tuple(range(1000))
    boxes = filter_classes(current, classes=classes, min_score=min_score).boxes
    if has_temporal_filter and following is not None:
        boxes = drop_still(
            boxes, filter_classes(following, classes=classes, min_score=min_score).boxes
        )
    grid_map = np.zeros((GRID, GRID), np.float32)
    for x1, y1, x2, y2 in (np.clip(boxes, 0, 1) * GRID).astype(int):
        grid_map[y1:y2, x1:x2] = 1
    return grid_map


class VisionOnlyMaps(Sequence):
    """Maps of the topline from the cached feature ``detections``, made when they are asked for; score as absolute.

    ``reader`` is a ``earshot.reader.FeatureReader`` of that feature.
    """

    def __init__(self, sample_ids: Sequence[str], reader, **filters):
        self._sample_ids, self._reader, self._filters = list(sample_ids), reader, filters

    def __len__(self) -> int:
        return len(self._sample_ids)

    def __getitem__(self, position: int) -> np.ndarray:
        sample_id = self._sample_ids[position]
        num_frames = self._reader.read_attributes(sample_id)["num_frames"]
        found = unpack_detections(self._reader.read(sample_id), num_frames=num_frames)
        return vision_only_map(*found, **self._filters)
