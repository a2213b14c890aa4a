"""From low-resolution maps and ground truth to the scores of each sample, under one protocol.

One pass a map: upsample, put the values into bins, and count marked pixels by bin, looking only into the bin of a
threshold (see ``value_bins``). Maps are normalized only where it can matter (see ``protocols.find_cut``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.scoring.ground_truth import GRID, NUM_PIXELS, GroundTruth
from eval.scoring.protocols import MEDIAN_INDEX, Protocol, find_cut
from eval.scoring.upsampling import upsample
from eval.scoring.value_bins import Counts, ValueBins

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


def _score_map(
    grid_map: np.ndarray, truth: GroundTruth, protocol: Protocol, is_raw: bool
) -> tuple[float, ...]:
    """The first four of ``Scores`` for one upsampled map."""
    is_one_box = len(truth.pixel_boxes) == 1 and not truth.is_consensus
    bins = ValueBins(
        grid_map,
        truth.levels(),
        has_halves=truth.is_consensus,
        box=tuple(truth.pixel_boxes[0].tolist()) if is_one_box else None,
    )
    _, area, full_area = bins.total
    if area == 0:
        return 0.0, 0.0, 0.0, 0.0

    def ciou_of(marked: Counts) -> float:
        num_outside = marked.num_all - marked.num_any
        return ((marked.num_any + marked.num_full) / 2) / ((area + full_area) / 2 + num_outside)

    median = bins.value_at_rank(MEDIAN_INDEX)
    median_ciou = ciou_of(bins.count_from(median))
    adaptive_ciou = ciou_of(bins.count_from(bins.value_at_rank(NUM_PIXELS - area)))
    if is_raw:
        ciou = ciou_of(bins.count_from(np.float32(0.5)))
    elif protocol.threshold == "own_area":
        ciou = adaptive_ciou
    else:
        cut = find_cut(protocol, median=median, low=bins.low, high=bins.high)
        ciou = ciou_of(bins.count_marked(first=cut.first, last=cut.last, is_marked=cut.is_marked))
    at_maximum = bins.count_from(bins.high)
    return ciou, median_ciou, adaptive_ciou, at_maximum.num_any / at_maximum.num_all
