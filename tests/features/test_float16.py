"""Rounding to float16: NumPy's bits."""

import numpy as np
import pytest

from pipeline.features.float16 import to_float16


def bits(array):
    return np.ascontiguousarray(array).view(np.uint16)


def test_every_float16_and_what_lies_between_is_rounded_as_by_numpy():
    upper = (
        np.arange(1 << 19, dtype=np.uint32) << 13
    )  # sign, exponent and the bits of the fraction that float16 keeps
    below = np.uint32(
        [0, 1, 0x0FFF, 0x1000, 0x1001, 0x1FFF]
    )  # the rest: exact, near, and at half way
    array = (upper + below[:, None]).view(np.float32)
    array = array[:, np.isfinite(array).all(axis=0)]
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    assert np.array_equal(bits(to_float16(array)), bits(expected))


@pytest.mark.parametrize(
    "shape", [(0,), (1,), (4,), (4, 1), (1, 64), (64, 1), (65,), (2, 50, 51), (3, 4, 5, 6), (0, 5)]
)
def test_shape_and_values_are_kept(shape):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * np.float32(1e-5)
    converted = to_float16(array)
    assert converted.shape == shape
    assert converted.dtype == np.float16
    assert np.array_equal(bits(converted), bits(array.astype(np.float16)))


def test_views_are_converted_in_their_own_order():
    array = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32)
    for view in (array.T, array[::2], array[:, ::-3], array[5:, 7:].T):
        assert np.array_equal(bits(to_float16(view)), bits(view.astype(np.float16)))


def test_infinities_and_not_a_number_survive():
    converted = to_float16(np.float32([np.inf, -np.inf, np.nan, 1e30] * 20))
    assert np.array_equal(
        converted[:4], np.float16([np.inf, -np.inf, np.nan, np.inf]), equal_nan=True
    )
