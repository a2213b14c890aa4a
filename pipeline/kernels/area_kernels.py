"""The inner loops of ``pipeline.kernels.area_averages``, compiled by Numba: averages over areas of an 8-bit RGB picture.

Every operation is the one that OpenCV's code does, in its order and in float32 (no fused multiply-add). What makes it
faster: four rows are averaged at once, so that a vector instruction does twelve numbers where OpenCV's does one.

Importing this imports Numba, which takes a while; ``pipeline.kernels.area_averages`` does so when a picture is first resized.
"""

import functools

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.kernels.vector_code import find_data, load_vector, store_vector

NUM_ROWS = 4  # averaged along x at once
LANES = 4  # numbers a pixel: three colours, and what lies beside

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_BYTES, _FLOATS = (
    ir.VectorType(kind, NUM_ROWS * LANES) for kind in (ir.IntType(8), ir.FloatType())
)
_ROUNDING = (
    1.5 * 2**23
)  # added to and taken from a small float32, it leaves the nearest integer, ties to even


def _index(number):
    return ir.Constant(_INT32, number)


@intrinsic
def _sum_row_areas(
    typing_context, source, start, stride, positions, weights, first, stop, sums, pixel, length
):
    """Weighted sums of the pixels ``positions[first:stop]`` of four rows: to pixel ``pixel`` of four rows of sums."""
    integer = numba.int64
    signature = numba.void(
        source, integer, integer, positions, weights, integer, integer, sums, integer, integer
    )

    def generate(context, builder, signature, arguments):
        data_of = functools.partial(find_data, context, builder, signature, arguments)
        source, positions, weights, sums = (data_of(index) for index in (0, 3, 4, 7))
        rows = [builder.gep(source, [arguments[1]])]
        for _ in range(NUM_ROWS - 1):
            rows.append(builder.gep(rows[-1], [arguments[2]]))
        total = cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * NUM_ROWS * LANES))
        with cgutils.for_range_slice(
            builder, arguments[5], arguments[6], ir.Constant(_INT64, 1), _INT64
        ) as (tap, _):
            position = builder.load(builder.gep(positions, [tap]))
            pixels = ir.Constant(ir.VectorType(_INT32, NUM_ROWS), ir.Undefined)
            for index, row in enumerate(rows):
                loaded = load_vector(builder, row, position, _INT32, align=1)
                pixels = builder.insert_element(pixels, loaded, _index(index))
            undefined = ir.Constant(_FLOATS, ir.Undefined)
            weight = builder.insert_element(
                undefined, builder.load(builder.gep(weights, [tap])), _index(0)
            )
            spread = ir.Constant(ir.VectorType(_INT32, NUM_ROWS * LANES), [0] * NUM_ROWS * LANES)
            weight = builder.shuffle_vector(weight, undefined, spread)
            product = builder.fmul(builder.uitofp(builder.bitcast(pixels, _BYTES), _FLOATS), weight)
            builder.store(builder.fadd(builder.load(total), product), total)
        total = builder.load(total)
        position = builder.mul(arguments[8], ir.Constant(_INT64, LANES))
        for row in range(NUM_ROWS):
            lanes = ir.Constant(
                ir.VectorType(_INT32, LANES), [row * LANES + lane for lane in range(LANES)]
            )
            quarter = builder.shuffle_vector(total, ir.Constant(_FLOATS, ir.Undefined), lanes)
            store_vector(builder, quarter, sums, position)
            position = builder.add(position, arguments[9])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _store_pixels(typing_context, sums, pixel, target, position):
    """Round four pixels of a row of sums to bytes, three of each, at ``position`` of ``target``."""
    signature = numba.void(sums, numba.int64, target, numba.int64)

    def generate(context, builder, signature, arguments):
        data_of = functools.partial(find_data, context, builder, signature, arguments)
        position = builder.mul(arguments[1], ir.Constant(_INT64, LANES))
        values = load_vector(builder, data_of(0), position, _FLOATS)
        rounding = ir.Constant(_FLOATS, [_ROUNDING] * NUM_ROWS * LANES)
        rounded = builder.fsub(builder.fadd(values, rounding), rounding)
        integers = builder.fptosi(rounded, ir.VectorType(_INT32, NUM_ROWS * LANES))
        packed = builder.trunc(integers, _BYTES)
        kept = [lane for lane in range(NUM_ROWS * LANES) if lane % LANES != LANES - 1]
        kept = ir.Constant(ir.VectorType(_INT32, len(kept)), kept)
        packed = builder.shuffle_vector(packed, ir.Constant(_BYTES, ir.Undefined), kept)
        store_vector(builder, packed, data_of(2), arguments[3], align=1)
        return context.get_dummy_value()

    return signature, generate


def compile_average_rows():
    """``average_rows``, compiled at its first call or loaded from Numba's cache. Raises RuntimeError where no folder
    for it can be written.
    """
    return numba.njit(_average_rows, cache=True, error_model="numpy", nogil=True)


def _average_rows(
    source, end, height, x_first, x_positions, x_weights, y_first, y_rows, y_weights, target
):
    """Fill ``target``, uint8 ``(height, width * 3)``, with averages of ``source``, uint8 of ``height * stride`` bytes.

    ``end``: its last four rows and at least one byte more. Areas along x: of column x, numbers ``x_first[x]`` to
    ``x_first[x + 1]`` of byte positions in a row and weights; along y likewise, of rows.
    """
    stride = source.size // height
    width = x_first.size - 1
    length = width * LANES
    along_x = np.empty((NUM_ROWS, length), np.float32)
    sums = np.empty(length, np.float32)
    top = -NUM_ROWS
    for y in range(y_first.size - 1):
        for tap in range(y_first[y], y_first[y + 1]):
            if y_rows[tap] >= top + NUM_ROWS:
                top = min(y_rows[tap], height - NUM_ROWS)
                piece, start = (end, 0) if top == height - NUM_ROWS else (source, top * stride)
                for x in range(width):
                    _sum_row_areas(
                        piece,
                        start,
                        stride,
                        x_positions,
                        x_weights,
                        x_first[x],
                        x_first[x + 1],
                        along_x,
                        x,
                        length,
                    )
            row, weight = along_x[y_rows[tap] - top], y_weights[tap]
            if tap == y_first[y]:
                for x in range(length):
                    sums[x] = row[x] * weight
            else:
                for x in range(length):
                    sums[x] += row[x] * weight
        for x in range(0, width - 3, 4):
            _store_pixels(sums, x, target, (y * width + x) * 3)
        _store_pixels(sums, width - 4, target, (y * width + width - 4) * 3)
