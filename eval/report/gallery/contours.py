"""The outline of what a protocol marks in a map: the region that is scored.

It is traced in the full map, on the grid of the scores. Before it is shown, its cIoU is compared
with the one that was scored: what the page draws is what the tables count.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from eval.scoring.ground_truth import GRID, NUM_PIXELS, GroundTruth
from eval.scoring.protocols import MEDIAN_INDEX, Protocol, mark_pixels
from eval.scoring.upsampling import upsample

_TOLERANCE = 0.02  # of the cIoU; maps of other systems are kept in a smaller size
_DEVIATIONS = (0.8, 1.6, 3.2)  # pixels that an outline may lie beside the region's edge
_MAX_CHARACTERS = 900
_MIN_AREA = 12  # pixels; smaller pieces are not drawn


def trace_marked(
    localization_map: np.ndarray, truth: GroundTruth, *, protocol: Protocol, scored: float
) -> str | None:
    """Return the outline of what a protocol marks in a map.

    Args:
        localization_map: ``(h, w)``, finite values.
        truth: Of the sample.
        protocol: Marks the pixels.
        scored: The cIoU that the evaluation computed.

    Returns:
        A path of SVG on a grid of 224 x 224 (the rule is evenodd); None where what is marked here
        is not what was scored.
    """
    is_marked = _mark(localization_map, truth, protocol)
    # A map can be kept smaller than it was scored. Then its outline would show something else.
    if abs(_compute_ciou(is_marked, truth) - scored) > _TOLERANCE:
        return None

    return trace_region(is_marked)


def trace_region(is_inside: np.ndarray) -> str:
    """Return the outline of a region.

    Args:
        is_inside: bool ``(224, 224)``.

    Returns:
        A path of SVG on this grid (the rule is evenodd).
    """
    # a border of zeros closes outlines at the edge of the frame
    padded = np.pad(is_inside.astype(np.uint8), 1)
    # With holes (CCOMP) and with all points (NONE): they are simplified below.
    outlines, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    large = [outline for outline in outlines if cv2.contourArea(outline) >= _MIN_AREA]

    # Simplify more and more, until the text is short enough.
    path = ""
    for deviation in _DEVIATIONS:
        path = _write_path([cv2.approxPolyDP(outline, deviation, True) for outline in large])
        if len(path) <= _MAX_CHARACTERS:
            break
    return path


def _mark(localization_map: np.ndarray, truth: GroundTruth, protocol: Protocol) -> np.ndarray:
    """Return the pixels that a protocol marks, bool ``(224, 224)``."""
    values = upsample(np.asarray(localization_map, np.float32), how=protocol.upsampling)
    # Limit, median and extremes are places in the sorted values.
    ordered = np.sort(values, axis=None)
    area = int(np.count_nonzero(truth.levels()))

    if protocol.threshold in ("own_area", "above_own_area"):
        limit = ordered[NUM_PIXELS - area] if area else np.inf
        return values >= limit if protocol.threshold == "own_area" else values > limit

    marked = mark_pixels(
        values.ravel(), protocol, median=ordered[MEDIAN_INDEX], low=ordered[0], high=ordered[-1]
    )
    return marked.reshape(GRID, GRID)


def _compute_ciou(is_marked: np.ndarray, truth: GroundTruth) -> float:
    # Levels count in halves.
    levels = truth.levels().astype(np.float64) / 2
    total = levels.sum() + np.count_nonzero(is_marked & (levels == 0))
    return float(levels[is_marked].sum() / total) if total else 0.0


def _write_path(outlines: Sequence[np.ndarray]) -> str:
    pieces = []
    for outline in outlines:
        # the border of zeros has moved everything by one pixel
        points = [(int(x) - 1, int(y) - 1) for x, y in outline.reshape(-1, 2)]
        pieces.append("M" + " ".join(f"{x},{y}" for x, y in points) + "Z")
    return "".join(pieces)
