"""Bootstrap intervals, and the paired comparison of two models.

All metrics of Earshot are means of one value a sample (the AUC, too: see
``metrics.auc_contributions``). A resample is therefore a vector of counts, and any number of
metrics, protocols and models share one matrix product. The counts depend on the seed and the
number of samples only: two models on the same samples are resampled together, which makes their
comparison a paired one.

Samples of one group (frames of one video) are not independent. A group is therefore drawn as a
whole: 94 frames of 10 videos say little more than 10 frames do.

Percentiles need some groups: those of two lie between the two, and hold the truth half of the
time. Below ``_FEWEST_FOR_PERCENTILES`` groups, intervals are those of Student's t, and one group
has none.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from earshot.errors import DataError

NUM_RESAMPLES = 10_000
# With fewer groups, percentiles hold the truth in less than 93 % of data sets.
_FEWEST_FOR_PERCENTILES = 8
_ROWS_AT_ONCE = 250  # resamples whose counts are in memory together
_LARGEST_KEPT = 48  # groups; counts of so few and fewer stay in memory: 90 MB at most


@dataclass(frozen=True)
class Interval:
    """Interval of a mean (``find_ends``); the ends are NaN if there is one group."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Mean difference of two models (first minus second) with its interval.

    With one group, nothing is known beyond it: both ends are NaN and ``p_value`` is 1.
    """

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
        DataError: there is no row, or not a group for each.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        raise DataError("no sample to resample: the subset is empty")

    # A mean over whole groups is the sum of their sums over the sum of their sizes.
    codes = number_groups(range(len(values)) if groups is None else groups)
    if len(codes) != len(values):
        raise DataError(f"{len(codes)} groups for {len(values)} samples, expected one for each")
    sizes = np.bincount(codes).astype(np.float64)
    n = len(sizes)
    sums = np.zeros((n, values.shape[1]))
    # `sums[codes] += values` would count a group that is named twice once.
    np.add.at(sums, codes, values)

    means = np.empty((num_resamples, values.shape[1]))
    first = 0
    for counts in _get_counts(seed, n, num_resamples):
        means[first : first + len(counts)] = counts @ sums / (counts @ sizes)[:, None]
        first += len(counts)
    return means


def _get_counts(seed: int, n: int, num_resamples: int) -> Iterable[np.ndarray]:
    # Breakdowns have hundreds of small groups, many of the same size.
    is_small = n <= _LARGEST_KEPT
    return (_keep_counts if is_small else _draw_counts)(seed, n, num_resamples)


@lru_cache(maxsize=_LARGEST_KEPT)
def _keep_counts(seed: int, n: int, num_resamples: int) -> tuple[np.ndarray, ...]:
    return tuple(_draw_counts(seed, n, num_resamples))


def _draw_counts(seed: int, n: int, num_resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each of n groups is drawn: some rows of resamples at once."""
    # The draws depend on the seed and on n alone, so that all groupings of one size share them.
    rng = np.random.default_rng([seed, n])
    for start in range(0, num_resamples, _ROWS_AT_ONCE):
        num_rows = min(_ROWS_AT_ONCE, num_resamples - start)
        drawn = rng.integers(0, n, size=(num_rows, n), dtype=np.int32)

        # Shift each row into a range of its own, so that one count serves all rows.
        drawn += (np.arange(num_rows, dtype=np.int32) * n)[:, None]
        yield np.bincount(drawn.ravel(), minlength=num_rows * n).reshape(num_rows, n)


def number_groups(groups: Sequence[Hashable]) -> np.ndarray:
    """Return the number of each group, int64 ``(n,)``, counted as they first appear."""
    number_of: dict[Hashable, int] = {}
    return np.array([number_of.setdefault(group, len(number_of)) for group in groups], np.int64)


def find_ends(
    means: np.ndarray,
    *,
    num_groups: int,
    level: float = 0.95,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of each column of resampled means.

    Percentiles of few groups are too narrow: a resample varies less than a sample by the factor
    sqrt((n - 1) / n), and its ends are those of a normal distribution. So the quantiles are taken
    farther out, where Student's t would have them ("expanded percentiles": Hesterberg, What
    teachers should know about the bootstrap, 2015). With hundreds of groups nothing changes.

    No percentile leaves the range of the groups. With very few of them, the ends are therefore
    those of Student's t around the mean, with the deviation of the resamples.

    Args:
        means: ``(num_resamples, m)`` or ``(num_resamples,)``.
        num_groups: that were drawn.
        level: share of samples whose interval holds the truth.
        limits: the least and the largest possible value, where the ends are cut. With them, an
            interval has a width also where all groups have one value.

    Returns:
        Both ends of each column; NaN with one group, of which nobody knows how others differ.
    """
    tail = tail_of_level = (1 - level) / 2
    if num_groups < 2:
        nothing = np.full(np.shape(means)[1:], np.nan)
        return nothing, nothing

    # With n groups, percentiles are too narrow. Hesterberg (2015) takes those that belong to
    # the t distribution, widened by sqrt(n / (n - 1)).
    farther = math.sqrt(num_groups / (num_groups - 1)) * stdtrit(num_groups - 1, tail)
    if num_groups < _FEWEST_FOR_PERCENTILES:
        centre, reach = np.mean(means, axis=0), farther * np.std(means, axis=0)
        low, high = centre + reach, centre - reach
    else:
        tail = float(ndtr(farther))
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)

    # Where all groups have one value, no resample differs. In at most this share of all groups
    # another value can have been missed (Clopper and Pearson).
    share = 1 - tail_of_level ** (1 / num_groups)
    is_flat = np.ptp(means, axis=0) < 1e-12
    if all(map(math.isfinite, limits)):
        low = np.where(is_flat, low - share * (low - limits[0]), low)
        high = np.where(is_flat, high + share * (limits[1] - high), high)
    return np.maximum(low, limits[0]), np.minimum(high, limits[1])


def intervals(
    values: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> list[Interval]:
    """Return the interval of the mean of each column.

    Args:
        values: ``(n, m)``: m values a sample.
        groups: ``(n,)``: samples of one group are drawn together; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.
        level: share of samples whose interval holds the truth.
        limits: the least and the largest possible mean.

    Returns:
        m intervals, in the order of the columns.

    Raises:
        DataError: there is no row.
    """
    values = np.asarray(values, np.float64)
    means = resample_means(values, groups=groups, num_resamples=num_resamples, seed=seed)
    num_groups = len(values) if groups is None else len(set(groups))
    lows, highs = find_ends(means, num_groups=num_groups, level=level, limits=limits)
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
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Comparison:
    """Compare two models on the same samples.

    Args:
        first: ``(n,)``: scores of one model.
        second: ``(n,)``: scores of the other, in the same order of samples.
        groups: ``(n,)``: samples of one group are drawn together; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.
        level: share of samples whose interval holds the true difference.
        limits: the least and the largest possible difference.

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

    (comparison,) = compare_columns(
        (first - second)[:, None],
        groups=groups,
        num_resamples=num_resamples,
        seed=seed,
        level=level,
        limits=limits,
    )
    return comparison


def _find_p_values(means: np.ndarray, *, num_groups: int) -> np.ndarray:
    """Return the two-sided p-value of "the mean is 0" for each column of resampled means."""
    if num_groups < 2:
        return np.ones(means.shape[1])

    if num_groups < _FEWEST_FOR_PERCENTILES:
        # As the interval: Student's t, with the deviation that n groups tell of.
        error = math.sqrt(num_groups / (num_groups - 1)) * np.std(means, axis=0)
        distance = np.abs(np.mean(means, axis=0))
        ratio = np.divide(distance, error, out=np.full(len(error), np.inf), where=error > 0)
        tails = np.where(distance == 0, 0.5, stdtr(num_groups - 1, -ratio))
    else:
        # The smaller share of means on either side of 0. Few groups vary too little, and the
        # intervals therefore are expanded; this takes the share back, so that both agree.
        shares = np.minimum(np.mean(means <= 0, axis=0), np.mean(means >= 0, axis=0))
        tails = stdtr(num_groups - 1, ndtri(shares) * math.sqrt((num_groups - 1) / num_groups))

    # No p-value is smaller than what the number of resamples can tell, or the number of groups:
    # all n differences have one sign in 1 of 2^(n - 1) cases without any difference.
    least = max(1 / len(means), 0.5**num_groups)
    return np.minimum(1.0, 2 * np.maximum(tails, least))


def compare_columns(
    differences: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> list[Comparison]:
    """Compare k pairs of models on the same samples, with one set of resamples.

    Args:
        differences: ``(n, k)``: of each sample, the first model's score minus the second's.
        groups: ``(n,)``: samples of one group are drawn together; None: each sample is one.
        num_resamples: how many resamples.
        seed: of the resamples.
        level: share of samples whose interval holds the true difference.
        limits: the least and the largest possible difference.

    Returns:
        k comparisons, as ``compare_paired`` returns them.

    Raises:
        DataError: there is no row.
    """
    differences = np.asarray(differences, np.float64)
    means = resample_means(differences, groups=groups, num_resamples=num_resamples, seed=seed)
    num_groups = len(differences) if groups is None else len(set(groups))
    lows, highs = find_ends(means, num_groups=num_groups, level=level, limits=limits)

    p_values = _find_p_values(means, num_groups=num_groups)
    columns = (differences.mean(axis=0), lows, highs, p_values)
    return [
        Comparison(float(mean), float(low), float(high), float(p), len(differences), num_groups)
        for mean, low, high, p in zip(*columns, strict=True)
    ]
