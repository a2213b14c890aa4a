"""Shrinking by area averages equals OpenCV's, to the last bit."""

import cv2
import numpy as np
import pytest

from pipeline.kernels import area_averages, area_kernels
from pipeline.kernels.area_averages import average_areas, find_areas, load_average_rows


def make_noise(height, width, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(image, height, width):
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    assert np.array_equal(average_areas(image, height=height, width=width), expected)


def test_the_fast_one_is_used_here():
    assert load_average_rows() is not None


@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((256, 288), (246, 277)),
        ((720, 1280), (246, 437)),
        ((720, 1280), (64, 114)),
        ((247, 431), (246, 430)),
        ((320, 568), (320, 433)),
        ((1000, 500), (492, 246)),
        ((568, 320), (437, 320)),
        ((2000, 7), (30, 5)),
    ],
)
def test_usual_sizes(size, new_size):
    assert_same(make_noise(*size), *new_size)


def test_any_size():
    rng = np.random.default_rng(1)
    for seed in range(150):
        height, width = rng.integers(1, 120, 2)
        assert_same(
            make_noise(height, width, seed=seed),
            rng.integers(1, height + 1),
            rng.integers(1, width + 1),
        )


def test_other_pictures_are_opencvs():
    rng = np.random.default_rng(2)
    assert_same(rng.standard_normal((70, 90, 2)).astype(np.float32), 31, 40)
    assert_same(rng.integers(0, 256, (70, 90), dtype=np.uint8), 31, 40)
    assert_same(rng.integers(0, 256, (70, 90, 4), dtype=np.uint8), 31, 40)
    assert_same(make_noise(70, 90)[:, ::-1], 31, 40)
    locked = make_noise(70, 90)
    locked.flags.writeable = False
    assert_same(locked, 31, 40)


def test_black_and_white_stay_what_they_are():
    for value in (0, 255):
        assert (
            average_areas(np.full((133, 211, 3), value, np.uint8), height=57, width=100) == value
        ).all()


def test_areas_are_shares_of_one():
    first, pixels, weights = find_areas(7, 3)  # each pixel covers two and a third
    assert first.tolist() == [0, 3, 6, 9]
    assert pixels.tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert weights == pytest.approx(np.array([3, 3, 1, 2, 3, 2, 1, 3, 3]) / 7)


@pytest.fixture
def fresh():
    load_average_rows.cache_clear()
    yield
    load_average_rows.cache_clear()


def test_a_single_wrong_number_is_noticed(fresh, monkeypatch):
    average_rows = area_kernels.compile_average_rows()

    def average_nearly(*arguments):
        average_rows(*arguments)
        arguments[-1][77] += 1

    monkeypatch.setattr(area_kernels, "compile_average_rows", lambda: average_nearly)
    assert load_average_rows() is None
    assert_same(make_noise(70, 90), 31, 40)


def test_one_compilation_serves_all_sizes():
    for height, width in ((50, 60), (16, 100), (99, 33)):
        area_averages.average_areas(make_noise(height, width), height=height - 3, width=width - 7)
    average_rows = load_average_rows()
    assert average_rows is None or len(average_rows.signatures) == 1
