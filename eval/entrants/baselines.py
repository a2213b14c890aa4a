"""Maps that need no training: what any table must be read against.

Every function gives a float32 map in which larger means more likely; the protocols do the rest.
"""

import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from earshot.errors import DataError
from eval.scoring.ground_truth import GRID, NUM_PIXELS, GroundTruth
from eval.scoring.protocols import MEDIAN_INDEX, Protocol

CENTRE_SIDE = 158  # the square that marks about half of the grid, as the median thresholds do
FLOW_CODINGS = ("flowgrad", "htf", "signed")


def centre_map() -> np.ndarray:
    """A square peak in the middle, float32 ``(224, 224)`` from 1 in the centre to 0 at the border.

    Exactly a centred box of 158x158 pixels is at or above 0.5, and it is what the median thresholds mark (to the
    next ring of equal values where they include the median itself); thresholds at other areas get smaller or
    larger centred squares.
    """
    offset = np.abs(np.arange(GRID) - (GRID - 1) / 2)
    distance = np.maximum(offset[:, None], offset[None, :]) - 0.5  # 0, 1, ..., 111: rings
    inside, outermost = CENTRE_SIDE // 2, GRID // 2 - 1
    falling = 1 - 0.5 * distance / inside
    outer = 0.5 * (outermost - distance) / (outermost - inside + 1)
    return np.where(distance < inside, falling, outer).astype(np.float32)


def uniform_map() -> np.ndarray:
    """All ones ``(224, 224)``: every protocol marks the whole image."""
    return np.ones((GRID, GRID), np.float32)


def random_map(sample_id: str, *, seed: int = 0, size: int = 14) -> np.ndarray:
    """Uniform noise ``(size, size)``; the same for a sample in any order and any run with the same seed."""
    rng = np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
    return rng.random((size, size), np.float32)


def flow_map(flow: np.ndarray, *, coding: str = "signed") -> np.ndarray:
    """Optical flow as the map: ``flow`` (2, h, w), x then y, in pixels of the native frame; gives ``(224, 224)``.

    - ``flowgrad``: the magnitude through 8 bits (rounded, at most 255), then resized, as FlowGrad stores it; scored
      without normalization, a pixel counts from 0.5 on.
    - ``htf``: each component through 8 bits, so that every negative component is 0 (leftward and upward motion
      vanishes), then the magnitude of what is left.
    - ``signed``: the magnitude, nothing lost.
    """
    flow = np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise DataError(f"flow has shape {flow.shape}, expected (2, height, width)")
    if coding == "flowgrad":
        coded = as_8_bits(cv2.magnitude(flow[0], flow[1]))
    elif coding == "htf":
        x, y = as_8_bits(flow[0]).astype(np.float32), as_8_bits(flow[1]).astype(np.float32)
        coded = cv2.magnitude(x, y)
    elif coding == "signed":
        coded = cv2.magnitude(flow[0], flow[1])
    else:
        raise DataError(
            f"unknown flow coding {coding!r}, expected one of {', '.join(FLOW_CODINGS)}"
        )
    return cv2.resize(coded, (GRID, GRID)).astype(np.float32)


def as_8_bits(values: np.ndarray) -> np.ndarray:
    """What ``cv2.imwrite`` makes of floats: rounded half to even, clipped to 0..255, uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def ceiling_of_half(truths: Sequence[GroundTruth]) -> np.ndarray:
    """The best ciou that any map can reach when exactly half of the grid is marked, a value a sample ``(n,)``.

    The best choice takes pixels of the ground truth first, the fuller the sooner; the rest falls outside. On VGG-SS
    these give success .5054 and AUC .4947: no median-thresholded map of distinct values can be better. (One with a
    plateau at its median can: see docs/protocols.md.)
    """
    return np.array([_best_ciou_of_area(truth, NUM_PIXELS - MEDIAN_INDEX) for truth in truths])


def ceiling(truths: Sequence[GroundTruth], *, protocol: Protocol) -> np.ndarray:
    """The best ciou that a map can reach under ``protocol``, a value a sample ``(n,)``.

    Where half is marked: a map without ties. Other protocols mark what the map says, so 1 wherever there is ground
    truth (``half_from_median``: for more than half of the frame that takes a plateau).
    """
    if protocol.threshold in ("above_median", "from_median"):
        return ceiling_of_half(truths)
    return np.array([float(truth.levels().any()) for truth in truths])


def _best_ciou_of_area(truth: GroundTruth, num_marked: int) -> float:
    levels = truth.levels()
    num_full, num_half = int(np.count_nonzero(levels == 2)), int(np.count_nonzero(levels == 1))
    if num_full + num_half == 0:
        return 0.0
    marked_full = min(num_full, num_marked)
    marked_half = min(num_half, num_marked - marked_full)
    num_outside = num_marked - marked_full - marked_half
    return (marked_full + marked_half / 2) / (num_full + num_half / 2 + num_outside)
