"""The evaluation loops of the papers, map by map.

The scores of Earshot are tested against them, and benchmarks are timed against them. They are
written anew from what the released code does, in its order and its precision: float64 maps of
ground truth, a full sort, three sums over the grid. No speed-up of that code is missing.
"""

import cv2
import numpy as np

GRID = 224


def union_map(boxes) -> np.ndarray:
    """Return the ground truth of VGG-SS: float64 ``(224, 224)`` of 0 and 1."""
    gt_map = np.zeros((GRID, GRID))
    for box in boxes:
        x1, y1, x2, y2 = (int(GRID * min(max(value, 0), 1)) for value in box)
        one = np.zeros((GRID, GRID))
        one[y1:y2, x1:x2] = 1
        gt_map += one
    gt_map[gt_map > 0] = 1
    return gt_map


def consensus_map(boxes256) -> np.ndarray:
    """Return the ground truth of Flickr-SoundNet: float64 ``(224, 224)`` of 0, 0.5 and 1.

    The boxes are integers on a 256 grid.
    """
    gt_map = np.zeros((GRID, GRID))
    for box in boxes256:
        x1, y1, x2, y2 = (int(GRID * int(value) / 256) for value in box)
        one = np.zeros((GRID, GRID))
        one[y1:y2, x1:x2] = 1
        gt_map += one
    gt_map /= 2
    gt_map[gt_map > 1] = 1
    return gt_map


def minmax(values: np.ndarray) -> np.ndarray:
    """Normalize to 0..1; a constant map keeps its values."""
    low, high = values.min(), values.max()
    return values if high - low == 0 else (values - low) / (high - low)


def ciou(marked_values: np.ndarray, gt_map: np.ndarray, threshold: float) -> float:
    """Return the ciou of the values from a threshold on."""
    marked = np.zeros((GRID, GRID))
    marked[marked_values >= threshold] = 1
    with np.errstate(invalid="ignore"):
        score = np.sum(marked * gt_map) / (np.sum(gt_map) + np.sum(marked * (gt_map == 0)))
    # The published evaluators compute both parts once more to return them.
    np.sum(marked * gt_map), np.sum(gt_map) + np.sum(marked * (gt_map == 0))
    return float(np.nan_to_num(score))


def median_of(values: np.ndarray) -> float:
    """Return the upper median, by a full sort."""
    return np.sort(values.flatten())[int(values.shape[0] * values.shape[1] / 2)]


def _set_above_median(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[values > median_of(values)] = 1
    values[values < 1] = 0
    return values


def score_lvs(lowres_map: np.ndarray, gt_map: np.ndarray) -> float:
    """Score one map as LVS does."""
    resized = cv2.resize(lowres_map, dsize=(GRID, GRID), interpolation=cv2.INTER_LINEAR)
    return ciou(_set_above_median(1 - minmax(-resized)), gt_map, 0.5)


def score_htf(lowres_map: np.ndarray, gt_map: np.ndarray) -> float:
    """Score one map as Hear The Flow does."""
    resized = cv2.resize(lowres_map, dsize=(GRID, GRID), interpolation=cv2.INTER_CUBIC)
    return ciou(_set_above_median(minmax(resized)), gt_map, 0.5)


def _torch_resize(lowres_map, **how):
    import torch

    one = torch.from_numpy(np.ascontiguousarray(lowres_map))[None, None]
    return torch.nn.functional.interpolate(one, size=(GRID, GRID), **how).numpy()[0, 0]


def score_ezvsl(lowres_map: np.ndarray, gt_map: np.ndarray) -> float:
    """Score one map as EZ-VSL's test script does."""
    values = minmax(_torch_resize(lowres_map, mode="bilinear", align_corners=True))
    return ciou(values, gt_map, median_of(values))


def score_ezvsl_val(lowres_map: np.ndarray, gt_map: np.ndarray) -> float:
    """Score one map as EZ-VSL's validation does."""
    values = minmax(_torch_resize(lowres_map, mode="bicubic", align_corners=False))
    return ciou(values, gt_map, median_of(values))


def score_flowgrad(lowres_map: np.ndarray, gt_map: np.ndarray) -> float:
    """Score one map as RCGrad and FlowGrad do."""
    values = minmax(cv2.resize(lowres_map, (GRID, GRID))).copy()
    values[values < median_of(values)] = 0
    return ciou(values, gt_map, 0.5)


LOOPS = {
    "lvs": score_lvs,
    "ezvsl": score_ezvsl,
    "ezvsl_val": score_ezvsl_val,
    "htf": score_htf,
    "rcgrad": score_flowgrad,
    "flowgrad": score_flowgrad,
}
