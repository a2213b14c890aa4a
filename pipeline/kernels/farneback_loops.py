"""The inner loops of ``pipeline.kernels.farneback``, compiled by Numba: one level of the pyramid.

Every operation is the one that OpenCV's scalar code does, in its order and precision (float32
here, float64 there, no fused multiply-add, no reassociation), so that the results have the same
bits. What makes it faster: loops run along rows over separate planes, which compilers turn into
vector instructions; a pixel's five coefficients of the second picture lie together, so that a
bilinear sample is four vector loads; and the matrices of a level are never stored: each row is
used while it is in the processor's cache.

Importing this imports Numba, which takes a while; ``pipeline.kernels.farneback`` does so when flow
is first computed.
"""

import numba
import numpy as np
from numba.core.compiler import Compiler

from pipeline.kernels.farneback_simd import (
    LANES,
    interleave_eight,
    run_sums,
    sample_eight,
    slide_four,
)

REACH = 5  # pixels on each side that the polynomials are fitted to (OpenCV's poly_n)

_F32 = np.float32
_ZERO, _QUARTER, _HALF, _ONE = _F32(0), _F32(0.25), _F32(0.5), _F32(1)


class _DistinctArrays(Compiler):
    """Promises the compiler that no array that is written to overlaps another one.

    Without the promise it vectorizes no loop here.
    """

    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


_OPTIONS = {"pipeline_class": _DistinctArrays, "error_model": "numpy", "nogil": True}
_jit = numba.njit(**_OPTIONS)


def compile_refine_level():
    """``refine_level``, compiled at its first call or loaded from Numba's cache.

    The cache lies beside this file or, where that cannot be written, in the user's cache folder
    (or NUMBA_CACHE_DIR). Raises RuntimeError where no such folder can be written.
    """
    return numba.njit(cache=True, **_OPTIONS)(_refine_level)


@_jit
def _convolve_vertically(middle, a1, a2, a3, a4, a5, b1, b2, b3, b4, b5, g, xg, xxg, r0, r1, r2):
    """Row ``middle`` and its neighbours above and below, weighted by g, y g, y^2 g."""
    g0, g1, g2, g3, g4, g5 = g[0], g[1], g[2], g[3], g[4], g[5]
    x1, x2, x3, x4, x5 = xg[1], xg[2], xg[3], xg[4], xg[5]
    xx1, xx2, xx3, xx4, xx5 = xxg[1], xxg[2], xxg[3], xxg[4], xxg[5]
    for x in range(middle.size):
        s1, s2, s3, s4, s5 = (
            a1[x] + b1[x],
            a2[x] + b2[x],
            a3[x] + b3[x],
            a4[x] + b4[x],
            a5[x] + b5[x],
        )
        r0[x] = middle[x] * g0 + g1 * s1 + g2 * s2 + g3 * s3 + g4 * s4 + g5 * s5
        odd = _ZERO + x1 * (b1[x] - a1[x]) + x2 * (b2[x] - a2[x]) + x3 * (b3[x] - a3[x])
        r1[x] = odd + x4 * (b4[x] - a4[x]) + x5 * (b5[x] - a5[x])
        r2[x] = _ZERO + xx1 * s1 + xx2 * s2 + xx3 * s3 + xx4 * s4 + xx5 * s5


@_jit
def _convolve_horizontally(r0, r1, r2, g, xg, xxg, inverse, c0, c1, c2, c3, c4):
    """Compute the coefficients y, x, y^2, x^2, xy of a row from its vertical sums.

    The sums are padded by REACH on both sides.
    """
    g0 = g[0]
    i11, i03, i33, i55 = inverse[0], inverse[1], inverse[2], inverse[3]
    for x in range(c0.size):
        middle = x + REACH
        b1 = np.float64(r0[middle] * g0)
        b3 = np.float64(r1[middle] * g0)
        b5 = np.float64(r2[middle] * g0)
        b2 = b4 = b6 = 0.0
        for k in range(1, REACH + 1):
            even = np.float64(r0[middle + k] + r0[middle - k])
            b1 += even * np.float64(g[k])
            b4 += even * np.float64(xxg[k])
            b2 += np.float64((r0[middle + k] - r0[middle - k]) * xg[k])
            b3 += np.float64((r1[middle + k] + r1[middle - k]) * g[k])
            b6 += np.float64((r1[middle + k] - r1[middle - k]) * xg[k])
            b5 += np.float64((r2[middle + k] + r2[middle - k]) * g[k])
        c0[x] = b3 * i11
        c1[x] = b2 * i11
        c2[x] = b1 * i03 + b5 * i33
        c3[x] = b1 * i03 + b4 * i33
        c4[x] = b6 * i55


@_jit
def _expand_row(image, y, g, xg, xxg, inverse, sums, c0, c1, c2, c3, c4):
    """Polynomial expansion of row ``y``; rows and columns beyond the picture are those of its
    border.
    """
    height, width = image.shape
    end = REACH + width
    _convolve_vertically(
        image[y],
        image[max(y - 1, 0)],
        image[max(y - 2, 0)],
        image[max(y - 3, 0)],
        image[max(y - 4, 0)],
        image[max(y - 5, 0)],
        image[min(y + 1, height - 1)],
        image[min(y + 2, height - 1)],
        image[min(y + 3, height - 1)],
        image[min(y + 4, height - 1)],
        image[min(y + 5, height - 1)],
        g,
        xg,
        xxg,
        sums[0][REACH:end],
        sums[1][REACH:end],
        sums[2][REACH:end],
    )
    for plane in range(3):
        for x in range(REACH):
            sums[plane, x] = sums[plane, REACH]
            sums[plane, end + x] = sums[plane, end - 1]
    _convolve_horizontally(sums[0], sums[1], sums[2], g, xg, xxg, inverse, c0, c1, c2, c3, c4)


@_jit
def _interleave(c0, c1, c2, c3, c4, pixels):
    """Coefficients of a row from planes to ``(width * LANES,)``."""
    num_whole = c0.size // LANES * LANES
    for x in range(0, num_whole, LANES):
        interleave_eight(c0, c1, c2, c3, c4, x, pixels)
    for x in range(num_whole, c0.size):
        start = x * LANES
        pixels[start], pixels[start + 1], pixels[start + 2] = c0[x], c1[x], c2[x]
        pixels[start + 3], pixels[start + 4] = c3[x], c4[x]
        pixels[start + 5] = pixels[start + 6] = pixels[start + 7] = _ZERO


@_jit
def _locate(u, v, y, last_x, last_y, width, positions, w00, w01, w10, w11, is_inside):
    """Where a row's flow leads: positions of the upper left neighbours, bilinear weights."""
    for x in range(u.size):
        there_x, there_y = _F32(x) + u[x], y + v[x]
        left, top = np.floor(there_x), np.floor(there_y)
        inside = (left >= _ZERO) & (left < last_x) & (top >= _ZERO) & (top < last_y)
        left = left if inside else _ZERO
        top = top if inside else _ZERO
        dx, dy = there_x - left, there_y - top
        positions[x] = (np.int32(top) * width + np.int32(left)) * LANES
        w00[x] = (_ONE - dx) * (_ONE - dy)
        w01[x] = dx * (_ONE - dy)
        w10[x] = (_ONE - dx) * dy
        w11[x] = dx * dy
        is_inside[x] = inside


@_jit
def _combine(
    q0,
    q1,
    q2,
    q3,
    q4,
    is_inside,
    c0,
    c1,
    c2,
    c3,
    c4,
    u,
    v,
    fade_x,
    fade_top,
    fade_bottom,
    m0,
    m1,
    m2,
    m3,
    m4,
):
    """The normal equations of a row: G11, G12, G22, h1, h2; faded towards the picture's border."""
    for x in range(u.size):
        inside = is_inside[x]
        ry = q0[x] if inside else _ZERO
        rx = q1[x] if inside else _ZERO
        ryy = (c2[x] + q2[x]) * _HALF if inside else c2[x]
        rxx = (c3[x] + q3[x]) * _HALF if inside else c3[x]
        rxy = (c4[x] + q4[x]) * _QUARTER if inside else c4[x] * _HALF
        ry = (c0[x] - ry) * _HALF
        rx = (c1[x] - rx) * _HALF
        ry = ry + (ryy * v[x] + rxy * u[x])
        rx = rx + (rxy * v[x] + rxx * u[x])
        fade = fade_x[x] * fade_top * fade_bottom
        ry, rx, ryy, rxx, rxy = ry * fade, rx * fade, ryy * fade, rxx * fade, rxy * fade
        m0[x] = ryy * ryy + rxy * rxy
        m1[x] = (ryy + rxx) * rxy
        m2[x] = rxx * rxx + rxy * rxy
        m3[x] = ryy * ry + rxy * rx
        m4[x] = rxy * ry + rxx * rx


@_jit
def _slide(entering, leaving, begin, fours, fifths):
    """Box sums slide down by one row; the columns beyond the picture are those of its border.

    ``fours`` holds the first four planes, those of a column together, ``fifths`` the fifth; both
    begin ``begin`` columns before the picture and end as many after it.
    """
    e0, e1, e2, e3, e4 = entering[0], entering[1], entering[2], entering[3], entering[4]
    l0, l1, l2, l3, l4 = leaving[0], leaving[1], leaving[2], leaving[3], leaving[4]
    width = e0.size
    end, num_whole = begin + width, width // 4 * 4
    for x in range(0, num_whole, 4):
        slide_four(e0, e1, e2, e3, l0, l1, l2, l3, x, fours, (begin + x) * 4)
    for x in range(num_whole, width):
        for plane in range(4):
            fours[(begin + x) * 4 + plane] += np.float64(entering[plane, x] - leaving[plane, x])
    for x in range(width):
        fifths[begin + x] += np.float64(e4[x] - l4[x])
    for x in range(begin):
        fifths[x], fifths[end + x] = fifths[begin], fifths[end - 1]
        for plane in range(4):
            fours[x * 4 + plane] = fours[begin * 4 + plane]
            fours[(end + x) * 4 + plane] = fours[(end - 1) * 4 + plane]


@_jit
def _sum_horizontally(fours, fifths, reach, before, totals):
    """Sums over ``2 * reach + 1`` columns, of what ``_slide`` leaves; ``before`` is room for five
    numbers.
    """
    first = reach + 1
    weight = np.float64(reach + 2)
    for plane in range(5):
        step, start = (4, plane) if plane < 4 else (1, 0)
        sums = fours if plane < 4 else fifths
        total = sums[start + first * step] * weight
        for x in range(first + 1, first + reach):
            total += sums[start + x * step]
        before[plane] = total
    run_sums(
        fours,
        fifths,
        before,
        first + reach,
        totals.shape[1],
        totals[0],
        totals[1],
        totals[2],
        totals[3],
        totals[4],
    )


@_jit
def _solve(t0, t1, t2, t3, t4, scale, u, v):
    for x in range(u.size):
        g11, g12, g22, h1, h2 = (
            t0[x] * scale,
            t1[x] * scale,
            t2[x] * scale,
            t3[x] * scale,
            t4[x] * scale,
        )
        inverse = 1.0 / (g11 * g22 - g12 * g12 + 1e-3)
        u[x] = (g11 * h2 - g12 * h1) * inverse
        v[x] = (g22 * h1 - g12 * h2) * inverse


@_jit
def _update_row(y, first, second, u, v, fade_x, fade_y, positions, weights, is_inside, sampled, m):
    """The normal equations of row ``y``, ``m``, for its flow so far."""
    height, width = u.shape
    w00, w01, w10, w11 = weights[0], weights[1], weights[2], weights[3]
    q0, q1, q2, q3, q4 = sampled[0], sampled[1], sampled[2], sampled[3], sampled[4]
    _locate(
        u[y],
        v[y],
        _F32(y),
        _F32(width - 1),
        _F32(height - 1),
        width,
        positions,
        w00,
        w01,
        w10,
        w11,
        is_inside,
    )
    for x in range(0, width, LANES):  # the buffers are long enough for whole vectors
        sample_eight(second, width * LANES, positions, w00, w01, w10, w11, x, q0, q1, q2, q3, q4)
    c = first[y]
    _combine(
        q0, q1, q2, q3, q4, is_inside, c[0], c[1], c[2], c[3], c[4], u[y], v[y],
        fade_x, fade_y[0, y], fade_y[1, y], m[0], m[1], m[2], m[3], m[4],
    )  # fmt: skip


@_jit
def _start_sums(ring, height, reach, fours, fifths):
    """Box sums before row 0: the rows above it are counted as row 0, the box lags by one row."""
    begin, weight = reach + 1, _F32(reach + 2)
    for plane in range(5):
        step, start = (4, begin * 4 + plane) if plane < 4 else (1, begin)
        sums = fours if plane < 4 else fifths
        for x in range(ring.shape[2]):
            sums[start + x * step] = np.float64(ring[0, plane, x] * weight)
        for y in range(1, reach):
            row = ring[min(y, height - 1) % len(ring), plane]
            for x in range(ring.shape[2]):
                sums[start + x * step] += np.float64(row[x])


@_jit
def _iterate(first, second, u, v, window, fade_x, fade_y, rings, all_sums):
    """All iterations of a level: each row's equations, their box sums, the flow that solves these.

    An iteration brings row ``y + reach`` up to date just before it solves row ``y``, and the next
    iteration follows ``reach`` rows behind, so that the coefficients are fetched from memory once.
    ``rings`` hold the equations of the rows that a box can still reach.
    """
    height, width = u.shape
    num_iterations, num_kept = rings.shape[0], rings.shape[1]
    reach = window // 2
    padded = (width + LANES - 1) // LANES * LANES
    begin, num_summed = reach + 1, all_sums.shape[1] // 5
    totals, before = np.empty((5, (width + 3) // 4 * 4)), np.empty(5)
    positions, weights = np.zeros(padded, np.int32), np.zeros((4, padded), np.float32)
    sampled, is_inside = np.empty((5, padded), np.float32), np.empty(width, np.bool_)
    scale = 1.0 / np.float64(window * window)
    for step in range(height + (num_iterations - 1) * reach):
        for iteration in range(num_iterations):
            y = step - iteration * reach
            if y < 0 or y >= height:
                continue
            ring, sums = rings[iteration], all_sums[iteration]
            fours, fifths = sums[: 4 * num_summed], sums[4 * num_summed :]
            coming = y + reach
            for row in range(0 if y == 0 else coming, min(coming + 1, height)):
                m = ring[row % num_kept]
                _update_row(
                    row,
                    first,
                    second,
                    u,
                    v,
                    fade_x,
                    fade_y,
                    positions,
                    weights,
                    is_inside,
                    sampled,
                    m,
                )
            if y == 0:
                _start_sums(ring, height, reach, fours, fifths)
            entering, leaving = (
                ring[min(coming, height - 1) % num_kept],
                ring[max(y - reach - 1, 0) % num_kept],
            )
            _slide(entering, leaving, begin, fours, fifths)
            _sum_horizontally(fours, fifths, reach, before, totals)
            _solve(totals[0], totals[1], totals[2], totals[3], totals[4], scale, u[y], v[y])


def _refine_level(
    previous,
    following,
    flow,
    factor,
    g,
    xg,
    xxg,
    inverse,
    window,
    fade_x,
    fade_y,
    first,
    second,
    uv,
    rings,
    sums,
):
    """Refine ``flow`` (H, W, 2), after multiplying it by ``factor``, for two float32 pictures (H,
    W), in place.

    ``g``, ``xg``, ``xxg``: weights of the polynomial fit for distances 0 to REACH; ``inverse``: of
    its normal equations; ``fade_x`` (W,), ``fade_y`` (2, H): certainty of columns, and of rows
    seen from the top and the bottom.

    The rest is room to work in: ``first`` (H, 5, W) and ``second`` (H + 1, W, LANES) for
    coefficients (the last row is there because positions of pixels that lead outside are 0,
    whatever the picture's size), ``uv`` (2, H, W), ``rings`` (iterations, count_kept_rows(window),
    5, W), ``sums`` float64 (iterations, 5, W + the same + 4).
    """
    height, width = previous.shape
    vertical, row = np.empty((3, width + 2 * REACH), np.float32), np.empty((5, width), np.float32)
    second[height] = _ZERO
    for y in range(height):
        c = first[y]
        _expand_row(previous, y, g, xg, xxg, inverse, vertical, c[0], c[1], c[2], c[3], c[4])
        _expand_row(
            following, y, g, xg, xxg, inverse, vertical, row[0], row[1], row[2], row[3], row[4]
        )
        _interleave(row[0], row[1], row[2], row[3], row[4], second[y].reshape(-1))
    u, v = uv[0], uv[1]
    for y in range(height):
        for x in range(width):
            u[y, x] = flow[y, x, 0] * factor + _ZERO  # -0 becomes 0
            v[y, x] = flow[y, x, 1] * factor + _ZERO
    _iterate(
        first, second.reshape(-1), u, v, window, fade_x, fade_y, rings, sums.reshape(len(sums), -1)
    )
    for y in range(height):
        for x in range(width):
            flow[y, x, 0] = u[y, x]
            flow[y, x, 1] = v[y, x]
