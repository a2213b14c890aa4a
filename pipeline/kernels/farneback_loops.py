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
        """Set LLVM's ``noalias`` on the arguments, then build Numba's usual pipelines."""
        self.state.flags.noalias = True
        return super().define_pipelines()


_OPTIONS = {"pipeline_class": _DistinctArrays, "error_model": "numpy", "nogil": True}
_jit = numba.njit(**_OPTIONS)


def compile_refine_level():
    """Return ``_refine_level`` as a function that Numba compiles at its first call.

    Numba loads the compiled code from its cache if it is there. The cache lies beside this file
    or, where that cannot be written, in the user's cache folder (or NUMBA_CACHE_DIR).

    Raises:
        RuntimeError: None of these folders can be written.
    """
    return numba.njit(cache=True, **_OPTIONS)(_refine_level)


@_jit
def _convolve_vertically(middle, a1, a2, a3, a4, a5, b1, b2, b3, b4, b5, g, xg, xxg, r0, r1, r2):
    """Convolve columns around row ``middle`` with g, y g and y^2 g.

    ``a1`` to ``a5`` are the rows above, ``b1`` to ``b5`` the rows below, by distance. The sums go
    to ``r0``, ``r1`` and ``r2``. All rows are float32 ``(W,)``.
    """
    # Weights in scalars and a written-out sum: the loop over x becomes vector instructions.
    g0, g1, g2, g3, g4, g5 = g[0], g[1], g[2], g[3], g[4], g[5]
    x1, x2, x3, x4, x5 = xg[1], xg[2], xg[3], xg[4], xg[5]
    xx1, xx2, xx3, xx4, xx5 = xxg[1], xxg[2], xxg[3], xxg[4], xxg[5]

    for x in range(middle.size):
        # g and y^2 g are even, so rows at the same distance are added before they are weighted.
        s1, s2, s3, s4, s5 = (
            a1[x] + b1[x],
            a2[x] + b2[x],
            a3[x] + b3[x],
            a4[x] + b4[x],
            a5[x] + b5[x],
        )

        # Terms are added from the nearest row outwards, as OpenCV does: float32 sums depend on it.
        r0[x] = middle[x] * g0 + g1 * s1 + g2 * s2 + g3 * s3 + g4 * s4 + g5 * s5

        # y g is odd: the row above is subtracted. A sum that starts from 0 is never -0.
        odd = _ZERO + x1 * (b1[x] - a1[x]) + x2 * (b2[x] - a2[x]) + x3 * (b3[x] - a3[x])
        r1[x] = odd + x4 * (b4[x] - a4[x]) + x5 * (b5[x] - a5[x])

        r2[x] = _ZERO + xx1 * s1 + xx2 * s2 + xx3 * s3 + xx4 * s4 + xx5 * s5


@_jit
def _convolve_horizontally(r0, r1, r2, g, xg, xxg, inverse, c0, c1, c2, c3, c4):
    """Compute the coefficients y, x, y^2, x^2, xy of a row from its vertical sums.

    The sums ``r0``, ``r1``, ``r2`` are float32 ``(W + 2 * REACH,)``, padded by REACH on both
    sides. The coefficients go to ``c0`` to ``c4``, float32 ``(W,)``.
    """
    g0 = g[0]
    i11, i03, i33, i55 = inverse[0], inverse[1], inverse[2], inverse[3]

    for x in range(c0.size):
        # b1 to b6 are the picture's projections onto the basis 1, x, y, x^2, y^2, xy.
        middle = x + REACH
        b1 = np.float64(r0[middle] * g0)
        b3 = np.float64(r1[middle] * g0)
        b5 = np.float64(r2[middle] * g0)
        b2 = b4 = b6 = 0.0

        # OpenCV multiplies in float64 where the sum of both sides is needed twice (b1 and b4),
        # and in float32 elsewhere.
        for k in range(1, REACH + 1):
            even = np.float64(r0[middle + k] + r0[middle - k])
            b1 += even * np.float64(g[k])
            b4 += even * np.float64(xxg[k])
            b2 += np.float64((r0[middle + k] - r0[middle - k]) * xg[k])
            b3 += np.float64((r1[middle + k] + r1[middle - k]) * g[k])
            b6 += np.float64((r1[middle + k] - r1[middle - k]) * xg[k])
            b5 += np.float64((r2[middle + k] + r2[middle - k]) * g[k])

        # The inverse normal equations turn projections into coefficients. The constant term is
        # left out: the flow does not need it. Each result is rounded to float32 when stored.
        c0[x] = b3 * i11
        c1[x] = b2 * i11
        c2[x] = b1 * i03 + b5 * i33
        c3[x] = b1 * i03 + b4 * i33
        c4[x] = b6 * i55


@_jit
def _expand_row(image, y, g, xg, xxg, inverse, sums, c0, c1, c2, c3, c4):
    """Fit a polynomial to the neighbourhood of each pixel of row ``y``.

    ``image`` is float32 ``(H, W)``. The coefficients go to ``c0`` to ``c4``, float32 ``(W,)``.
    Rows and columns beyond the picture repeat its border. ``sums`` is room to work in.
    """
    height, width = image.shape
    end = REACH + width

    # The fit is separable: first along columns, into the middle of the padded sums.
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

    # The padding repeats the outermost sums, so that the next loop needs no case for borders.
    for plane in range(3):
        for x in range(REACH):
            sums[plane, x] = sums[plane, REACH]
            sums[plane, end + x] = sums[plane, end - 1]

    _convolve_horizontally(sums[0], sums[1], sums[2], g, xg, xxg, inverse, c0, c1, c2, c3, c4)


@_jit
def _interleave(c0, c1, c2, c3, c4, pixels):
    """Store the coefficients of a row by pixel: five planes ``(W,)`` to ``(W * LANES,)``."""
    num_whole = c0.size // LANES * LANES
    for x in range(0, num_whole, LANES):
        interleave_eight(c0, c1, c2, c3, c4, x, pixels)

    # The pixels that fill no whole vector, one by one.
    for x in range(num_whole, c0.size):
        start = x * LANES
        pixels[start], pixels[start + 1], pixels[start + 2] = c0[x], c1[x], c2[x]
        pixels[start + 3], pixels[start + 4] = c3[x], c4[x]
        pixels[start + 5] = pixels[start + 6] = pixels[start + 7] = _ZERO


@_jit
def _locate(u, v, y, last_x, last_y, width, positions, w00, w01, w10, w11, is_inside):
    """Find where the flow of row ``y`` leads in the second picture.

    Writes, for each pixel, the position of the upper left of its four neighbours (int32), their
    bilinear weights ``w00`` to ``w11`` (float32) and whether all four are inside (bool).
    """
    for x in range(u.size):
        there_x, there_y = _F32(x) + u[x], y + v[x]
        left, top = np.floor(there_x), np.floor(there_y)
        inside = (left >= _ZERO) & (left < last_x) & (top >= _ZERO) & (top < last_y)

        # A pixel that leads outside reads position 0: a safe address, and no branch in the loop.
        # ``_combine`` ignores what it reads there.
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
    """Set up the normal equations of a row: G11, G12, G22, h1, h2 in ``m0`` to ``m4``.

    ``c0`` to ``c4`` are the coefficients of the first picture; ``q0`` to ``q4`` are those of the
    second one where the flow ``u``, ``v`` leads. All are float32 ``(W,)``. The equations fade
    towards the border of the picture.
    """
    for x in range(u.size):
        # The matrix A is the mean of both pictures'; outside, it is the first picture's. The xy
        # coefficient is halved once more: the symmetric A holds it twice.
        inside = is_inside[x]
        ry = q0[x] if inside else _ZERO
        rx = q1[x] if inside else _ZERO
        ryy = (c2[x] + q2[x]) * _HALF if inside else c2[x]
        rxx = (c3[x] + q3[x]) * _HALF if inside else c3[x]
        rxy = (c4[x] + q4[x]) * _QUARTER if inside else c4[x] * _HALF

        # Half the difference of the linear terms, plus A times the flow so far: the equations
        # then give the whole flow, not a correction to it.
        ry = (c0[x] - ry) * _HALF
        rx = (c1[x] - rx) * _HALF
        ry = ry + (ryy * v[x] + rxy * u[x])
        rx = rx + (rxy * v[x] + rxx * u[x])

        # The fit is less certain near the border, where it saw repeated pixels.
        fade = fade_x[x] * fade_top * fade_bottom
        ry, rx, ryy, rxx, rxy = ry * fade, rx * fade, ryy * fade, rxx * fade, rxy * fade

        # A^T A, which is symmetric, and A^T b.
        m0[x] = ryy * ryy + rxy * rxy
        m1[x] = (ryy + rxx) * rxy
        m2[x] = rxx * rxx + rxy * rxy
        m3[x] = ryy * ry + rxy * rx
        m4[x] = rxy * ry + rxx * rx


@_jit
def _slide(entering, leaving, begin, fours, fifths):
    """Move the vertical box sums down by one row: add one row, subtract another.

    ``entering`` and ``leaving`` are float32 ``(5, W)``. ``fours`` holds the sums of the first four
    planes, with the four numbers of a column together, and ``fifths`` those of the fifth plane;
    both are float64. They begin ``begin`` columns before the picture and end as many after it.
    Columns beyond the picture repeat its border.
    """
    e0, e1, e2, e3, e4 = entering[0], entering[1], entering[2], entering[3], entering[4]
    l0, l1, l2, l3, l4 = leaving[0], leaving[1], leaving[2], leaving[3], leaving[4]
    width = e0.size
    end, num_whole = begin + width, width // 4 * 4

    # The difference is rounded to float32 before it is added in float64, as in OpenCV. A running
    # sum keeps its rounding errors, so rows must enter and leave in OpenCV's order too.
    for x in range(0, num_whole, 4):
        slide_four(e0, e1, e2, e3, l0, l1, l2, l3, x, fours, (begin + x) * 4)
    for x in range(num_whole, width):
        for plane in range(4):
            fours[(begin + x) * 4 + plane] += np.float64(entering[plane, x] - leaving[plane, x])

    # The fifth plane is contiguous: the compiler vectorizes this loop by itself.
    for x in range(width):
        fifths[begin + x] += np.float64(e4[x] - l4[x])

    # Repeat the first and the last column beyond the picture.
    for x in range(begin):
        fifths[x], fifths[end + x] = fifths[begin], fifths[end - 1]
        for plane in range(4):
            fours[x * 4 + plane] = fours[begin * 4 + plane]
            fours[(end + x) * 4 + plane] = fours[(end - 1) * 4 + plane]


@_jit
def _sum_horizontally(fours, fifths, reach, before, totals):
    """Sum the vertical box sums over ``2 * reach + 1`` columns, for all pixels of a row.

    ``totals`` receives the results, float64 ``(5, W)`` with W rounded up to a multiple of four.
    ``before`` is room for five numbers.
    """
    first = reach + 1
    weight = np.float64(reach + 2)

    # The box of the column before the first one. The columns to its left repeat column 0, so
    # OpenCV multiplies that column instead of adding it again; the sum has other bits otherwise.
    for plane in range(5):
        step, start = (4, plane) if plane < 4 else (1, 0)
        sums = fours if plane < 4 else fifths
        total = sums[start + first * step] * weight
        for x in range(first + 1, first + reach):
            total += sums[start + x * step]
        before[plane] = total

    # From there on, each box is the one before plus a column, minus another.
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
    """Solve the averaged equations (float64) of a row for its flow ``u``, ``v`` (float32)."""
    for x in range(u.size):
        g11, g12, g22, h1, h2 = (
            t0[x] * scale,
            t1[x] * scale,
            t2[x] * scale,
            t3[x] * scale,
            t4[x] * scale,
        )

        # Cramer's rule. OpenCV adds 1e-3, so that flat regions do not divide by 0.
        inverse = 1.0 / (g11 * g22 - g12 * g12 + 1e-3)
        u[x] = (g11 * h2 - g12 * h1) * inverse
        v[x] = (g22 * h1 - g12 * h2) * inverse


@_jit
def _update_row(y, first, second, u, v, fade_x, fade_y, positions, weights, is_inside, sampled, m):
    """Set up the normal equations of row ``y`` for its flow so far.

    The equations go to ``m``, float32 ``(5, W)``. ``positions``, ``weights``, ``is_inside`` and
    ``sampled`` are room to work in.
    """
    height, width = u.shape
    w00, w01, w10, w11 = weights[0], weights[1], weights[2], weights[3]
    q0, q1, q2, q3, q4 = sampled[0], sampled[1], sampled[2], sampled[3], sampled[4]

    # Sample the second picture's coefficients where the flow leads.
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

    # Compare them with the first picture's.
    c = first[y]
    _combine(
        q0, q1, q2, q3, q4, is_inside, c[0], c[1], c[2], c[3], c[4], u[y], v[y],
        fade_x, fade_y[0, y], fade_y[1, y], m[0], m[1], m[2], m[3], m[4],
    )  # fmt: skip


@_jit
def _start_sums(ring, height, reach, fours, fifths):
    """Compute the vertical box sums that ``_slide`` needs before row 0.

    Rows above the picture repeat row 0. The box is centred on row -1, because ``_slide`` moves it
    before each row. ``fours`` and ``fifths`` are laid out as ``_slide`` says.
    """
    begin, weight = reach + 1, _F32(reach + 2)

    for plane in range(5):
        step, start = (4, begin * 4 + plane) if plane < 4 else (1, begin)
        sums = fours if plane < 4 else fifths

        # Row 0 counts ``reach + 2`` times: one product in float32, as in OpenCV.
        for x in range(ring.shape[2]):
            sums[start + x * step] = np.float64(ring[0, plane, x] * weight)

        # The rows below it, as far as the box reaches; the last row stands for those missing.
        for y in range(1, reach):
            row = ring[min(y, height - 1) % len(ring), plane]
            for x in range(ring.shape[2]):
                sums[start + x * step] += np.float64(row[x])


@_jit
def _iterate(first, second, u, v, window, fade_x, fade_y, rings, all_sums):
    """Do all iterations of a level, and leave the flow in ``u`` and ``v``.

    For each row an iteration sets up the equations, averages them over a box and solves them. It
    brings row ``y + reach`` up to date just before it solves row ``y``. The next iteration follows
    ``reach`` rows behind, so that the coefficients are fetched from memory once. ``rings`` hold
    the equations of the rows that a box can still reach.
    """
    height, width = u.shape
    num_iterations, num_kept = rings.shape[0], rings.shape[1]
    reach = window // 2

    # Room for one row, shared by all iterations; its length is a multiple of the vectors used.
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

            # Equations of the row that the box reaches next; at the start, of all rows up to it.
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

            # Move the box to row y. Rows beyond the picture repeat its border.
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
    """Multiply ``flow`` by ``factor`` and refine it on one level of the pyramid, in place.

    Arrays are float32 unless another type is given. ``num_kept`` is ``window // 2 * 2 + 2``: the
    rows that a box spans, and the one that it leaves.

    Args:
        previous: ``(H, W)``, the first picture.
        following: ``(H, W)``, the second picture.
        flow: ``(H, W, 2)`` in pixels of the level before; receives the result in pixels.
        factor: Size of this level, as a multiple of the level before.
        g: ``(REACH + 1,)``, weights of the polynomial fit at distances 0 to REACH.
        xg: The same, times the distance.
        xxg: The same, times the distance squared.
        inverse: float64 ``(4,)``, numbers of the inverse of the fit's normal equations.
        window: Side of the box that equations are averaged over, in pixels.
        fade_x: ``(W,)``, certainty of columns.
        fade_y: ``(2, H)``, certainty of rows, counted from the top and from the bottom.
        first: ``(H, 5, W)``, room for the coefficients of the first picture.
        second: ``(H + 1, W, LANES)``, room for those of the second one. Pixels that lead outside
            read position 0 and its neighbours, which need a second row even where H is 1.
        uv: ``(2, H, W)``, room for the flow as two planes.
        rings: ``(num_iterations, num_kept, 5, W)``, room for equations.
        sums: float64 ``(num_iterations, 5, W + num_kept + 4)``, room for box sums.
    """
    height, width = previous.shape
    vertical, row = np.empty((3, width + 2 * REACH), np.float32), np.empty((5, width), np.float32)
    second[height] = _ZERO

    # Expand both pictures. The first is read along rows, so its coefficients stay in planes; the
    # second is read where the flow leads, so those of a pixel lie together.
    for y in range(height):
        c = first[y]
        _expand_row(previous, y, g, xg, xxg, inverse, vertical, c[0], c[1], c[2], c[3], c[4])
        _expand_row(
            following, y, g, xg, xxg, inverse, vertical, row[0], row[1], row[2], row[3], row[4]
        )
        _interleave(row[0], row[1], row[2], row[3], row[4], second[y].reshape(-1))

    # Split the flow into two planes.
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
