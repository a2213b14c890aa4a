"""Score low-resolution maps against ground truth, under one protocol.

Each map is upsampled to the grid of 224x224 pixels. A protocol then marks pixels, and the marked
pixels are counted outside of the ground truth and on each of its levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.scoring.ground_truth import GRID, NUM_PIXELS, GroundTruth
from eval.scoring.protocols import MEDIAN_INDEX, Protocol, mark_pixels
from eval.scoring.upsampling import upsample

_TOP_QUARTER_INDEX = NUM_PIXELS - NUM_PIXELS // 4


@dataclass(frozen=True)
class Scores:
    """Scores of n samples, each float64 ``(n,)``."""

    # Marked as the protocol marks.
    ciou: np.ndarray
    # All pixels at or above the median value are marked.
    median_ciou: np.ndarray
    # As many pixels are marked as the ground truth has; equal values are marked together.
    adaptive_ciou: np.ndarray
    # Whether the map's maximum lies in the ground truth. On a plateau, the share of the plateau
    # that lies in it, so that no method gains by the way in which a tie is broken.
    pointing: np.ndarray
    # Mean of the top quarter of the upsampled map, not normalized (SLAVC); NaN unless requested.
    confidence: np.ndarray


def score_maps(
    maps: Sequence[np.ndarray],
    ground_truths: Sequence[GroundTruth | None],
    *,
    protocol: Protocol,
    is_absolute: bool = False,
    with_confidence: bool = False,
) -> Scores:
    """Score maps against as many ground truths.

    Args:
        maps: n maps ``(h, w)`` of any size, finite values, larger = more likely.
        ground_truths: None stands for a negative, whose scores are 0.
        protocol: how pixels are marked.
        is_absolute: the values have a unit of their own (pixels of motion, masks of a detector).
            FlowGrad's code does not normalize such maps; all other protocols do.
        with_confidence: compute ``Scores.confidence``, too.

    Returns:
        The scores in the order of the maps.
    """
    assert len(maps) == len(ground_truths)
    results = np.zeros((5, len(maps)))
    results[4] = np.nan
    is_raw = is_absolute and protocol.takes_absolute_maps

    buffer = np.empty((GRID, GRID), np.float32)
    for column, (lowres_map, truth) in enumerate(zip(maps, ground_truths, strict=True)):
        grid_map = upsample(lowres_map, how=protocol.upsampling, out=buffer)
        if with_confidence:
            top = np.partition(grid_map, _TOP_QUARTER_INDEX, axis=None)[_TOP_QUARTER_INDEX:]
            results[4, column] = top.mean(dtype=np.float64)
        if truth is not None:
            results[:4, column] = _score_map(grid_map.ravel(), truth, protocol, is_raw)
    return Scores(*results)


def _score_map(
    values: np.ndarray, truth: GroundTruth, protocol: Protocol, is_raw: bool
) -> tuple[float, float, float, float]:
    """Return the first four of ``Scores`` for the values of one upsampled map."""
    # Without a consensus, a pixel has the value 0 or 1 and both masks are one.
    levels = truth.levels().ravel()
    is_any = levels > 0
    is_full = levels > 1 if truth.is_consensus else is_any
    area = int(np.count_nonzero(is_any))
    full_area = int(np.count_nonzero(is_full)) if truth.is_consensus else area
    if area == 0:
        return 0.0, 0.0, 0.0, 0.0

    def ciou_of(is_marked: np.ndarray) -> float:
        # Half of (any + full) is the sum of the ground truth's values: 0.5 on level 1, 1 on 2.
        num_any = np.count_nonzero(is_marked & is_any)
        num_full = np.count_nonzero(is_marked & is_full) if truth.is_consensus else num_any
        num_outside = np.count_nonzero(is_marked) - num_any
        return ((num_any + num_full) / 2) / ((area + full_area) / 2 + num_outside)

    median, own_limit, low, high = _find_thresholds(values, area)
    median_ciou = ciou_of(values >= median)
    adaptive_ciou = ciou_of(values >= own_limit)
    if is_raw:
        ciou = ciou_of(values >= np.float32(0.5))
    elif protocol.threshold == "own_area":
        ciou = adaptive_ciou
    elif protocol.threshold == "above_own_area":
        ciou = ciou_of(values > own_limit)
    else:
        ciou = ciou_of(mark_pixels(values, protocol, median=median, low=low, high=high))

    # Several pixels can have the largest value, for example after a ReLU.
    is_peak = values == high
    pointing = float(np.count_nonzero(is_peak & is_any) / np.count_nonzero(is_peak))
    return ciou, median_ciou, adaptive_ciou, pointing


def _find_thresholds(
    values: np.ndarray, area: int
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return the median, the value at or above which ``area`` pixels lie, and the extremes.

    The second search needs only the half of the values in which its rank lies.
    """
    halves = np.partition(values, MEDIAN_INDEX)
    lower, upper = halves[:MEDIAN_INDEX], halves[MEDIAN_INDEX:]

    rank = NUM_PIXELS - area
    half, place = (lower, rank) if rank < MEDIAN_INDEX else (upper, rank - MEDIAN_INDEX)
    own_limit = np.partition(half, place)[place]
    return upper[0], own_limit, lower.min(), upper.max()
