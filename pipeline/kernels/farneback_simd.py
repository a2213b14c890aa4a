"""Vector code for ``farneback_loops`` that compilers do not find by themselves, written for LLVM.

Each ``@intrinsic`` is called from compiled code like a function. Numba calls its ``generate`` while
compiling, to write LLVM instructions in place of the call. The ``_emit`` helpers write those that
several intrinsics share. No instruction has a fast-math flag, so LLVM keeps the order of
additions, and every lane has the bits of the scalar code.

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
    """Pick ``lanes`` out of two vectors; lanes of the second are counted on after the first."""
    return builder.shuffle_vector(
        first, second, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)
    )


def _emit_bilinear(builder, data, positions, weights, pixel):
    """Sum the coefficients of four neighbours, weighted; return one pixel's vector of LANES."""
    total = None
    for position, plane in zip(positions, weights, strict=True):
        # The weight of this neighbour, copied into all lanes.
        weight = builder.load(builder.gep(plane, [pixel]))
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        spread = builder.insert_element(undefined, weight, ir.Constant(_INT32, 0))
        spread = _shuffle(builder, spread, undefined, [0] * LANES)

        # A multiplication, then an addition: one fused instruction would round once, not twice.
        neighbour = _load_vector(builder, data, position, _VECTOR)
        product = builder.fmul(spread, neighbour)
        total = product if total is None else builder.fadd(total, product)
    return total


def _emit_transposed(builder, rows, count):
    """Return the first ``count`` rows of the transpose of eight vectors of eight floats.

    The first two steps move floats only within a half of a vector. AVX moves them faster within a
    half than across.
    """
    # Pairs of rows, interleaved: columns 0, 1, 4, 5 in ``low`` and 2, 3, 6, 7 in ``high``.
    low = [
        _shuffle(builder, rows[k], rows[k + 1], [0, 8, 1, 9, 4, 12, 5, 13]) for k in (0, 2, 4, 6)
    ]
    high = [
        _shuffle(builder, rows[k], rows[k + 1], [2, 10, 3, 11, 6, 14, 7, 15]) for k in (0, 2, 4, 6)
    ]

    # Pairs of pairs: a column of four rows in each half of a vector.
    quads = []
    for four in (low, high):
        for lanes in ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]):
            quads.append([_shuffle(builder, four[k], four[k + 1], lanes) for k in (0, 2)])

    # Halves that belong together: columns 0 to 3 from the first halves, 4 to 7 from the last.
    first, last = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    columns = [(*quad, lanes) for lanes in (first, last) for quad in quads]
    return [_shuffle(builder, one, other, lanes) for one, other, lanes in columns[:count]]


def _emit_transposed_four(builder, rows):
    """Return the transpose of four vectors of four numbers."""
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
    """Sample the coefficients of eight pixels from ``x`` on, bilinearly.

    ``source`` is float32 and flat: LANES floats for each pixel, ``stride`` floats for each row.
    ``positions`` (int32), the weights ``w00`` to ``w11`` and the planes ``q0`` to ``q4`` (float32)
    hold one number for each pixel of the row. The planes receive the samples.
    """
    weights, planes = (w00, w01, w10, w11), (q0, q1, q2, q3, q4)
    signature = numba.void(source, numba.int64, positions, *weights, numba.int64, *planes)

    def generate(context, builder, signature, arguments):
        """Write the instructions: four loads a pixel, then a transpose into planes."""
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        data, stride, start = data_of(0), arguments[1], arguments[7]
        right = ir.Constant(_INT64, LANES)

        # One vector a pixel: the four neighbours lie side by side and one row apart.
        pixels = []
        for offset in range(LANES):
            pixel = builder.add(start, ir.Constant(_INT64, offset))
            above = builder.zext(builder.load(builder.gep(data_of(2), [pixel])), _INT64)
            below = builder.add(above, stride)
            corners = [above, builder.add(above, right), below, builder.add(below, right)]
            pixels.append(
                _emit_bilinear(builder, data, corners, [data_of(k) for k in (3, 4, 5, 6)], pixel)
            )

        # One vector a plane; the three planes of padding are not stored.
        for index, plane in enumerate(_emit_transposed(builder, pixels, 5)):
            _store_vector(builder, plane, data_of(8 + index), start)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def interleave_eight(typing_context, c0, c1, c2, c3, c4, x, pixels):
    """Store the coefficients of eight pixels from ``x`` on by pixel.

    Reads the float32 planes ``c0`` to ``c4``, ``(W,)``; writes to ``pixels``, ``(W * LANES,)``.
    """
    signature = numba.void(c0, c1, c2, c3, c4, numba.int64, pixels)

    def generate(context, builder, signature, arguments):
        """Write the instructions: load five planes, transpose, store eight pixels."""
        planes = [_find_data(context, builder, signature, arguments, index) for index in range(5)]
        start, pixels = arguments[5], _find_data(context, builder, signature, arguments, 6)

        # Five planes and three of zeros: padding makes a pixel a whole vector.
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
    """Add ``e - l`` of four pixels from ``x`` on to their sums, from ``position`` on.

    The rows ``e0`` to ``l3`` are float32 planes. In ``sums``, float64, the four sums of a pixel
    lie together.
    """
    signature = numba.void(e0, e1, e2, e3, l0, l1, l2, l3, numba.int64, sums, numba.int64)

    def generate(context, builder, signature, arguments):
        """Write the instructions: differences by plane, transpose, sums by pixel."""
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        start, position, changes = arguments[8], arguments[10], []

        # Four pixels of a plane: subtract in float32, then widen, as OpenCV does.
        for plane in range(4):
            entering, leaving = (
                _load_vector(builder, data_of(plane + k), start, _FOUR) for k in (0, 4)
            )
            changes.append(builder.fpext(builder.fsub(entering, leaving), _FOUR_WIDE))

        # Four planes of a pixel: add to its sums.
        for offset, change in enumerate(_emit_transposed_four(builder, changes)):
            place = builder.add(position, ir.Constant(_INT64, 4 * offset))
            total = _load_vector(builder, data_of(9), place, _FOUR_WIDE)
            _store_vector(builder, builder.fadd(total, change), data_of(9), place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def run_sums(typing_context, fours, fifths, before, ahead, count, t0, t1, t2, t3, t4):
    """Compute running sums: ``sum += s[x + ahead] - s[x]`` for ``count`` columns.

    They start from the five sums in ``before``. ``fours`` and ``fifths`` are laid out as in
    ``farneback_loops._slide``; the sums go to the planes ``t0`` to ``t4``. All are float64.
    ``count`` is a multiple of four.

    A running sum cannot be split along the row without changing its bits. Its vector lanes are
    therefore the four planes of one column.
    """
    signature = numba.void(fours, fifths, before, numba.int64, numba.int64, t0, t1, t2, t3, t4)

    def generate(context, builder, signature, arguments):
        """Write the instructions: a loop over columns that carries the five sums."""
        data_of = functools.partial(_find_data, context, builder, signature, arguments)
        fours, fifths, ahead, count = data_of(0), data_of(1), arguments[3], arguments[4]
        four, wide = ir.Constant(_INT64, 4), ir.DoubleType()

        # The running sums are variables of the loop: one vector of four, and the fifth alone.
        total = cgutils.alloca_once_value(
            builder, _load_vector(builder, data_of(2), ir.Constant(_INT64, 0), _FOUR_WIDE)
        )
        fifth = cgutils.alloca_once_value(builder, _load_vector(builder, data_of(2), four, wide))

        # Four columns a turn, so that results can be stored as vectors.
        with cgutils.for_range_slice(builder, ir.Constant(_INT64, 0), count, four, _INT64) as (
            start,
            _,
        ):
            totals = []
            for offset in range(4):
                x = builder.add(start, ir.Constant(_INT64, offset))
                coming = builder.add(x, ahead)

                # The first four planes of this column, in one vector.
                change = builder.fsub(
                    _load_vector(builder, fours, builder.mul(coming, four), _FOUR_WIDE),
                    _load_vector(builder, fours, builder.mul(x, four), _FOUR_WIDE),
                )
                totals.append(builder.fadd(builder.load(total), change))
                builder.store(totals[-1], total)

                # The fifth plane, stored at once.
                change = builder.fsub(
                    _load_vector(builder, fifths, coming, wide),
                    _load_vector(builder, fifths, x, wide),
                )
                builder.store(builder.fadd(builder.load(fifth), change), fifth)
                builder.store(builder.load(fifth), builder.gep(data_of(9), [x]))

            # From one vector a column to one vector a plane.
            for index, plane in enumerate(_emit_transposed_four(builder, totals)):
                _store_vector(builder, plane, data_of(5 + index), start)
        return context.get_dummy_value()

    return signature, generate
