"""The best score that any map can reach on a sample under a protocol."""

from collections.abc import Sequence

import numpy as np

from eval.scoring.ground_truth import NUM_PIXELS, GroundTruth
from eval.scoring.protocols import MEDIAN_INDEX, Protocol


def compute_ceilings(truths: Sequence[GroundTruth], *, protocol: Protocol) -> np.ndarray:
    """Compute the best ciou of each sample under one protocol.

    Where the protocol marks half of the grid, this is the best of a map without ties. So it is
    where one pixel less is marked than the ground truth has (``above_own_area``). The other
    protocols mark what the map says, so that the ceiling is 1 wherever there is ground truth.
    (Under ``half_from_median``, a ground truth of more than half of the frame takes a plateau.)

    Args:
        truths: of n samples.
        protocol: one of ``eval.scoring.protocols.PROTOCOLS``.

    Returns:
        float64 ``(n,)``.
    """
    # A map whose values all differ marks half of the grid under both rules, to a pixel.
    if protocol.threshold in ("above_median", "from_median"):
        return compute_ceilings_of_half(truths)
    if protocol.threshold == "above_own_area":
        # Strictly above the k-th value there are k - 1 pixels.
        areas = (int(np.count_nonzero(truth.levels())) for truth in truths)
        pairs = zip(truths, areas, strict=True)
        return np.array([_best_ciou_of_area(truth, max(area - 1, 0)) for truth, area in pairs])

    # The other rules let a map mark exactly the ground truth, if there is any.
    return np.array([float(truth.levels().any()) for truth in truths])


def compute_ceilings_of_half(truths: Sequence[GroundTruth]) -> np.ndarray:
    """Compute the best ciou of each sample when exactly half of the grid is marked.

    On VGG-SS these give a success of .5054 and an AUC of .4947. No map of distinct values can be
    better under a median threshold. (A map with a plateau at its median can: see
    docs/protocols.md.)

    Args:
        truths: of n samples.

    Returns:
        float64 ``(n,)``.
    """
    return np.array([_best_ciou_of_area(truth, NUM_PIXELS - MEDIAN_INDEX) for truth in truths])


def _best_ciou_of_area(truth: GroundTruth, num_marked: int) -> float:
    # A level is twice the value: in a consensus, a single box counts one half.
    levels = truth.levels()
    num_full, num_half = int(np.count_nonzero(levels == 2)), int(np.count_nonzero(levels == 1))
    if num_full + num_half == 0:
        return 0.0

    # The best choice marks pixels of full value first, then those of half value, then others.
    marked_full = min(num_full, num_marked)
    marked_half = min(num_half, num_marked - marked_full)
    num_outside = num_marked - marked_full - marked_half
    return (marked_full + marked_half / 2) / (num_full + num_half / 2 + num_outside)
