"""The values of one upsampled map in coarse order, so that a threshold concerns one bin of them instead of all.

One pass puts every pixel into one of 256 bins between the map's extremes and counts the bins, in the whole map and in
the ground truth. Whatever a threshold is, bins above its own are marked whole and bins below not at all: only the
values of its own bin are looked at, and those exactly. Nothing here is approximate: the bins decide how much is looked
at, never what is found.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from eval.scoring.ranks import values_at_ranks

_NUM_BINS = 256
_SMALLEST_SPAN, _LARGEST_SPAN = 1e-30, 1e30
_CROWDED_SHARE = 8


class Counts(NamedTuple):
    """How many pixels: all of them, those on level 1 or 2 of the ground truth, those on level 2."""

    num_all: int
    num_any: int
    num_full: int


class _Opened(NamedTuple):
    """What lies in some bins: values, and whether each is on any level (and, where level 1 occurs, on level 2)."""

    values: np.ndarray
    is_any: np.ndarray
    is_full: np.ndarray | None


class ValueBins:
    """A finite float32 map ``values`` (h, w), contiguous, h * w up to 2**24, over ground-truth ``levels`` (h, w) uint8.

    ``has_halves``: level 1 occurs besides 0 and 2. ``box`` (x1 y1 x2 y2) if the levels above 0 are one box: counting is
    faster then. ``low``, ``high``: the extremes. ``total``: ``Counts`` of all pixels.
    """

    def __init__(
        self,
        values: np.ndarray,
        levels: np.ndarray,
        *,
        has_halves: bool = False,
        box: tuple[int, int, int, int] | None = None,
    ) -> None:
        self._values, self._levels, self._has_halves = values.ravel(), levels.ravel(), has_halves
        self.low, self.high = values.min(), values.max()
        span = float(self.high) - float(self.low)
        if _SMALLEST_SPAN < span < _LARGEST_SPAN:
            self._scale = np.float32((_NUM_BINS - 0.5) / span)
            # Elementwise, one rounding an operation: the order of two values is never reversed.
            scaled = values - self.low
            scaled *= self._scale
            bins = scaled.astype(np.uint8)
        else:  # a constant map, or extremes that float32 cannot scale: all in one bin
            self._scale = np.float32(0)
            bins = np.zeros(values.shape, np.uint8)
        self._bins = bins.ravel()
        # Entry j of these counts what lies in the j topmost bins.
        self._num_all = _count_from_top(bins)
        if box is not None:
            x1, y1, x2, y2 = box
            self._num_any = _count_from_top(bins[y1:y2, x1:x2])
        else:
            self._num_any = _count_from_top(bins, mask=levels)
        self._num_full = _count_from_top(bins, mask=levels & 2) if has_halves else self._num_any
        self.total = Counts(self._num_all[-1], self._num_any[-1], self._num_full[-1])
        self._opened: dict[tuple[int, int], _Opened] = {}

    def value_at_rank(self, rank: int) -> np.float32:
        """What ``np.sort(values, axis=None)[rank]`` gives."""
        num_from = self.total.num_all - rank  # values at this rank and above
        num_tops = bisect_left(self._num_all, num_from)
        if self._is_crowded(num_tops - 1, num_tops):
            is_lowest = num_tops == _NUM_BINS and rank < np.count_nonzero(self._values == self.low)
            return self.low if is_lowest else values_at_ranks(self._values, (rank,))[0]
        values = self._open(_NUM_BINS - num_tops, _NUM_BINS - num_tops).values
        place = len(values) - (num_from - self._num_all[num_tops - 1])
        return np.partition(values, place)[place]

    def count_from(self, value: np.float32) -> Counts:
        """How many pixels have ``value`` or more."""
        if value <= self.low:
            return self.total
        return self.count_marked(first=value, last=value, is_marked=lambda values: values >= value)

    def count_marked(
        self, *, first: np.float32, last: np.float32, is_marked: Callable[[np.ndarray], np.ndarray]
    ) -> Counts:
        """How many pixels are marked, where all above ``last`` are and none below ``first``, and ``is_marked(values)``
        says which others are; it may be asked about values outside as well."""
        first_bin = self._bin_of(first)
        last_bin = first_bin if first == last else self._bin_of(last)
        if self._is_crowded(_NUM_BINS - 1 - last_bin, _NUM_BINS - first_bin):
            first_bin, last_bin = 0, _NUM_BINS - 1
        opened = self._open(first_bin, last_bin)
        marked = is_marked(opened.values)
        num_any = np.count_nonzero(marked & opened.is_any)
        num_full = num_any if opened.is_full is None else np.count_nonzero(marked & opened.is_full)
        num_tops = _NUM_BINS - 1 - last_bin
        return Counts(
            self._num_all[num_tops] + np.count_nonzero(marked),
            self._num_any[num_tops] + num_any,
            self._num_full[num_tops] + num_full,
        )

    def _bin_of(self, value: np.float32) -> int:
        """The bin of a value as the map's own values got theirs; beyond the extremes, the first or the last."""
        if value <= self.low or not self._scale:
            return 0
        if value >= self.high:
            return _NUM_BINS - 1
        return int((value - self.low) * self._scale)

    def _is_crowded(self, num_tops: int, num_more_tops: int) -> bool:
        """Do the topmost ``num_more_tops`` bins hold so much more than the topmost ``num_tops`` that picking it out
        costs more than looking at the whole map? So it is on plateaus: a map after a ReLU, a mask."""
        return (
            self._num_all[num_more_tops] - self._num_all[num_tops]
            > self.total.num_all // _CROWDED_SHARE
        )

    def _open(self, first: int, last: int) -> _Opened:
        """What lies in the bins ``first`` to ``last``."""
        opened = self._opened.get((first, last))
        if opened is None:
            if first == 0 and last == _NUM_BINS - 1:
                values, levels = self._values, self._levels
            else:
                is_inside = (
                    self._bins == first
                    if first == last
                    else (self._bins >= first) & (self._bins <= last)
                )
                inside = is_inside.nonzero()[0]
                values, levels = self._values[inside], self._levels[inside]
            opened = _Opened(values, levels > 0, levels > 1 if self._has_halves else None)
            self._opened[first, last] = opened
        return opened


def _count_from_top(bins: np.ndarray, mask: np.ndarray | None = None) -> list[int]:
    """How many pixels of ``bins`` (where ``mask`` is not 0) lie in the 0, 1, ... 256 topmost bins."""
    if bins.size == 0:
        return [0] * (_NUM_BINS + 1)
    counted = cv2.calcHist([bins], [0], mask, [_NUM_BINS], [0, _NUM_BINS]).ravel()
    return [0, *counted.astype(np.int64)[::-1].cumsum().tolist()]
