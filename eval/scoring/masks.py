"""Scores of maps against masks (AVSBench), and the sweep of one fixed threshold (ACL).

Maps here are probabilities, 0 to 1, on the grid of the masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.scoring.metrics import auc, success_rate

F_BETA_SQUARED = 0.3
F_THRESHOLDS = np.linspace(0, 1, 255)
SWEPT_THRESHOLDS = tuple(0.05 * i for i in range(1, 20))


def compute_iou(is_marked: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU (intersection over union) of two masks; 0 if both are empty.

    Args:
        is_marked: bool, any shape: the pixels that a method marks.
        truth: bool, the same shape: the pixels of the ground truth.
    """
    union = np.count_nonzero(is_marked | truth)
    return np.count_nonzero(is_marked & truth) / union if union else 0.0


def compute_mask_iou(is_marked: np.ndarray, truth: np.ndarray) -> float:
    """Return AVSBench's IoU: where the mask is empty, the share of pixels that are not marked."""
    if not truth.any():
        return 1 - float(np.mean(is_marked))
    return compute_iou(is_marked, truth)


def compute_mean_iou(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], *, threshold: float = 0.5
) -> float:
    """Return mIoU: the mean IoU over all frames, as AVSBench counts it.

    Args:
        maps: n maps ``(h, w)`` of probabilities.
        masks: n bool ``(h, w)``.
        threshold: pixels strictly above it are marked.
    """
    pairs = zip(maps, masks, strict=True)
    return float(np.mean([compute_mask_iou(one > threshold, truth) for one, truth in pairs]))


def compute_mask_f(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Return F with beta^2 .3: the best over 255 thresholds of the mean over non-empty frames.

    AVSBench's own code takes the best threshold of each batch, so its F depends on the batch size.
    This is ACL's form, which takes one threshold for all frames.

    Args:
        maps: n maps ``(h, w)``.
        masks: n bool ``(h, w)``.

    Returns:
        F, 0 to 1; NaN if every mask is empty.
    """
    curves = [
        _compute_f_curve(one, truth) for one, truth in zip(maps, masks, strict=True) if truth.any()
    ]
    return float(np.mean(curves, axis=0).max()) if curves else float("nan")


def _compute_f_curve(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return F of one frame at each threshold; a pixel is marked at or above it."""
    # Sorted once, the number of values at or above any threshold is found by a search. The
    # thresholds have the type of the values, so that equal numbers stay equal.
    inside, everywhere = np.sort(values[truth]), np.sort(values, axis=None)
    num_right = len(inside) - np.searchsorted(inside, F_THRESHOLDS.astype(values.dtype))
    num_marked = len(everywhere) - np.searchsorted(everywhere, F_THRESHOLDS.astype(values.dtype))

    precision = num_right / np.maximum(num_marked, 1)
    recall = num_right / len(inside)
    denominator = F_BETA_SQUARED * precision + recall
    # 0 where precision and recall are 0, instead of 0 / 0.
    f = np.zeros(len(F_THRESHOLDS))
    np.divide((1 + F_BETA_SQUARED) * precision * recall, denominator, out=f, where=denominator > 0)
    return f


@dataclass(frozen=True)
class Sweep:
    """Success and AUC at each threshold of ACL's evaluation."""

    thresholds: tuple[float, ...]
    success_rates: np.ndarray
    aucs: np.ndarray
    # The number that ACL's paper prints is the best of these: it belongs beside every such number.
    note: str = "threshold chosen on the test set"

    @property
    def best_threshold(self) -> float:
        """The threshold with the largest AUC, by which ACL's code chooses."""
        return self.thresholds[int(np.argmax(self.aucs))]


def sweep_thresholds(maps: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> Sweep:
    """Score maps at 19 fixed thresholds, .05 to .95; a pixel is marked at or above each.

    Args:
        maps: n maps ``(h, w)`` of probabilities.
        truths: n bool ``(h, w)``.

    Returns:
        The success rate and the AUC at each threshold.
    """
    rates, aucs = [], []
    for threshold in SWEPT_THRESHOLDS:
        pairs = zip(maps, truths, strict=True)
        cious = np.array([compute_iou(one >= threshold, truth) for one, truth in pairs])
        rates.append(success_rate(cious))
        aucs.append(auc(cious))
    return Sweep(SWEPT_THRESHOLDS, np.array(rates), np.array(aucs))
