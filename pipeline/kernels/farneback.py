"""Dense optical flow of Farneback (2003): OpenCV's bits in 0.3 to 0.45 of its time.

``compute_farneback`` is the only function that other rooms call. The algorithm expands both
pictures into polynomials, finds a displacement from the two polynomials of each pixel and averages
it over a box, on each level of a Gaussian pyramid. OpenCV's code does this one pixel at a time.
The modules ``farneback_loops`` and ``farneback_simd`` do the same operations in the same order on
vectors. Smoothing and resizing are OpenCV's own.

Each process compares both on a small picture before it first uses the fast code. It stays with
OpenCV where a single bit differs (another OpenCV, another kind of processor), where compiled code
cannot be kept on disk, where Numba or the fast modules are absent, and where ``EARSHOT_KERNELS=0``
is set. Results therefore never depend on which code computed them.

The variable is read here and nowhere else. It is no parameter in params.yaml, because no result
depends on it; worker processes inherit it from the environment.
"""

import functools
import math
import os
import threading
from collections.abc import Callable

import cv2
import numpy as np

_MIN_SIDE = 32  # of the smallest level of the pyramid
# Certainty of the five pixels next to the border.
_FADE = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)
_MAX_KEPT_FLOATS = 24 * 2**20  # 96 MiB, a picture of 1280x720
_MAX_PIXELS = 2**27  # positions of coefficients are 32-bit integers


def compute_farneback(
    previous: np.ndarray,
    following: np.ndarray,
    *,
    pyramid_scale: float,
    num_levels: int,
    window_size: int,
    num_iterations: int,
    poly_n: int,
    poly_sigma: float,
    flags: int,
) -> np.ndarray:
    """Compute dense optical flow, bit for bit as ``cv2.calcOpticalFlowFarneback`` does.

    Args:
        previous: uint8 grey ``(H, W)``.
        following: uint8 grey, the same size.
        pyramid_scale: Size of a level of the pyramid, as a share of the level before.
        num_levels: Levels besides the picture itself.
        window_size: Side of the box that displacements are averaged over, in pixels.
        num_iterations: On each level.
        poly_n: Side of the neighbourhood that a polynomial is fitted to, in pixels.
        poly_sigma: Standard deviation of the weights in that neighbourhood, in pixels.
        flags: OpenCV's ``OPTFLOW_*``.

    Returns:
        float32 ``(H, W, 2)`` in pixels, x to the right and y downwards.
    """
    # The fast code knows the published parameters and pictures of ordinary size.
    is_usual = (
        poly_n == 5 and flags == 0 and poly_sigma > 1e-6 and previous.shape == following.shape
    )
    is_covered = is_usual and min(previous.shape) >= 2 * len(_FADE) and previous.size < _MAX_PIXELS
    refine_level = load_refine_level() if is_covered else None

    if refine_level is None:
        return cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
            previous,
            following,
            None,
            pyramid_scale,
            num_levels,
            window_size,
            num_iterations,
            poly_n,
            poly_sigma,
            flags,
        )
    return _compute(
        refine_level,
        previous,
        following,
        pyramid_scale,
        num_levels,
        window_size,
        num_iterations,
        poly_n,
        poly_sigma,
    )


@functools.cache
def load_refine_level() -> Callable | None:
    """Return the compiled function for one level of the pyramid, or None where OpenCV computes.

    The first process on a machine compiles for some seconds; the others load the result.
    """
    if os.environ.get("EARSHOT_KERNELS") == "0":
        return None
    try:
        # Importing Numba takes half a second, and most processes compute no flow.
        from pipeline.kernels.checked import load_checked
        from pipeline.kernels.farneback_loops import compile_refine_level
    except ImportError:
        return None

    # A texture: its lower part moves, its upper part stands still.
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (75, 93), dtype=np.uint8), (0, 0), 2)
    moved = np.roll(picture, (1, 2), (0, 1))
    moved[:40] = picture[:40]

    # The published parameters of flow. Bytes are compared, so -0 and 0 differ.
    settings = (0.5, 3, 15, 3, 5, 1.2)
    flow = cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
        picture, moved, None, *settings, 0
    )
    expected = flow.tobytes()

    return load_checked(
        compile_refine_level,
        lambda refine_level: (
            _compute(refine_level, picture, moved, *settings).tobytes() == expected
        ),
    )


class _Room(threading.local):
    """Memory that a thread keeps from picture to picture.

    Allocating it for each picture would take a third of the time.
    """

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)

    def claim(self, num_floats: int) -> "_Arena":
        """Return room for so many floats; their content is arbitrary."""
        if num_floats > _MAX_KEPT_FLOATS:
            return _Arena(np.empty(num_floats, np.float32))
        if num_floats > self._floats.size:
            self._floats = np.empty(num_floats, np.float32)
        return _Arena(self._floats)


class _Arena:
    """One piece of memory that arrays are laid into, one after the other."""

    def __init__(self, floats: np.ndarray) -> None:
        self._floats = floats
        self.used = 0

    def take(self, *shape: int, dtype: type = np.float32) -> np.ndarray:
        """Return the next array; its content is arbitrary."""
        num_floats = math.prod(shape) * np.dtype(dtype).itemsize // 4
        start, self.used = self.used, self.used + -(-num_floats // 16) * 16  # whole cache lines
        return self._floats[start : start + num_floats].view(dtype).reshape(shape)


_room = _Room()


def _compute(
    refine_level: Callable,
    previous: np.ndarray,
    following: np.ndarray,
    pyramid_scale: float,
    num_levels: int,
    window_size: int,
    num_iterations: int,
    poly_n: int,
    poly_sigma: float,
) -> np.ndarray:
    """Compute the flow with ``refine_level``, from the smallest level to the pictures' own."""
    height, width = previous.shape
    weights = _fit_weights(poly_n, poly_sigma)
    num_kept = window_size // 2 * 2 + 2  # rows that a box spans, and the one that it leaves
    num_rows_kept = num_iterations * 5 * (num_kept + 2)

    # Room for both pictures, and for the arrays of the largest level.
    arena = _room.claim(
        height * width * 21 + width * (20 + num_rows_kept) + 2 * num_rows_kept * num_kept + 1024
    )
    pictures, smooth = arena.take(2, height, width), arena.take(height, width)
    pictures[0], pictures[1] = previous, following
    before_levels = arena.used

    flow, factor = None, np.float32(1 / pyramid_scale)
    for scale in _find_scales(height, width, pyramid_scale, num_levels):
        arena.used = before_levels  # each level overwrites the one before
        h, w = round(height * scale), round(width * scale)
        sigma = (1 / scale - 1) * 0.5
        kernel_size = max(round(sigma * 5) | 1, 3)

        # Both pictures at this level, smoothed as OpenCV does.
        levels = arena.take(2, h, w)
        for picture, level in zip(pictures, levels, strict=True):
            cv2.GaussianBlur(picture, (kernel_size, kernel_size), sigma, dst=smooth, sigmaY=sigma)
            cv2.resize(smooth, (w, h), dst=level, interpolation=cv2.INTER_LINEAR)

        # The flow of the level before, enlarged (bilinear), is where this level begins.
        flow = np.zeros((h, w, 2), np.float32) if flow is None else cv2.resize(flow, (w, h))

        # Refine it in place. The last five arrays are room to work in.
        fade_x, fade_y = _fade(w), _fade(h)
        refine_level(
            levels[0],
            levels[1],
            flow,
            factor,
            *weights,
            window_size,
            fade_x[0] * fade_x[1],
            fade_y,
            arena.take(h, 5, w),
            arena.take(h + 1, w, 8),
            arena.take(2, h, w),
            arena.take(num_iterations, num_kept, 5, w),
            arena.take(num_iterations, 5, w + num_kept + 4, dtype=np.float64),
        )

    assert flow is not None  # there is at least one level
    return flow


def _find_scales(height: int, width: int, pyramid_scale: float, num_levels: int) -> list[float]:
    """Return the scales of the levels, smallest first."""
    scales = [1.0]
    while (
        len(scales) <= num_levels and min(height, width) * scales[-1] * pyramid_scale >= _MIN_SIDE
    ):
        scales.append(scales[-1] * pyramid_scale)
    return scales[::-1]


def _fade(length: int) -> np.ndarray:
    """Return the certainty of rows or columns near the border: float32 ``(2, length)``.

    The first row counts from the first pixel, the second one from the last.
    """
    fade = np.ones((2, length), np.float32)
    fade[0, : len(_FADE)] = _FADE[:length]
    fade[1] = fade[0, ::-1]
    return fade


@functools.lru_cache(maxsize=16)
def _fit_weights(poly_n: int, poly_sigma: float) -> tuple[np.ndarray, ...]:
    """Compute what fitting a quadratic polynomial under Gaussian weights needs.

    Returns:
        Weights g, x g and x^2 g at distances 0 to ``poly_n``, float32 ``(poly_n + 1,)`` each, and
        the four distinct numbers of the inverse normal equations that coefficients need, float64
        ``(4,)``.
    """
    # A Gaussian in float32, divided by its sum in float64 and rounded again, as in OpenCV.
    x = np.arange(-poly_n, poly_n + 1)
    g = np.exp(-(x**2) / (2 * poly_sigma**2)).astype(np.float32)
    g = (g.astype(np.float64) * (1 / sum(map(float, g)))).astype(np.float32)

    # The normal equations: products of basis functions, summed over the neighbourhood. Each
    # product is float32, each sum float64. Only four entries differ; the rest are zeros or copies.
    normal = np.zeros((6, 6))  # of the basis 1, x, y, x^2, y^2, xy
    for y_weight, y in zip(g, x.astype(np.float32), strict=True):
        for x_weight, column in zip(g, x.astype(np.float32), strict=True):
            weight = y_weight * x_weight
            normal[0, 0] += weight
            normal[1, 1] += weight * column * column
            normal[3, 3] += weight * column * column * column * column
            normal[5, 5] += weight * column * column * y * y

    # The copies: a square neighbourhood is the same along x and y.
    normal[2, 2] = normal[0, 3] = normal[0, 4] = normal[3, 0] = normal[4, 0] = normal[1, 1]
    normal[4, 4] = normal[3, 3]
    normal[3, 4] = normal[4, 3] = normal[5, 5]

    # OpenCV's own Cholesky inversion: another one could differ in the last bits.
    inverse = cv2.invert(normal, flags=cv2.DECOMP_CHOLESKY)[1]
    chosen = np.array([inverse[1, 1], inverse[0, 3], inverse[3, 3], inverse[5, 5]])

    # Weights are even or odd in x, so one side is enough.
    g, distance = g[poly_n:].copy(), x[poly_n:].astype(np.float32)
    return g, distance * g, distance * distance * g, chosen
