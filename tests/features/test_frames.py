"""The feature ``frames``."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from earshot.errors import MediaError, ParameterError
from pipeline.base.parameters import build
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.frames import Parameters, make_feature, resize_frame
from pipeline.features.resize import fit_short_side
from tests.helpers.media.clip_factory import make_clip


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (246, 437)),
        ((1280, 720), (437, 246)),
        ((225, 400), (246, 437)),
        ((246, 246), (246, 246)),
    ],
)
def test_short_side_is_246_and_the_aspect_is_kept(size, expected):
    assert fit_short_side(*size, short_side=246) == expected
    resized = resize_frame(np.zeros((*size, 3), np.uint8), short_side=246)
    assert resized.shape == (*expected, 3)
    assert resized.dtype == np.uint8


def test_pixels_that_are_not_square_are_shown_as_meant():
    assert fit_short_side(576, 720, short_side=246, pixel_aspect=Fraction(16, 15)) == (
        246,
        328,
    )  # 4:3
    assert fit_short_side(720, 576, short_side=246, pixel_aspect=Fraction(15, 16)) == (
        328,
        246,
    )  # the same, on its side
    assert fit_short_side(480, 640, short_side=246, pixel_aspect=Fraction(1, 2)) == (369, 246)


def test_extreme_shapes_keep_at_least_a_pixel():
    assert fit_short_side(64, 2, short_side=246) == (7872, 246)
    with pytest.raises(MediaError, match="2 pixels wide and 4000 high"):
        fit_short_side(4000, 2, short_side=246)
    assert fit_short_side(1, 1, short_side=1) == (1, 1)


def test_shrinking_averages_and_enlarging_interpolates():
    checkered = np.zeros((492, 492, 3), np.uint8)
    checkered[::2, 1::2] = checkered[1::2, ::2] = 200
    assert np.abs(resize_frame(checkered, short_side=246).astype(int) - 100).max() <= 1
    small = np.random.default_rng(0).integers(0, 256, (123, 200, 3), dtype=np.uint8)
    expected = cv2.resize(small, (400, 246), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(resize_frame(small, short_side=246), expected)


def test_feature_is_the_frame_shown_at_the_moment(tmp_path):
    path = make_clip(
        tmp_path / "a.mkv",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "bgr0",
        size="492x300",
        fps="10",
        seconds=2,
        sound=None,
    )
    feature = make_feature(Parameters(short_side=150))
    moments = [
        Moment("late", 1.5),
        Moment("centre", None),
        Moment("early", 0.349),
        Moment("past", 9.0),
    ]
    frames = [one["frames"] for one in extract_features(path, moments, [feature])]
    assert [frame.array.shape for frame in frames] == [(150, 246, 3)] * 4
    assert [frame.attributes["frame_seconds"] for frame in frames] == pytest.approx(
        [1.5, 1.0, 0.3, 1.9]
    )
    assert {
        (frame.attributes["native_height"], frame.attributes["native_width"]) for frame in frames
    } == {(300, 492)}


def test_parameters_name_what_is_wrong():
    assert build(Parameters, {}, "frames").short_side == 246
    with pytest.raises(ParameterError, match=r"frames: short_side is 0, expected 1 to 4096"):
        build(Parameters, {"short_side": 0}, "frames")
    with pytest.raises(ParameterError, match=r"unknown key frames\.size"):
        build(Parameters, {"size": 1}, "frames")
