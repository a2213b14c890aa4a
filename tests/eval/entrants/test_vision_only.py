"""The filters of the topline that looks and does not listen."""

import numpy as np
import pytest

from earshot.errors import DataError
from eval.entrants.vision_only import (
    compute_pairwise_iou,
    drop_still_boxes,
    make_vision_only_map,
)
from pipeline.features.detections import Detections


def detections(boxes, labels=None, scores=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    labels = np.full(len(boxes), 3) if labels is None else np.array(labels)
    return Detections(boxes, labels, np.ones(len(boxes)) if scores is None else np.array(scores))


def test_vision_only_keeps_moving_vehicles_alone():
    parked, moving, person = [0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.7, 0.7], [0.8, 0.1, 0.9, 0.4]
    now = detections([parked, moving, person], labels=[3, 8, 1])
    later = detections([parked, [0.55, 0.5, 0.75, 0.7], person], labels=[3, 8, 1])
    both = make_vision_only_map(now, later)
    expected = np.zeros((224, 224), np.float32)
    expected[112:156, 112:156] = 1
    np.testing.assert_array_equal(both, expected)
    assert make_vision_only_map(now, later, has_temporal_filter=False).sum() == 2 * 44 * 44
    assert (
        make_vision_only_map(now, later, has_temporal_filter=False, box_rule="union").sum()
        == 44 * 44 + 45 * 45
    )
    assert (
        make_vision_only_map(now, later, has_class_filter=False).sum() == 44 * 44
    )  # the person stands still, too
    assert (
        make_vision_only_map(now, None).sum()
        == make_vision_only_map(now, later, has_temporal_filter=False).sum()
    )
    assert make_vision_only_map(now, later, min_score=1.1).sum() == 0


def test_a_box_is_still_only_above_an_overlap_of_95_percent():
    box = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert (
        len(drop_still_boxes(box, np.array([[0.0, 0.0, 1.0, 0.95]]))) == 1
    )  # 0.95 is not above 0.95
    assert len(drop_still_boxes(box, np.array([[0.0, 0.0, 1.0, 0.96]]))) == 0
    assert len(drop_still_boxes(box, np.empty((0, 4)))) == 1
    np.testing.assert_allclose(
        compute_pairwise_iou(box, np.array([[0, 0, 0.5, 0.5], [2, 2, 3, 3]])), [[0.25, 0]]
    )
    assert compute_pairwise_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
    with pytest.raises(DataError, match="expected"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2))
