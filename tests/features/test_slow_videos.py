"""Videos with fewer pictures a second than a feature takes are counted before it is computed."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.features import flow, frames, sequences
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from stages.feature import describe_slow_videos
from tests.helpers.media.clip_factory import make_clip

DOWNLOADS = pa.table({"fps": [25.0, 23.976, None, 16.0]})


def test_flow_of_more_pictures_than_there_are_is_nothing(tmp_path):
    """Why it is told: at twice the rate, every pair of this clip is one picture."""
    path = make_clip(tmp_path / "clip.mp4", fps="25", seconds=2)
    feature = flow.make_feature(flow.Parameters(fps=60, context_seconds=1 / 60))
    moments = [Moment(str(time), time) for time in np.linspace(0.3, 1.5, 5)]
    found = [one["flow"].array for one in extract_features(path, moments, [feature])]
    assert any((array == 0).all() for array in found)
    assert describe_slow_videos(feature, pa.table({"fps": [25.0]})) == (
        "flow takes 60 pictures a second, and 1 of 1 clips have fewer (one has 25): there, some "
        "are the same picture again, which has no motion"
    )


@pytest.mark.parametrize(
    ("feature", "number"),
    [
        (flow.make_feature(flow.Parameters()), None),
        (flow.make_feature(flow.Parameters(fps=20)), "1 of 3 clips"),
        (sequences.make_feature(sequences.Parameters()), "1 of 3 clips"),
        (frames.make_feature(frames.Parameters()), None),
    ],
)
def test_clips_are_counted(feature, number):
    note = describe_slow_videos(feature, DOWNLOADS)
    assert note is None if number is None else f", and {number} have fewer (one has 16)" in note
