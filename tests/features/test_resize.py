"""The size of cached pictures."""

from fractions import Fraction

import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.frames import Parameters, make_feature
from pipeline.features.resize import fit_short_side, resize_stored
from tests.helpers.media.clip_factory import make_clip


@pytest.mark.parametrize(
    ("size", "pixel_aspect", "expected"),
    [
        ((480, 640), 1, (240, 320)),
        ((640, 480), 1, (320, 240)),
        ((576, 720), Fraction(16, 15), (240, 320)),
        ((10, 320), 1, (240, 7680)),  # the longest picture that is taken
        ((320, 10), 1, (7680, 240)),
    ],
)
def test_the_shown_aspect_is_kept(size, pixel_aspect, expected):
    aspect = Fraction(pixel_aspect)
    assert fit_short_side(*size, short_side=240, pixel_aspect=aspect) == expected


@pytest.mark.parametrize("size", [(2, 16384), (65535, 1), (10, 321), (321, 10)])
def test_a_strip_is_refused_with_its_size(size):
    height, width = size
    with pytest.raises(MediaError, match=rf"{width} pixels wide and {height} high") as caught:
        fit_short_side(height, width, short_side=246)
    assert caught.value.reason == "corrupt"


def test_a_smaller_picture_has_the_means_of_areas():
    image = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    means = image.reshape(100, 4, 150, 4, 3).mean((1, 3))
    assert np.abs(resize_stored(image, height=100, width=150) - means).max() <= 0.5


def test_a_clip_of_strips_has_a_reason_and_takes_no_memory(tmp_path):
    path = make_clip(tmp_path / "strip.mkv", "-c:v", "ffv1", size="2048x2", seconds=0.2, sound=None)
    (extracted,) = extract_features(path, [Moment("strip", 0.1)], [make_feature(Parameters())])
    assert extracted["frames"].reason == "corrupt"
    assert "strip.mkv: its picture is 2048 pixels wide and 2 high" in extracted["frames"].detail
