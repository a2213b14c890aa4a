"""From low-resolution maps and ground truth to the scores of each sample, under one protocol.

One pass a map: upsample, find the values at two ranks, and count marked pixels. Maps are normalized only where it can
matter (see ``protocols.mark``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.ground_truth import GRID, NUM_PIXELS, GroundTruth
from eval.protocols import MEDIAN_INDEX, Protocol, mark
from eval.ranks import values_at_ranks
from eval.upsampling import upsample

_TOP_QUARTER_INDEX = NUM_PIXELS - NUM_PIXELS // 4


@dataclass(frozen=True)
class Scores:
    """Scores of n samples, each float64 ``(n,)``.

    - ``ciou``: as the protocol marks. - ``median_ciou``: what is at or above the median marked.
    - ``adaptive_ciou``: as many pixels marked as the ground truth has (above 0); equal values are marked together.
    - ``pointing``: is the map's maximum inside the ground truth; on a plateau, the share of it that is inside, so
      that no method gains by where a tie happens to be broken.
    - ``confidence``: mean of the top quarter of the upsampled map, not normalized (SLAVC); NaN unless asked for.
    """

    ciou: np.ndarray
    median_ciou: np.ndarray
    adaptive_ciou: np.ndarray
    pointing: np.ndarray
    confidence: np.ndarray


def score_maps(
    maps: Sequence[np.ndarray],
    ground_truths: Sequence[GroundTruth | None],
    *,
    protocol: Protocol,
    is_absolute: bool = False,
    with_confidence: bool = False,
) -> Scores:
    """Score ``maps`` (n, h, w), any h and w, finite, larger = more likely, against as many ground truths.

    ``is_absolute``: values have a unit of their own (flow magnitude, detector masks), and FlowGrad's code does not
    normalize them; the other protocols do. A ground truth of None (a negative) gives cious of 0.
    """
    assert len(maps) == len(ground_truths)
    results = np.zeros((5, len(maps)))
    results[4] = np.nan
    is_raw = is_absolute and protocol.threshold == "half_from_median"
    buffer = np.empty((GRID, GRID), np.float32)
    for column, (lowres_map, truth) in enumerate(zip(maps, ground_truths, strict=True)):
        grid_map = upsample(lowres_map, how=protocol.upsampling, out=buffer)
        if with_confidence:
            top = np.partition(grid_map, _TOP_QUARTER_INDEX, axis=None)[_TOP_QUARTER_INDEX:]
            results[4, column] = top.mean(dtype=np.float64)
        if truth is not None:
            results[:4, column] = _score_map(grid_map, truth, protocol, is_raw)
    return Scores(*results)


def _score_map(grid_map: np.ndarray, truth: GroundTruth, protocol: Protocol, is_raw: bool) -> tuple[float, ...]:
    """The first four of ``Scores`` for one upsampled map."""
    levels = truth.levels()
    in_any = levels > 0
    in_full = levels > 1 if truth.is_consensus else in_any
    area = int(np.count_nonzero(in_any))
    if area == 0:
        return 0.0, 0.0, 0.0, 0.0
    full_area = int(np.count_nonzero(in_full)) if truth.is_consensus else area

    def ciou_of(marked: np.ndarray) -> float:
        num_in_any = np.count_nonzero(marked & in_any)
        num_in_full = np.count_nonzero(marked & in_full) if truth.is_consensus else num_in_any
        num_outside = np.count_nonzero(marked) - num_in_any
        return ((num_in_any + num_in_full) / 2) / ((area + full_area) / 2 + num_outside)

    low, high = grid_map.min(), grid_map.max()
    median, own_area_value = values_at_ranks(grid_map.ravel(), (MEDIAN_INDEX, NUM_PIXELS - area))
    median_ciou = ciou_of(grid_map >= median)
    adaptive_ciou = ciou_of(grid_map >= own_area_value)
    if is_raw:
        ciou = ciou_of(grid_map >= np.float32(0.5))
    elif protocol.threshold == "own_area":
        ciou = adaptive_ciou
    else:
        ciou = ciou_of(mark(grid_map, protocol, median=median, low=low, high=high))
    at_maximum = np.flatnonzero(grid_map == high)
    pointing = np.count_nonzero(in_any.ravel()[at_maximum]) / len(at_maximum)
    return ciou, median_ciou, adaptive_ciou, pointing
