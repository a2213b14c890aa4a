"""Score low-resolution maps against ground truth, under one protocol.

Each map is upsampled to the grid of 224x224 pixels. A protocol then marks pixels, and the marked
pixels are counted outside of the ground truth and on each of its levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earshot.cached_property import cached_property
from eval.scoring.ground_truth import NUM_PIXELS, GroundTruth
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
    for column, (lowres_map, truth) in enumerate(zip(maps, ground_truths, strict=True)):
        (results[:, column],) = score_map(
            lowres_map,
            truth,
            protocols=[protocol],
            is_absolute=is_absolute,
            with_confidence=with_confidence,
        )
    return Scores(*results)


def score_map(
    lowres_map: np.ndarray,
    truth: GroundTruth | None,
    *,
    protocols: Sequence[Protocol],
    is_absolute: bool = False,
    with_confidence: bool = False,
) -> list[tuple[float, float, float, float, float]]:
    """Score one map under several protocols.

    Protocols with the same upsampling share what does not depend on the threshold.

    Args:
        lowres_map: ``(h, w)``.
        truth: None stands for a negative, whose scores are 0.
        protocols: how pixels are marked.
        is_absolute: as in ``score_maps``.
        with_confidence: as in ``score_maps``.

    Returns:
        The fields of ``Scores`` for each protocol.
    """
    grids: dict[str, _Grid] = {}
    results = []
    is_constant = bool(np.ptp(lowres_map) == 0)
    for protocol in protocols:
        # Protocols with the same upsampling share the values on the grid.
        grid = grids.get(protocol.upsampling)
        if grid is None:
            values = upsample(lowres_map, how=protocol.upsampling).ravel()
            grid = grids[protocol.upsampling] = _Grid(values, truth, is_constant=is_constant)

        is_raw = is_absolute and protocol.takes_absolute_maps
        ciou = grid.score(protocol, is_raw=is_raw)
        confidence = grid.confidence if with_confidence else np.nan
        results.append((ciou, *grid.shared_scores, confidence))
    return results


def has_finite_range(lowres_map: np.ndarray) -> bool:
    """Return whether a map can be scored in float32: no value is infinite or becomes so.

    Values near the largest float32 number are finite, but neither their range nor what bicubic
    upsampling makes of them is. Such a map would be scored wrongly, without an error.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(lowres_map).astype(np.float32)
        # Bicubic upsampling overshoots by less than the range, in each of its two directions.
        reach = np.abs(values).max() + 2 * np.ptp(values)
    return bool(np.isfinite(reach))


class _Grid:
    """The values of one upsampled map, and what all protocols share."""

    def __init__(self, values: np.ndarray, truth: GroundTruth | None, *, is_constant: bool):
        self._values, self._area, self._is_constant = values, 0, is_constant
        if truth is None:
            return
        # Without a consensus, a pixel has the value 0 or 1 and both masks are one.
        levels = truth.levels().ravel()
        self._is_consensus = truth.is_consensus
        self._is_any = levels > 0
        self._is_full = levels > 1 if truth.is_consensus else self._is_any
        self._area = int(np.count_nonzero(self._is_any))
        self._full_area = int(np.count_nonzero(self._is_full))

    @cached_property
    def confidence(self) -> float:
        """The mean of the top quarter."""
        top = np.partition(self._values, _TOP_QUARTER_INDEX)[_TOP_QUARTER_INDEX:]
        return float(top.mean(dtype=np.float64))

    @cached_property
    def shared_scores(self) -> tuple[float, float, float]:
        """``median_ciou``, ``adaptive_ciou`` and ``pointing``."""
        if self._area == 0:
            return 0.0, 0.0, 0.0
        # Upsampling leaves rounding errors in a constant map, which would decide all three.
        if self._is_constant:
            ciou = self._ciou_of(np.ones(len(self._values), bool))
            return ciou, ciou, float(self._is_any.mean())

        median, own_limit, _, high = self._thresholds
        # Several pixels can have the largest value, for example after a ReLU.
        pointing = float(self._is_any[np.flatnonzero(self._values == high)].mean())
        return (
            self._ciou_of(self._values >= median),
            self._ciou_of(self._values >= own_limit),
            pointing,
        )

    def score(self, protocol: Protocol, *, is_raw: bool) -> float:
        """Return the ciou of what a protocol marks."""
        if self._area == 0:
            return 0.0
        median, own_limit, low, high = self._thresholds
        # A map with a unit of its own is not normalized, as in FlowGrad's code.
        if is_raw:
            return self._ciou_of(self._values >= np.float32(0.5))
        if protocol.threshold == "own_area":
            return self.shared_scores[1]
        if protocol.threshold == "above_own_area":
            return self._ciou_of(self._values > own_limit)
        return self._ciou_of(mark_pixels(self._values, protocol, median=median, low=low, high=high))

    @cached_property
    def _thresholds(self) -> tuple[np.float32, np.float32, np.float32, np.float32]:
        return _find_thresholds(self._values, self._area)

    def _ciou_of(self, is_marked: np.ndarray) -> float:
        # Half of (any + full) is the sum of the ground truth's values: 0.5 on level 1, 1 on 2.
        num_any = np.count_nonzero(is_marked & self._is_any)
        num_full = np.count_nonzero(is_marked & self._is_full) if self._is_consensus else num_any
        num_outside = np.count_nonzero(is_marked) - num_any
        return ((num_any + num_full) / 2) / ((self._area + self._full_area) / 2 + num_outside)


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
