"""Maps over frames: colours of a map, and which map a frame gets."""

import cv2
import numpy as np

from train.video.overlay import TimedMaps, draw_map


def test_the_maximum_is_coloured_and_the_minimum_stays():
    picture = np.full((60, 80, 3), 100, np.uint8)
    peak = np.zeros((3, 4), np.float32)
    peak[0, 0] = 5
    drawn = draw_map(picture, peak, opacity=1.0)
    hottest = cv2.cvtColor(
        cv2.applyColorMap(np.uint8([[255]]), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB
    )[0, 0]
    np.testing.assert_allclose(drawn[2, 2], hottest, atol=3)
    np.testing.assert_allclose(drawn[-1, -1], 100, atol=2)
    np.testing.assert_allclose(
        draw_map(picture, np.zeros((3, 4), np.float32), opacity=1.0), picture, atol=1
    )


def test_each_frame_gets_the_nearest_map_and_the_later_of_two():
    maps = [np.full((1, 1), value) for value in range(3)]
    timed = TimedMaps(iter(maps), np.array([0.5, 1.5, 2.5]))

    found = [timed.find_nearest(time) for time in (0.0, 0.9, 1.0, 1.9, 2.0, 9.0)]
    assert [int(one[0, 0]) for one in found] == [0, 0, 1, 1, 2, 2]
