"""Maps over time: they pass through a file, and a time without a map is NaN there."""

import numpy as np

from pipeline.base.progress import Progress
from pipeline.features.feature import Extracted
from train.video.localization import choose_times
from train.video.video_maps import MapRecorder


def test_times_without_a_map_are_nan_and_the_first_reason_is_kept(tmp_path):
    failures = [Extracted(None, reason="corrupt", detail=f"failure {i}") for i in range(2)]
    values = [failures[0], np.ones((2, 3)), failures[1], np.full((2, 3), 2.0)]
    recorder = MapRecorder(tmp_path / "maps.npy", len(values))
    with Progress(len(values), "maps", is_quiet=True) as progress:
        passed = list(recorder.record(iter(values), progress))
    assert [one is None for one in passed] == [True, False, True, False]
    assert recorder.num_maps == 2
    assert recorder.first_failure is failures[0]
    assert str(recorder.make_error(tmp_path)).endswith("no map at any time: failure 0")

    recorder.publish(tmp_path / "maps.npz", times_seconds=np.arange(4.0))
    with np.load(tmp_path / "maps.npz") as content:
        np.testing.assert_array_equal(content["maps"][:, 0, 0], [np.nan, 1, np.nan, 2])
        np.testing.assert_array_equal(content["times_seconds"], np.arange(4.0))


def test_maps_lie_in_the_middle_of_their_part_and_before_the_end():
    np.testing.assert_allclose(choose_times(1.5, 2.0), [0.25, 0.75, 1.25])
    np.testing.assert_allclose(choose_times(0.1, 2.0), [0.099])
