"""Metrics over the ``ciou`` of many samples, as all published evaluations compute them, and those for negatives.

- ``ciou`` of a sample: sum(marked * gt) / (sum(gt) + marked pixels where gt is 0); gt is 0, 0.5 or 1.
- ``success_rate``: share of samples with ciou >= 0.5 ("cIoU" or "AP50" in papers).
- ``auc``: area under the success rate over the thresholds 0, 0.05, ..., 1 (``0.05 * i``, trapezoid rule), as
  ``sklearn.metrics.auc`` gives it.
- ``average_precision``, ``max_f1``, ``localization_accuracy``: SLAVC (Mo and Morgado 2022), for sets with negatives.
"""

import numpy as np

from earshot.errors import DataError

AUC_THRESHOLDS = tuple(0.05 * i for i in range(21))


def success_rate(cious: np.ndarray, *, at: float = 0.5) -> float:
    """Share of samples whose ciou is at least ``at``."""
    return float(np.mean(_checked(cious) >= at))


def auc(cious: np.ndarray) -> float:
    """Area under the success curve; between 0.025 (all cious 0) and 1."""
    return float(np.trapezoid(success_curve(cious), AUC_THRESHOLDS))


def success_curve(cious: np.ndarray) -> list[float]:
    """Success rate at each of the 21 thresholds."""
    cious = _checked(cious)
    return [float(np.sum(cious >= threshold) / len(cious)) for threshold in AUC_THRESHOLDS]


def auc_contributions(cious: np.ndarray) -> np.ndarray:
    """One value a sample whose mean is ``auc``: the AUC is linear in the samples, so resampling needs no curves."""
    weights = np.full(len(AUC_THRESHOLDS), 0.05)
    weights[[0, -1]] = 0.025
    return (np.asarray(cious, np.float64)[:, None] >= np.array(AUC_THRESHOLDS)) @ weights


def _checked(cious: np.ndarray) -> np.ndarray:
    cious = np.asarray(cious, np.float64)
    if len(cious) == 0:
        raise DataError(
            "no sample was scored: the subset is empty, a rate over 0 samples is not defined"
        )
    return cious


def precision_recall(
    cious: np.ndarray,
    confidences: np.ndarray,
    is_positive: np.ndarray,
    *,
    threshold: float,
    at: float = 0.5,
) -> tuple[float, float]:
    """Precision and recall when every sample of at least ``threshold`` confidence claims a sounding object.

    A claim is right for a positive with ciou >= ``at``; wrong for a negative or in a wrong place. A positive without
    a claim is a miss. (A positive found in the wrong place is no miss: so SLAVC counts.)
    """
    is_claimed = confidences >= threshold
    true_positives = int(np.sum(is_claimed & is_positive & (cious >= at)))
    num_claims = int(np.sum(is_claimed))
    num_missed = int(np.sum(~is_claimed & is_positive))
    precision = true_positives / num_claims if num_claims else 1.0
    recall = true_positives / (true_positives + num_missed) if true_positives + num_missed else 1.0
    return precision, recall


def average_precision(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray, *, at: float = 0.5
) -> float:
    """AP of SLAVC's code: about 200 thresholds from the sorted confidences, the lowest first dropped from the top."""
    cious, confidences, is_positive = _checked_triple(cious, confidences, is_positive)
    step = max(1, len(cious) // 200)
    thresholds = np.sort(confidences)[:-1][::-step]
    points = [
        precision_recall(cious, confidences, is_positive, threshold=t, at=at) for t in thresholds
    ]
    if not points:
        return 0.0
    precisions, recalls = np.array(points).T
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.sum(envelope[:-1] * np.diff(recalls)))


def max_f1(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray, *, at: float = 0.5
) -> float:
    """The best F1 over all confidences as thresholds."""
    cious, confidences, is_positive = _checked_triple(cious, confidences, is_positive)
    order = np.argsort(-confidences, kind="stable")
    hits = np.cumsum(is_positive[order] & (cious[order] >= at))
    missed = is_positive.sum() - np.cumsum(is_positive[order])
    is_last_of_value = np.append(np.diff(confidences[order]) != 0, True)
    num_claims = np.arange(1, len(order) + 1)
    precisions, found = hits / num_claims, hits + missed
    recalls = np.divide(hits, found, out=np.ones(len(order)), where=found > 0)
    sums = precisions + recalls
    f1 = np.divide(2 * precisions * recalls, sums, out=np.zeros(len(order)), where=sums > 0)
    return float(f1[is_last_of_value].max())


def localization_accuracy(cious: np.ndarray, is_positive: np.ndarray) -> float:
    """LocAcc: share of the positives with a ciou strictly above 0.5, as SLAVC's code counts it."""
    return float(np.mean(_checked(np.asarray(cious)[np.asarray(is_positive, bool)]) > 0.5))


def _checked_triple(cious, confidences, is_positive):
    cious, confidences = np.asarray(cious, np.float64), np.asarray(confidences, np.float64)
    is_positive = np.asarray(is_positive, bool)
    if not len(cious) == len(confidences) == len(is_positive):
        raise DataError(
            f"{len(cious)} cious, {len(confidences)} confidences, {len(is_positive)} labels: expected as many of each"
        )
    _checked(cious)
    return np.where(is_positive, cious, 0.0), confidences, is_positive
