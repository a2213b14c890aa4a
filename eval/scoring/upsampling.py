"""Upsample low-resolution maps to the 224x224 grid, in the five ways of published evaluations.

``cv2_linear`` and ``cv2_cubic`` are OpenCV's. ``torch_bicubic`` (align_corners False),
``torch_bicubic_corners`` and ``torch_bilinear_corners`` (align_corners True) are what torch
computes on a CPU, in NumPy and equal to the last bit. "Almost equal" would not do: a median
threshold lies between values that differ by one rounding, so pixels would move across it.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike

from earshot.errors import DataError
from eval.scoring.ground_truth import GRID

NAMES = (
    "cv2_linear",
    "cv2_cubic",
    "torch_bicubic",
    "torch_bicubic_corners",
    "torch_bilinear_corners",
)

# Size of an axis -> the cells that each of the 224 points reads, and their weights.
Taps = Callable[[int], tuple[np.ndarray, np.ndarray]]

_F = np.float32
# Up to this height + width matrix products are faster: their work grows with the size of the map,
# that of taps does not.
_LARGEST_PRODUCT = 64
_LARGEST_VALUE = 1e30  # in a matrix product, a value times zero must stay finite


def upsample(lowres_map: np.ndarray, *, how: str, out: np.ndarray | None = None) -> np.ndarray:
    """Upsample one map.

    Args:
        lowres_map: ``(h, w)`` of any size.
        how: one of ``NAMES``.
        out: float32 ``(224, 224)``, which may take the result.

    Returns:
        float32 ``(224, 224)``.

    Raises:
        DataError: ``how`` is unknown.
    """
    lowres_map = np.ascontiguousarray(lowres_map, np.float32)
    if how == "cv2_linear":
        return cv2.resize(lowres_map, (GRID, GRID), dst=out, interpolation=cv2.INTER_LINEAR)
    if how == "cv2_cubic":
        return cv2.resize(lowres_map, (GRID, GRID), dst=out, interpolation=cv2.INTER_CUBIC)
    if how not in NAMES:
        raise DataError(f"unknown upsampling {how!r}, expected one of {', '.join(NAMES)}")

    if lowres_map.shape == (GRID, GRID):  # torch copies a map that has the size already
        return lowres_map.copy()

    taps = _TAPS[how]
    # Products are faster for small maps, on machines that add in the same order as torch.
    is_small = (
        sum(lowres_map.shape) <= _LARGEST_PRODUCT and np.abs(lowres_map).max() < _LARGEST_VALUE
    )
    if is_small and _products_are_exact(taps, *lowres_map.shape):
        return _interpolate_by_products(lowres_map, taps, out=out)
    return _interpolate_both(lowres_map, taps, out=out)


def upsample_pair(lowres_map: np.ndarray) -> np.ndarray:
    """Upsample the map of two pictures, one above the other, as NoPrior's code does.

    Args:
        lowres_map: ``(2h, w)``. It is one map for the bicubic kernel (torch, align_corners False),
            which reads across the border of the pictures.

    Returns:
        float32 ``(2, 224, 224)``: the upper and the lower picture.
    """
    lowres_map = np.ascontiguousarray(lowres_map, np.float32)
    height, width = lowres_map.shape
    rows = _interpolate(lowres_map.T, *_bicubic_taps(width)).T
    both = _interpolate(np.ascontiguousarray(rows), *_bicubic_taps(height, 2 * GRID))
    return both.reshape(2, GRID, GRID)


def _interpolate_by_products(
    lowres_map: np.ndarray, taps: Taps, out: np.ndarray | None = None
) -> np.ndarray:
    """Do what ``_interpolate_both`` does with two matrix products: several times faster."""
    height, width = lowres_map.shape
    sources, matrix = _tap_matrix(taps, width)
    rows = lowres_map[:, sources] @ matrix.T
    sources, matrix = _tap_matrix(taps, height)
    return np.matmul(matrix, rows[sources], out=out)


@lru_cache(maxsize=64)
def _tap_matrix(taps: Taps, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cells ``(k,)`` and weights float32 ``(224, k)`` of a product that interpolates.

    The product rounds as ``_interpolate`` does if its sums are fused multiply-adds in the order
    of k. The cells are ordered so that the product of tap 1 comes first, then the other taps.
    """
    positions, weights = taps(size)
    if len(positions) == 2:
        # Tap 1 is the cell after that of tap 0: descending cells put it first.
        cells = np.arange(positions.max(), positions.min() - 1, -1)
        columns = positions.max() - positions
    else:
        # Cells appear twice: once for tap 1, once for the other taps.
        firsts = np.arange(positions[1].min(), positions[1].max() + 1)
        others = np.arange(positions.min(), positions.max() + 1)
        cells = np.concatenate([firsts, others])
        columns = positions - others[0] + len(firsts)
        columns[1] = positions[1] - firsts[0]

    matrix = np.zeros((GRID, len(cells)), np.float32)
    # A cell beyond an edge has a column of its own: adding its weight to that of the edge before
    # the product would round differently.
    for column, weight in zip(columns, weights, strict=True):
        matrix[np.arange(GRID), column] = weight[:, 0]
    return np.clip(cells, 0, size - 1), matrix


@lru_cache(maxsize=64)
def _products_are_exact(taps: Taps, height: int, width: int) -> bool:
    """Return whether this machine's matrix product adds as ``_tap_matrix`` supposes.

    Linear algebra libraries differ by processor, so this is tried once a size. Where the product
    adds otherwise, maps are interpolated tap by tap.
    """
    tried = np.random.default_rng(0).standard_normal((4, height, width)).astype(np.float32)
    # Rounding depends on the size of the values, so several sizes are tried.
    tried *= np.array([1, 1e-6, 1e6, 1], np.float32)[:, None, None]
    return all(
        np.array_equal(_interpolate_by_products(one, taps), _interpolate_both(one, taps))
        for one in tried
    )


def _interpolate_both(
    lowres_map: np.ndarray, taps: Taps, out: np.ndarray | None = None
) -> np.ndarray:
    """Interpolate along both axes tap by tap; the rows first, as torch does."""
    height, width = lowres_map.shape
    rows = _interpolate(lowres_map.T, *taps(width)).T
    return _interpolate(np.ascontiguousarray(rows), *taps(height), out=out)


def _interpolate(
    values: np.ndarray, positions: np.ndarray, weights: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Add weighted taps along the first axis, rounded as torch's fused multiply-adds round.

    Torch's CPU kernel computes ``fma(v0, w0, v1 * w1)``, then ``fma(vk, wk, sum)`` for the other
    taps. A product of two float32 is exact in float64, so adding in float64 and rounding to
    float32 gives the same.
    """
    # Torch rounds the product of tap 1 by itself and adds the other taps to it.
    total = np.take(values, positions[1], axis=0, mode="clip", out=out)
    total *= weights[1].astype(np.float32)

    values = values.astype(np.float64)
    product = np.empty(total.shape)
    for tap in (0, *range(2, len(positions))):
        np.take(values, positions[tap], axis=0, out=product, mode="clip")
        product *= weights[tap]
        product += total
        total[...] = product
    return total


@lru_cache(maxsize=64)
def _bilinear_corner_taps(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cells ``(2, 224)`` and weights ``(2, 224, 1)`` of bilinear upsampling.

    A cell beyond an edge stands for the edge's. Weights are float32 values in float64.
    """
    # All in float32, as in torch: positions in float64 would give other weights.
    scale = _F(size - 1) / _F(GRID - 1)
    position = np.arange(GRID, dtype=np.float32) * scale
    first = np.minimum(position.astype(np.int64), size - 1)
    fraction = np.clip(position - first.astype(np.float32), _F(0), _F(1))
    return np.stack([first, first + 1]), _as_weights([_F(1) - fraction, fraction])


@lru_cache(maxsize=64)
def _bicubic_corner_taps(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cells ``(4, 224)`` and weights ``(4, 224, 1)``: the outer centres are the corners."""
    scale = _F(size - 1) / _F(GRID - 1)
    return _weigh_bicubic(np.arange(GRID, dtype=np.float32) * scale)


@lru_cache(maxsize=64)
def _bicubic_taps(size: int, num_points: int = GRID) -> tuple[np.ndarray, np.ndarray]:
    """Return cells ``(4, 224)`` and weights ``(4, 224, 1)`` of bicubic upsampling.

    The centre of point i lies at (i + 0.5) * size / 224 - 0.5 in cells.
    """
    return _weigh_bicubic(_fused(_F(size) / _F(num_points), np.arange(num_points) + 0.5, -0.5))


def _weigh_bicubic(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells around each position and their weights.

    Keys' kernel with a = -0.75, edges repeated. As compiled in torch, all multiply-adds but the
    last of each polynomial are fused.
    """
    a = _F(-0.75)

    def near(x: np.ndarray) -> np.ndarray:
        """Evaluate the kernel for |x| <= 1."""
        return _fused(a + _F(2), x, -(a + _F(3))) * x * x + _F(1)

    def far(x: np.ndarray) -> np.ndarray:
        """Evaluate the kernel for 1 < |x| < 2."""
        inner = _fused(a, x, -_F(5) * a)
        return _fused(inner, x, _F(8) * a) * x - _F(4) * a

    first = np.floor(position).astype(np.int64)
    fraction = np.clip(position - first.astype(np.float32), _F(0), _F(1))
    rest = _F(1) - fraction

    # The four cells lie 1 + fraction, fraction, rest and 1 + rest from the point.
    weights = [far(fraction + _F(1)), near(fraction), near(rest), far(rest + _F(1))]
    return np.stack([first + offset for offset in (-1, 0, 1, 2)]), _as_weights(weights)


def _fused(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> np.ndarray:
    """Return ``a * b + c`` of float32 values with one rounding."""
    return np.add(np.multiply(a, b, dtype=np.float64), c).astype(np.float32)


def _as_weights(weights: list[np.ndarray]) -> np.ndarray:
    return np.stack(weights).astype(np.float32).astype(np.float64)[:, :, None]


_TAPS: dict[str, Taps] = {
    "torch_bicubic": _bicubic_taps,
    "torch_bicubic_corners": _bicubic_corner_taps,
    "torch_bilinear_corners": _bilinear_corner_taps,
}
