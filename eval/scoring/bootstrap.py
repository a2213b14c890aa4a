"""Bootstrap intervals over samples, and the paired comparison of two models.

All of Earshot's metrics are means of one value a sample (the AUC too, see ``metrics.auc_contributions``), so a resample
is a vector of counts and any number of metrics, protocols and models share one matrix product. The counts depend on
the seed and the number of samples alone: two models on the same samples are resampled together, which is what makes a
comparison paired.
"""

from dataclasses import dataclass

import numpy as np

from earshot.errors import DataError

NUM_RESAMPLES = 10_000
_ROWS_AT_ONCE = 250


@dataclass(frozen=True)
class Interval:
    """Percentile interval of a mean."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Mean difference (first minus second), its interval, the two-sided bootstrap p-value of "no difference"."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def resample_means(
    values: np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Means over bootstrap resamples of the rows of ``values`` (n, m): float64 ``(num_resamples, m)``."""
    values = np.asarray(values, np.float64)
    n = len(values)
    if n == 0:
        raise DataError("no sample to resample: the subset is empty")
    rng = np.random.default_rng([seed, n])
    means = np.empty((num_resamples, values.shape[1]))
    for start in range(0, num_resamples, _ROWS_AT_ONCE):
        num_rows = min(_ROWS_AT_ONCE, num_resamples - start)
        drawn = rng.integers(0, n, size=(num_rows, n), dtype=np.int32)
        drawn += (np.arange(num_rows, dtype=np.int32) * n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=num_rows * n).reshape(num_rows, n)
        means[start : start + num_rows] = counts @ values / n
    return means


def intervals(
    values: np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0, level: float = 0.95
) -> list[Interval]:
    """Percentile intervals of the mean of each column of ``values`` (n, m)."""
    values = np.asarray(values, np.float64)
    means = resample_means(values, num_resamples=num_resamples, seed=seed)
    lows, highs = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [
        Interval(*map(float, row)) for row in zip(values.mean(axis=0), lows, highs, strict=True)
    ]


def compare_paired(
    first: np.ndarray,
    second: np.ndarray,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two models on the same samples: ``first`` and ``second`` (n,) are in the same order of samples."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"a paired comparison of {len(first)} with {len(second)} scores: expected the same samples"
        )
    differences = (first - second)[:, None]
    means = resample_means(differences, num_resamples=num_resamples, seed=seed)[:, 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    tail = min(np.mean(means <= 0), np.mean(means >= 0))
    p_value = min(1.0, 2 * max(float(tail), 1 / num_resamples))
    return Comparison(float(differences.mean()), float(low), float(high), p_value, len(first))
