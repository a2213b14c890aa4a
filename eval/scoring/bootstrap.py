"""Bootstrap intervals, and the paired comparison of two models.

All metrics of Earshot are means of one value a sample (the AUC, too: see
``metrics.auc_contributions``). A resample is therefore a vector of counts, and any number of
metrics, protocols and models share one matrix product. The counts depend on the seed and the
number of samples only: two models on the same samples are resampled together, which makes their
comparison a paired one.

Samples of one group (frames of one video) are not independent. A group is therefore drawn as a
whole: 94 frames of 10 videos say little more than 10 frames do.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from earshot.errors import DataError

NUM_RESAMPLES = 10_000
_ROWS_AT_ONCE = 250  # resamples whose counts are in memory together


@dataclass(frozen=True)
class Interval:
    """Interval of a mean, of expanded percentiles (``find_ends``)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Mean difference of two models (first minus second) with its interval."""

    difference: float
    low: float
    high: float
    p_value: float  # two-sided, of "no difference"
    n: int
    num_groups: int  # that were drawn


def resample_means(
    values: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Return the means over bootstrap resamples of the groups of rows.

    Args:
        values: ``(n, m)``: m values a sample.
        groups: ``(n,)``: the group of each sample; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.

    Returns:
        float64 ``(num_resamples, m)``.

    Raises:
        DataError: there is no row.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        raise DataError("no sample to resample: the subset is empty")

    # A mean over whole groups is the sum of their sums over the sum of their sizes.
    codes = number_groups(range(len(values)) if groups is None else groups)
    sizes = np.bincount(codes).astype(np.float64)
    n = len(sizes)
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, codes, values)

    rng = np.random.default_rng([seed, n])
    means = np.empty((num_resamples, values.shape[1]))
    for start in range(0, num_resamples, _ROWS_AT_ONCE):
        num_rows = min(_ROWS_AT_ONCE, num_resamples - start)
        drawn = rng.integers(0, n, size=(num_rows, n), dtype=np.int32)

        # Shift each row into a range of its own, so that one count serves all rows.
        drawn += (np.arange(num_rows, dtype=np.int32) * n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=num_rows * n).reshape(num_rows, n)
        means[start : start + num_rows] = counts @ sums / (counts @ sizes)[:, None]
    return means


def number_groups(groups: Sequence[Hashable]) -> np.ndarray:
    """Return the number of each group, int64 ``(n,)``, counted as they first appear."""
    number_of: dict[Hashable, int] = {}
    return np.array([number_of.setdefault(group, len(number_of)) for group in groups], np.int64)


def find_ends(
    means: np.ndarray, *, num_groups: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of each column of resampled means.

    Percentiles of few groups are too narrow: a resample varies less than a sample by the factor
    sqrt((n - 1) / n), and its ends are those of a normal distribution. So the quantiles are taken
    farther out, where Student's t would have them ("expanded percentiles": Hesterberg, What
    teachers should know about the bootstrap, 2015). With hundreds of groups nothing changes.

    Args:
        means: ``(num_resamples, m)`` or ``(num_resamples,)``.
        num_groups: that were drawn.
        level: share of samples whose interval holds the truth.
    """
    tail = (1 - level) / 2
    if num_groups > 1:
        farther = math.sqrt(num_groups / (num_groups - 1)) * stdtrit(num_groups - 1, tail)
        tail = float(ndtr(farther))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def intervals(
    values: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval]:
    """Return the interval of the mean of each column.

    Args:
        values: ``(n, m)``: m values a sample.
        groups: ``(n,)``: samples of one group are drawn together; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.
        level: share of samples whose interval holds the truth.

    Returns:
        m intervals, in the order of the columns.

    Raises:
        DataError: there is no row.
    """
    values = np.asarray(values, np.float64)
    means = resample_means(values, groups=groups, num_resamples=num_resamples, seed=seed)
    num_groups = len(values) if groups is None else len(set(groups))
    lows, highs = find_ends(means, num_groups=num_groups, level=level)
    return [
        Interval(*map(float, row)) for row in zip(values.mean(axis=0), lows, highs, strict=True)
    ]


def compare_paired(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two models on the same samples.

    Args:
        first: ``(n,)``: scores of one model.
        second: ``(n,)``: scores of the other, in the same order of samples.
        groups: ``(n,)``: samples of one group are drawn together; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.
        level: share of samples whose interval holds the true difference.

    Returns:
        The mean difference, its interval and its p-value.

    Raises:
        DataError: the numbers of scores differ, or there are none.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"a paired comparison of {len(first)} with {len(second)} scores: "
            "expected the same samples"
        )

    differences = (first - second)[:, None]
    means = resample_means(differences, groups=groups, num_resamples=num_resamples, seed=seed)[:, 0]
    num_groups = len(first) if groups is None else len(set(groups))
    low, high = find_ends(means, num_groups=num_groups, level=level)

    # No p-value is smaller than what the number of resamples can tell.
    tail = min(np.mean(means <= 0), np.mean(means >= 0))
    p_value = min(1.0, 2 * max(float(tail), 1 / num_resamples))
    return Comparison(
        float(differences.mean()), float(low), float(high), p_value, len(first), num_groups
    )
