"""Negative audio (Juanola, Haro and Fuentes, ICASSP 2025): is a model silent when nothing sounds?

Each positive gets three more sounds: silence, noise, and the sound of another class (offscreen).
Maps are raw similarities on the grid, not normalized: a pixel is marked strictly above a *universal
threshold*, one number for a model. It must come from data other than the test set; the constants of
the authors' code belong to the authors' models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earshot.errors import DataError
from eval.scoring.masks import compute_iou
from eval.scoring.metrics import AUC_THRESHOLDS, auc

NEGATIVES = ("silence", "noise", "offscreen")


def find_universal_threshold(
    maxima: Mapping[str, np.ndarray],
) -> tuple[float, dict[str, float]]:
    """Return the universal threshold: the largest third quartile of the maxima of negative maps.

    Args:
        maxima: by kind of negative (some of ``NEGATIVES``), the maximum of each map ``(n,)``. Of
            other samples than those of the test set.

    Returns:
        The threshold, and the third quartile of each kind, which reports print.

    Raises:
        DataError: there is no map, or a maximum is not a number.
    """
    quartiles = {}
    for kind, values in maxima.items():
        values = np.asarray(values, np.float64)
        if len(values) == 0 or not np.isfinite(values).all():
            raise DataError(f"negative audio: the maxima of {kind} are empty or not finite")
        quartiles[kind] = float(np.quantile(values, 0.75))
    if not quartiles:
        raise DataError("negative audio: there is no negative map to find the threshold with")
    return max(quartiles.values()), quartiles


def compute_pia(maps: Sequence[np.ndarray], *, threshold: float) -> np.ndarray:
    """Return the share of marked pixels of each map, 0 to 1: their mean is pIA.

    Args:
        maps: n maps ``(h, w)`` on the grid.
        threshold: in the dtype of the maps, as the authors' code compares.
    """
    return np.array([np.mean(_mark(one, threshold)) for one in maps])


def compute_auc_n(pia: np.ndarray) -> float:
    """Return AUC_N: the area under the share of rows whose pIA is at most t, for t from 0 to 1."""
    pia = np.asarray(pia, np.float64)
    shares = [float(np.mean(pia <= t)) for t in AUC_THRESHOLDS]
    return float(np.trapezoid(shares, AUC_THRESHOLDS))


def auc_n_contributions(pia: np.ndarray) -> np.ndarray:
    """Return one value for each row, whose mean is AUC_N; the shape stays."""
    # The weights of the trapezoid rule with steps of 0.05: both ends count half.
    weights = np.full(len(AUC_THRESHOLDS), 0.05)
    weights[[0, -1]] = 0.025
    return (np.asarray(pia, np.float64)[..., None] <= np.array(AUC_THRESHOLDS)) @ weights


def compute_universal_ious(
    maps: Sequence[np.ndarray], truths: Sequence[np.ndarray], *, threshold: float
) -> np.ndarray:
    """Return the IoU of each positive at the threshold; 0 where both are empty.

    The mean is cIoU_U (no success rate), and ``metrics.auc`` of it is AUC_U.
    """
    pairs = zip(maps, truths, strict=True)
    return np.array([compute_iou(_mark(one, threshold), truth) for one, truth in pairs])


def compute_agreement(
    positives: Sequence[np.ndarray], negatives: Sequence[np.ndarray], *, threshold: float
) -> np.ndarray:
    """Return the IoU of what is marked for the sound and for its negative; 1 if both are empty."""
    agreements = []
    for positive, negative in zip(positives, negatives, strict=True):
        first, second = _mark(positive, threshold), _mark(negative, threshold)
        is_empty = not (first.any() or second.any())
        agreements.append(1.0 if is_empty else compute_iou(first, second))
    return np.array(agreements)


@dataclass(frozen=True)
class NegativeAudioScores:
    """All scores, as shares of 1 (the authors print percent)."""

    ciou_u: float
    auc_u: float
    pia: dict[str, float]  # by kind of negative
    auc_n: dict[str, float]
    f_loc: float  # harmonic mean of cIoU_U and 1 - the mean pIA
    f_auc: float  # harmonic mean of AUC_U and the mean AUC_N
    f_loc_of: dict[str, float]  # with the negatives of one kind alone
    agreement: dict[str, float]


@dataclass(frozen=True)
class NegativeAudioValues:
    """What is measured of single rows; the scores are their means."""

    ious: np.ndarray  # (n,), of the positives
    pia: Mapping[str, np.ndarray]  # by kind of negative: of its rows, any shape
    agreement: Mapping[str, np.ndarray]


def score_negative_audio(
    positives: Sequence[np.ndarray],
    negatives: Mapping[str, Sequence[np.ndarray]],
    truths: Sequence[np.ndarray],
    *,
    threshold: float,
) -> NegativeAudioScores:
    """Score the maps of a model for the sounds of a test set and for their negatives.

    Args:
        positives: n maps on the grid.
        negatives: by kind, n maps on the grid, in the same order.
        truths: n bool masks of the grid.
        threshold: of the model (``find_universal_threshold``).

    Returns:
        The scores.

    Raises:
        DataError: there is no sample, or no kind of negative.
    """
    if not len(positives) or not negatives:
        raise DataError("negative audio: there is no sample or no negative to score")
    return summarize_values(
        NegativeAudioValues(
            ious=compute_universal_ious(positives, truths, threshold=threshold),
            pia={kind: compute_pia(maps, threshold=threshold) for kind, maps in negatives.items()},
            agreement={
                kind: compute_agreement(positives, maps, threshold=threshold)
                for kind, maps in negatives.items()
            },
        )
    )


def summarize_values(values: NegativeAudioValues) -> NegativeAudioScores:
    """Return the scores of measured rows."""
    mean_pia = {kind: float(shares.mean()) for kind, shares in values.pia.items()}
    auc_n = {kind: compute_auc_n(shares) for kind, shares in values.pia.items()}

    ciou_u, auc_u = float(values.ious.mean()), auc(values.ious)
    # The share that stays unmarked for sounds that are not in the frame.
    silence = 1 - float(np.mean(list(mean_pia.values())))
    return NegativeAudioScores(
        ciou_u=ciou_u,
        auc_u=auc_u,
        pia=mean_pia,
        auc_n=auc_n,
        f_loc=harmonic_mean(ciou_u, silence),
        f_auc=harmonic_mean(auc_u, float(np.mean(list(auc_n.values())))),
        f_loc_of={kind: harmonic_mean(ciou_u, 1 - value) for kind, value in mean_pia.items()},
        agreement={kind: float(rows.mean()) for kind, rows in values.agreement.items()},
    )


def _mark(values: np.ndarray, threshold: float) -> np.ndarray:
    values = np.asarray(values)
    # In the type of the map: 0.1 of float32 is not 0.1 of float64.
    return values > values.dtype.type(threshold)


def harmonic_mean(first: float, second: float) -> float:
    """Return the harmonic mean; 0 where both are 0."""
    return 2 * first * second / (first + second) if first + second > 0 else 0.0
