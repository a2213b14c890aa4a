"""Vector code for ``farneback_loops`` that compilers do not find by themselves, written for LLVM.

Numba's cache does not notice a change of this file alone: change ``farneback_loops`` with it.
"""

import functools

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # floats of a pixel in the coefficients of the second picture: five and padding

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FOUR, _FOUR_WIDE = ir.VectorType(ir.FloatType(), 4), ir.VectorType(ir.DoubleType(), 4)
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


_ALIGN = 4  # bytes; arrays of floats need not begin at a multiple of a vector


def _find_data(context, builder, signature, arguments, index):
    """Return the pointer to the numbers of the array that is argument ``index``."""
    return context.make_array(signature.args[index])(context, builder, arguments[index]).data


def _load_vector(builder, data, position, kind):
    """Load a vector (or a number) of type ``kind`` from a position of an array on."""
    loaded = builder.load(builder.bitcast(builder.gep(data, [position]), kind.as_pointer()))
    loaded.align = _ALIGN
    return loaded


def _store_vector(builder, vector, data, position):
    """Store a vector in an array from a position on."""
    builder.store(
        vector, builder.bitcast(builder.gep(data, [position]), vector.type.as_pointer())
    ).align = _ALIGN


def _shuffle(builder, first, second, lanes):
    return builder.shuffle_vector(
        first, second, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)
    )


def _emit_bilinear(builder, data, positions, weights, pixel):
    """Vector code for one pixel: its coefficients, weighted sums of four neighbours'."""
    total = None
    for position, plane in zip(positions, weights, strict=True):
        weight = builder.load(builder.gep(plane, [pixel]))
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        spread = builder.insert_element(undefined, weight, ir.Constant(_INT32, 0))
        spread = _shuffle(builder, spread, undefined, [0] * LANES)
        neighbour = _load_vector(builder, data, position, _VECTOR)
        product = builder.fmul(spread, neighbour)
        total = product if total is None else builder.fadd(total, product)
    return total


def _emit_transposed(builder, rows, count):
    """The first ``count`` rows of the transpose of eight vectors of eight."""
    low = [
        _shuffle(builder, rows[k], rows[k + 1], [0, 8, 1, 9, 4, 12, 5, 13]) for k in (0, 2, 4, 6)
    ]
    high = [
        _shuffle(builder, rows[k], rows[k + 1], [2, 10, 3, 11, 6, 14, 7, 15]) for k in (0, 2, 4, 6)
    ]
    quads = []
    for four in (low, high):
        for lanes in ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]):
            quads.append([_shuffle(builder, four[k], four[k + 1], lanes) for k in (0, 2)])
    first, last = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    columns = [(*quad, lanes) for lanes in (first, last) for quad in quads]
    return [_shuffle(builder, one, other, lanes) for one, other, lanes in columns[:count]]


def _emit_transposed_four(builder, rows):
    """The transpose of four vectors of four."""
    low = [_shuffle(builder, rows[k], rows[k + 1], [0, 4, 2, 6]) for k in (0, 2)]
    high = [_shuffle(builder, rows[k], rows[k + 1], [1, 5, 3, 7]) for k in (0, 2)]
    return [
        _shuffle(builder, one, other, lanes)
        for lanes in ([0, 1, 4, 5], [2, 3, 6, 7])
        for one, other in (low, high)
    ]


@intrinsic
def sample_eight(
    typing_context, source, stride, positions, w00, w01, w10, w11, x, q0, q1, q2, q3, q4
):
    """Bilinear samples of eight pixels from ``x`` on: coefficients of ``source`` at ``positions``
    into planes.
    """
    weights, planes = (w00, w01, w10, w11), (q0, q1, q2, q3, q4)
    signature = numba.void(source, numba.int64, positions, *weights, numba.int64, *planes)

    def generate(context, builder, signature, arguments):
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        data, stride, start = data_of(0), arguments[1], arguments[7]
        right = ir.Constant(_INT64, LANES)
        pixels = []
        for offset in range(LANES):
            pixel = builder.add(start, ir.Constant(_INT64, offset))
            above = builder.zext(builder.load(builder.gep(data_of(2), [pixel])), _INT64)
            below = builder.add(above, stride)
            corners = [above, builder.add(above, right), below, builder.add(below, right)]
            pixels.append(
                _emit_bilinear(builder, data, corners, [data_of(k) for k in (3, 4, 5, 6)], pixel)
            )
        for index, plane in enumerate(_emit_transposed(builder, pixels, 5)):
            _store_vector(builder, plane, data_of(8 + index), start)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def interleave_eight(typing_context, c0, c1, c2, c3, c4, x, pixels):
    """Coefficients of eight pixels from ``x`` on, from planes to vectors of a pixel."""
    signature = numba.void(c0, c1, c2, c3, c4, numba.int64, pixels)

    def generate(context, builder, signature, arguments):
        planes = [_find_data(context, builder, signature, arguments, index) for index in range(5)]
        start, pixels = arguments[5], _find_data(context, builder, signature, arguments, 6)
        rows = [_load_vector(builder, plane, start, _VECTOR) for plane in planes]
        rows += [ir.Constant(_VECTOR, [0.0] * LANES)] * 3
        first = builder.mul(start, ir.Constant(_INT64, LANES))
        for offset, pixel in enumerate(_emit_transposed(builder, rows, LANES)):
            position = builder.add(first, ir.Constant(_INT64, offset * LANES))
            _store_vector(builder, pixel, pixels, position)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def slide_four(typing_context, e0, e1, e2, e3, l0, l1, l2, l3, x, sums, position):
    """Add ``e - l`` of four pixels from ``x`` on to sums that lie together by pixel, from
    ``position`` on.
    """
    signature = numba.void(e0, e1, e2, e3, l0, l1, l2, l3, numba.int64, sums, numba.int64)

    def generate(context, builder, signature, arguments):
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        start, position, changes = arguments[8], arguments[10], []
        for plane in range(4):
            entering, leaving = (
                _load_vector(builder, data_of(plane + k), start, _FOUR) for k in (0, 4)
            )
            changes.append(builder.fpext(builder.fsub(entering, leaving), _FOUR_WIDE))
        for offset, change in enumerate(_emit_transposed_four(builder, changes)):
            place = builder.add(position, ir.Constant(_INT64, 4 * offset))
            total = _load_vector(builder, data_of(9), place, _FOUR_WIDE)
            _store_vector(builder, builder.fadd(total, change), data_of(9), place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def run_sums(typing_context, fours, fifths, before, ahead, count, t0, t1, t2, t3, t4):
    """Running sums: from those ``before`` on, ``sum += s[x + ahead] - s[x]``; ``count`` is a
    multiple of four.
    """
    signature = numba.void(fours, fifths, before, numba.int64, numba.int64, t0, t1, t2, t3, t4)

    def generate(context, builder, signature, arguments):
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        fours, fifths, ahead, count = data_of(0), data_of(1), arguments[3], arguments[4]
        four, wide = ir.Constant(_INT64, 4), ir.DoubleType()
        total = cgutils.alloca_once_value(
            builder, _load_vector(builder, data_of(2), ir.Constant(_INT64, 0), _FOUR_WIDE)
        )
        fifth = cgutils.alloca_once_value(builder, _load_vector(builder, data_of(2), four, wide))
        with cgutils.for_range_slice(builder, ir.Constant(_INT64, 0), count, four, _INT64) as (
            start,
            _,
        ):
            totals = []
            for offset in range(4):
                x = builder.add(start, ir.Constant(_INT64, offset))
                coming = builder.add(x, ahead)
                change = builder.fsub(
                    _load_vector(builder, fours, builder.mul(coming, four), _FOUR_WIDE),
                    _load_vector(builder, fours, builder.mul(x, four), _FOUR_WIDE),
                )
                totals.append(builder.fadd(builder.load(total), change))
                builder.store(totals[-1], total)
                change = builder.fsub(
                    _load_vector(builder, fifths, coming, wide),
                    _load_vector(builder, fifths, x, wide),
                )
                builder.store(builder.fadd(builder.load(fifth), change), fifth)
                builder.store(builder.load(fifth), builder.gep(data_of(9), [x]))
            for index, plane in enumerate(_emit_transposed_four(builder, totals)):
                _store_vector(builder, plane, data_of(5 + index), start)
        return context.get_dummy_value()

    return signature, generate
