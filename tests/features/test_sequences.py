"""The feature ``sequences``: the frames around a moment, in one size."""

import numpy as np
import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.sequences import Parameters, make_feature
from tests.helpers.media.clip_factory import make_clip


def test_frames_around_a_moment(tmp_path):
    path = make_clip(
        tmp_path / "a.mkv",
        *("-c:v", "ffv1", "-pix_fmt", "bgr0"),
        size="96x64",
        fps="25",
        seconds=2,
        sound=None,
    )
    feature = make_feature(Parameters(num_frames=5, size=32))
    moments = [Moment("middle", 1.01), Moment("first", 0.0), Moment("late", 9.0)]
    middle, first, late = (one["sequences"] for one in extract_features(path, moments, [feature]))
    assert middle.array.shape == (5, 32, 32, 3)
    assert middle.array.dtype == np.uint8
    assert middle.attributes["num_different"] == 5
    assert (middle.attributes["native_height"], middle.attributes["native_width"]) == (64, 96)

    # Beyond the ends of the clip its first and last frames repeat.
    assert first.attributes["num_different"] == 3
    assert (first.array[:3] == first.array[0]).all()
    assert (first.array[2] != first.array[3]).any()
    assert late.attributes["num_different"] == 1


def test_a_slower_clip_repeats_its_frames(tmp_path):
    path = make_clip(tmp_path / "a.mp4", size="64x64", fps="5", seconds=2, sound=None)
    feature = make_feature(Parameters(num_frames=9, size=16))
    (found,) = extract_features(path, [Moment("a", 1.0)], [feature])
    assert found["sequences"].attributes["num_different"] == 2


def test_parameters_name_what_is_wrong():
    for settings, words in [
        ({"num_frames": 8}, "num_frames is 8, expected an odd number"),
        ({"fps": 0.0}, r"fps is 0\.0, expected above 0"),
        ({"size": 0}, "size is 0, expected 1 to 4096"),
    ]:
        with pytest.raises(ParameterError, match=words):
            build(Parameters, settings, "sequence")
