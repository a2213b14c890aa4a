"""The k-th smallest of many values, exactly, without sorting them all.

A sample of the values brackets each wanted rank; only what lies in the bracket is sorted partly. A bracket that misses
its rank (possible, rare) falls back to the whole array, so that the answer is always the exact one.
"""

from collections.abc import Sequence

import numpy as np

_STRIDE = 17  # coprime to the width of the grid: a sample over all columns
_MARGIN = (
    60  # ranks of the sample on either side, more than four standard deviations of its quantiles
)


def values_at_ranks(values: np.ndarray, ranks: Sequence[int]) -> list[np.floating]:
    """What ``np.sort(values)[rank]`` gives for each of ``ranks``; ``values`` (n,) are finite."""
    sample = values[::_STRIDE].copy()
    limits = []
    for rank in ranks:
        position = rank // _STRIDE
        limits += [max(position - _MARGIN, 0), min(position + _MARGIN, len(sample) - 1)]
    sample.partition(sorted(set(limits)))
    found = []
    for number, rank in enumerate(ranks):
        first, last = limits[2 * number : 2 * number + 2]
        low = sample[first] if first > 0 else values.min()
        high = sample[last] if last < len(sample) - 1 else values.max()
        is_inside = values >= low
        num_below = len(values) - int(np.count_nonzero(is_inside))
        is_inside &= values <= high
        if low == high and num_below <= rank < num_below + int(np.count_nonzero(is_inside)):
            found.append(low)  # a plateau
            continue
        inside = values[np.flatnonzero(is_inside)]
        if num_below <= rank < num_below + len(inside):
            place = rank - num_below
            # For two ranks NumPy selects without AVX-512, which is several times faster on some processors.
            inside.partition((max(place - 1, 0), place))
            found.append(inside[place])
        else:
            found.append(np.partition(values, rank)[rank])
    return found
