"""Reduce the scores of many samples to one number, as published evaluations do.

- ``ciou`` of a sample: sum(marked * gt) / (sum(gt) + marked pixels where gt is 0). The ground
  truth gt is 0, 0.5 or 1.
- ``success_rate``: share of samples with ciou >= 0.5. Papers call it "cIoU" or "AP50".
- ``auc``: area under the success rate over the thresholds 0, 0.05, ..., 1 (``0.05 * i``) by the
  trapezoid rule, as ``sklearn.metrics.auc`` gives it.
- ``average_precision``, ``max_f1``, ``localization_accuracy``: for test sets with negatives
  (SLAVC, Mo and Morgado 2022).
"""

import numpy as np

from earshot.errors import DataError

AUC_THRESHOLDS = tuple(0.05 * i for i in range(21))


def success_rate(cious: np.ndarray, *, at: float = 0.5) -> float:
    """Return the share of samples whose ciou is at least ``at``.

    Args:
        cious: ``(n,)``.
        at: from this ciou on, a sample is a success.

    Returns:
        The share, 0 to 1.

    Raises:
        DataError: there is no sample.
    """
    return float(np.mean(_check(cious) >= at))


def auc(cious: np.ndarray) -> float:
    """Return the area under the success curve.

    Args:
        cious: ``(n,)``.

    Returns:
        The area: 0.025, if all cious are 0, to 1.

    Raises:
        DataError: there is no sample.
    """
    return float(np.trapezoid(success_curve(cious), AUC_THRESHOLDS))


def success_curve(cious: np.ndarray) -> list[float]:
    """Return the success rate at each of ``AUC_THRESHOLDS``.

    Raises:
        DataError: there is no sample.
    """
    cious = _check(cious)
    return [float(np.sum(cious >= threshold) / len(cious)) for threshold in AUC_THRESHOLDS]


def auc_contributions(cious: np.ndarray) -> np.ndarray:
    """Return one value for each sample, whose mean is ``auc``.

    The AUC is linear in the samples, so resampling needs no curves.

    Args:
        cious: ``(n,)``.

    Returns:
        float64 ``(n,)``.
    """
    # The weights of the trapezoid rule with steps of 0.05: both ends count half.
    weights = np.full(len(AUC_THRESHOLDS), 0.05)
    weights[[0, -1]] = 0.025
    return (np.asarray(cious, np.float64)[:, None] >= np.array(AUC_THRESHOLDS)) @ weights


def _check(cious: np.ndarray) -> np.ndarray:
    cious = np.asarray(cious, np.float64)
    if len(cious) == 0:
        raise DataError(
            "no sample was scored: the subset is empty, a rate over 0 samples is not defined"
        )
    # NaN is neither above nor below a threshold, and would count as a miss.
    if np.isnan(cious).any():
        raise DataError(f"{np.isnan(cious).sum()} of {len(cious)} cious are NaN, expected 0 to 1")
    return cious


def precision_recall(
    cious: np.ndarray,
    confidences: np.ndarray,
    is_positive: np.ndarray,
    *,
    threshold: float,
    at: float = 0.5,
) -> tuple[float, float]:
    """Compute precision and recall at one confidence threshold.

    Every sample of at least ``threshold`` confidence claims that something in the picture sounds.
    The claim is right for a positive with ciou >= ``at``; it is wrong for a negative or in a wrong
    place. A positive without a claim is a miss. A positive that is found in a wrong place is no
    miss: SLAVC counts it so.

    Args:
        cious: (n,).
        confidences: (n,).
        is_positive: (n,) bool.
        threshold: least confidence of a claim.
        at: least ciou of a right claim.

    Returns:
        Precision and recall; each is 1 where it is not defined.
    """
    is_claimed = confidences >= threshold
    num_right = int(np.sum(is_claimed & is_positive & (cious >= at)))
    num_claims = int(np.sum(is_claimed))
    num_missed = int(np.sum(~is_claimed & is_positive))

    # As in SLAVC's code: without a claim, none is wrong.
    precision = num_right / num_claims if num_claims else 1.0
    recall = num_right / (num_right + num_missed) if num_right + num_missed else 1.0
    return precision, recall


def average_precision(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray, *, at: float = 0.5
) -> float:
    """Compute the average precision of SLAVC's code.

    The code takes about 200 thresholds from the sorted confidences, from the top downwards, and
    leaves out the highest one.

    Args:
        cious: (n,).
        confidences: (n,).
        is_positive: (n,) bool; the others are negatives.
        at: least ciou of a right claim.

    Returns:
        The average precision, 0 to 1; 0 for fewer than three samples, which leave no step.

    Raises:
        DataError: there is no sample, or the arrays differ in length.
    """
    cious, confidences, is_positive = _check_triple(cious, confidences, is_positive)
    # As in SLAVC's code: about 200 confidences, from high to low, without the highest.
    step = max(1, len(cious) // 200)
    thresholds = np.sort(confidences)[:-1][::-step]
    points = [
        precision_recall(cious, confidences, is_positive, threshold=t, at=at) for t in thresholds
    ]
    if not points:
        return 0.0

    # Replace each precision by the best one at the same or a higher recall.
    precisions, recalls = np.array(points).T
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    # A step of recall counts with the precision at its beginning.
    return float(np.sum(envelope[:-1] * np.diff(recalls)))


def max_f1(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray, *, at: float = 0.5
) -> float:
    """Return the best F1 over all confidences as thresholds.

    Args:
        cious: (n,).
        confidences: (n,).
        is_positive: (n,) bool; the others are negatives.
        at: least ciou of a right claim.

    Returns:
        The best F1, 0 to 1.

    Raises:
        DataError: there is no sample, or the arrays differ in length.
    """
    cious, confidences, is_positive = _check_triple(cious, confidences, is_positive)

    # Entry k is for the k + 1 most confident samples as claims.
    order = np.argsort(-confidences, kind="stable")
    # A positive with a claim in a wrong place is neither right nor missed (`precision_recall`).
    num_right = np.cumsum(is_positive[order] & (cious[order] >= at))
    num_missed = is_positive.sum() - np.cumsum(is_positive[order])
    precisions = num_right / np.arange(1, len(order) + 1)
    num_relevant = num_right + num_missed
    recalls = np.divide(num_right, num_relevant, out=np.ones(len(order)), where=num_relevant > 0)

    sums = precisions + recalls
    f1 = np.divide(2 * precisions * recalls, sums, out=np.zeros(len(order)), where=sums > 0)

    # Samples of one confidence claim together.
    is_last_of_value = np.append(np.diff(confidences[order]) != 0, True)
    return float(f1[is_last_of_value].max())


def f1_as_published(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray, *, at: float = 0.5
) -> np.ndarray:
    """Return F1 at the ten or eleven confidences that SLAVC's code tries.

    They are ``sorted(confidences)[::n // 10]``. SLAVC prints the largest F1, so its "max-F1" is at
    most ``max_f1``, which tries all confidences.

    Args:
        cious: (n,).
        confidences: (n,).
        is_positive: (n,) bool; the others are negatives.
        at: least ciou of a right claim.

    Returns:
        float64 ``(k,)``: F1 at each confidence, the lowest one first.

    Raises:
        DataError: there is no sample, or the arrays differ in length.
    """
    cious, confidences, is_positive = _check_triple(cious, confidences, is_positive)
    f1s = []
    # As in SLAVC's code: ten or eleven of the sorted confidences, from the smallest on.
    for threshold in np.sort(confidences)[:: max(1, len(cious) // 10)]:
        precision, recall = precision_recall(
            cious, confidences, is_positive, threshold=threshold, at=at
        )
        total = precision + recall
        f1s.append(2 * precision * recall / total if total > 0 else 0.0)
    return np.array(f1s)


def localization_accuracy(cious: np.ndarray, is_positive: np.ndarray) -> float:
    """Return LocAcc of SLAVC: the share of positives with a ciou strictly above 0.5.

    Args:
        cious: (n,).
        is_positive: (n,) bool; the others are negatives.

    Returns:
        The share, 0 to 1.

    Raises:
        DataError: there is no positive.
    """
    return float(np.mean(_check(np.asarray(cious)[np.asarray(is_positive, bool)]) > 0.5))


def _check_triple(
    cious: np.ndarray, confidences: np.ndarray, is_positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three as arrays of one length, with a ciou of 0 for negatives."""
    cious, confidences = np.asarray(cious, np.float64), np.asarray(confidences, np.float64)
    is_positive = np.asarray(is_positive, bool)
    if not len(cious) == len(confidences) == len(is_positive):
        raise DataError(
            f"{len(cious)} cious, {len(confidences)} confidences, {len(is_positive)} labels: "
            "expected as many of each"
        )
    cious = _check(np.where(is_positive, cious, 0.0))  # a negative has none
    if np.isnan(confidences).any():
        raise DataError(
            f"{np.isnan(confidences).sum()} of {len(cious)} confidences are NaN, expected numbers"
        )
    return cious, confidences, is_positive
