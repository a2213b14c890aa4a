"""The topline ``vision_only`` of FlowGrad: every moving vehicle in the picture, whatever the sound.

A detector's boxes in the sample's frame and in the frame 0.5 s later are the feature
``pipeline.features.detections``. This module has the two filters of "vision-only+CF+TF": the class
filter, and the temporal filter that drops what stands still.

The authors' code leaves out a frame in which no vehicle was found, and marks nothing where the
later frame has none. Under their protocol the maps do the same (``make_published_map``). Under the
other protocols the topline takes part on every sample, and without a later frame nothing is
dropped (``make_vision_only_map``).
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from earshot.reader import FeatureReader
from eval.entrants.entrant import Entrant
from eval.entrants.maps import NoMapError
from eval.scoring.ground_truth import GRID, make_ground_truth
from pipeline.datasets.dataset import BoxRule
from pipeline.features.detections import Detections, unpack_detections

# COCO category ids, as torchvision's detectors give them.
COCO_VEHICLES = {3: "car", 4: "motorcycle", 6: "bus", 8: "truck"}
_ALL_CLASSES = range(1000)

# A box stands still if a box of the next frame overlaps it by at least so much.
STILL_IOU = 0.95
# The authors' code adds it to each union. An overlap of 19/20 is thereby a little below 0.95.
_UNION_EPSILON = 1e-9
# Cached boxes are float32. In units of the grid, their rounding errors are smaller than this.
_BOX_DECIMALS = 4
# From this confidence on, YOLOR-P6, the authors' detector, reports a box by default.
MIN_SCORE = 0.25


def make_vision_only(
    datasets: Collection[str] | None = None, *, box_rule: BoxRule = "corner_size"
) -> Entrant:
    """Make the entrant ``vision_only``.

    Args:
        datasets: those that have the feature ``detections``; None: all.
        box_rule: of these datasets, so that a detector that finds exactly their boxes is perfect.
            The authors' protocol has its own rule.

    Returns:
        An entrant that reads the feature ``detections``. Its maps are masks, which the authors'
        protocol does not normalize.
    """
    return Entrant(
        "vision_only",
        "baseline",
        lambda ids, readers: VisionOnlyMaps(ids, readers["detections"], box_rule=box_rule),
        reads=("detections",),
        datasets=datasets,
        is_absolute=True,
        method="vision_only",
        parity={"flowgrad": lambda ids, readers: PublishedMaps(ids, readers["detections"])},
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
        return make_vision_only_map(*self._read(position), **self._filters)

    def _read(self, position: int) -> tuple[Detections, Detections | None]:
        sample_id = self._sample_ids[position]
        num_frames = int(self._reader.read_attributes(sample_id)["num_frames"])
        return unpack_detections(self._reader.read(sample_id), num_frames=num_frames)


class PublishedMaps(VisionOnlyMaps):
    """Maps of the topline as its authors score them, computed when they are read."""

    def __getitem__(self, position: int, /) -> np.ndarray:
        return make_published_map(*self._read(position))


def make_vision_only_map(
    current: Detections,
    following: Detections | None,
    *,
    has_class_filter: bool = True,
    has_temporal_filter: bool = True,
    min_score: float = MIN_SCORE,
    box_rule: BoxRule = "corner_size",
) -> np.ndarray:
    """Mark the boxes that pass the filters.

    Args:
        current: detections in the sample's frame.
        following: detections 0.5 s later; None: there is no such frame, and nothing is dropped.
        has_class_filter: keep vehicles alone.
        has_temporal_filter: drop what stands still.
        min_score: least confidence of a box.
        box_rule: how boxes become pixels.

    Returns:
        float32 ``(224, 224)``: 1 in any of the boxes, 0 elsewhere; score it as absolute.
    """
    classes = COCO_VEHICLES if has_class_filter else _ALL_CLASSES
    boxes = filter_detections(current, classes=classes, min_score=min_score).boxes
    if has_temporal_filter and following is not None:
        next_boxes = filter_detections(following, classes=classes, min_score=min_score).boxes
        boxes = drop_still_boxes(boxes, next_boxes)

    return mark_boxes(boxes, rule=box_rule)


def make_published_map(current: Detections, following: Detections | None) -> np.ndarray:
    """Mark the boxes as the authors' code does.

    Args:
        current: detections in the sample's frame.
        following: detections 0.5 s later; None: there is no such frame.

    Returns:
        float32 ``(224, 224)``; nothing is marked if no vehicle was found 0.5 s later.

    Raises:
        NoMapError: no vehicle was found in the sample's frame, so the code leaves it out.
    """
    boxes = filter_detections(current).boxes
    if len(boxes) == 0:
        raise NoMapError("no_detection")

    # Without a box in the later frame, their code marks nothing. Ours then drops nothing.
    next_boxes = np.empty((0, 4)) if following is None else filter_detections(following).boxes
    if len(next_boxes) == 0:
        return mark_boxes(next_boxes)
    return mark_boxes(drop_still_boxes(boxes, next_boxes))


def mark_boxes(boxes: np.ndarray, *, rule: BoxRule = "corner_size") -> np.ndarray:
    """Return float32 ``(224, 224)`` with ones in the boxes.

    Args:
        boxes: ``(n, 4)``, x1 y1 x2 y2 as shares of the frame; parts outside of it are cut off.
        rule: as for the ground truth. With FlowGrad's, ``corner_size``, corner and size are
            truncated one by one.
    """
    boxes = np.clip(boxes, 0, 1)
    if rule != "corner_size":
        return (make_ground_truth(boxes, rule=rule).levels() > 0).astype(np.float32)

    # Rounded first: floating point can be just below a whole number, and `int` cuts it off.
    corners = np.round(boxes[:, :2] * GRID, _BOX_DECIMALS).astype(int)
    sizes = np.round((boxes[:, 2:] - boxes[:, :2]) * GRID, _BOX_DECIMALS).astype(int)

    grid_map = np.zeros((GRID, GRID), np.float32)
    for (x, y), (width, height) in zip(corners, sizes, strict=True):
        grid_map[y : y + height, x : x + width] = 1
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
    """Drop the boxes that a box of the next frame overlaps by ``iou`` or more.

    Without a box in the next frame all boxes are kept.

    Args:
        boxes: ``(n, 4)``, x1 y1 x2 y2.
        next_boxes: ``(m, 4)``, of the next frame.
        iou: a box is kept while its largest overlap is below.

    Returns:
        The boxes that are kept, ``(k, 4)``.
    """
    if len(boxes) == 0 or len(next_boxes) == 0:
        return boxes
    return boxes[compute_pairwise_iou(boxes, next_boxes).max(axis=1) < iou]


def compute_pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of all pairs of boxes, as FlowGrad's code does.

    Args:
        first: ``(n, 4)``, x1 y1 x2 y2.
        second: ``(m, 4)``.

    Returns:
        float64 ``(n, m)``, a little below the exact value; 0 for two boxes without area.
    """
    # Shapes (n, 1, 4) and (1, m, 4), which broadcast to all pairs.
    first, second = first[:, None], second[None, :]
    bottom_right = np.minimum(first[..., 2:], second[..., 2:])
    top_left = np.maximum(first[..., :2], second[..., :2])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)

    first_area, second_area = (
        np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1) for boxes in (first, second)
    )
    return intersection / (first_area + second_area - intersection + _UNION_EPSILON)
