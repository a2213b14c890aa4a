"""What the page outlines in a map is what the protocol has scored."""

import cv2
import numpy as np
import pytest

from eval.report.gallery.contours import trace_marked
from eval.scoring.ground_truth import GRID, GroundTruth
from eval.scoring.protocols import PROTOCOLS
from eval.scoring.score_maps import score_maps


def fill(path):
    """Return the pixels inside of a path, as an SVG drawing fills it (evenodd)."""
    mask = np.zeros((GRID, GRID), np.uint8)
    pieces = [piece for piece in path.replace("M", "").split("Z") if piece]
    outlines = [
        np.array([tuple(map(int, point.split(","))) for point in piece.split()], np.int32)
        for piece in pieces
    ]
    cv2.fillPoly(mask, outlines, 1)
    return mask.astype(bool)


@pytest.mark.parametrize("name", ["earshot", "lvs", "ezvsl", "htf", "flowgrad", "sspl"])
def test_the_outline_surrounds_what_is_scored(name):
    y, x = np.mgrid[0:14, 0:14]
    bump = np.exp(-((x - 9) ** 2 + (y - 5) ** 2) / 8).astype(np.float32)
    truth = GroundTruth(np.array([[100, 40, 180, 120]]))
    protocol = PROTOCOLS[name]
    scored = score_maps([bump], [truth], protocol=protocol).ciou[0]

    path = trace_marked(bump, truth, protocol=protocol, scored=scored)
    inside = fill(path)
    box = truth.levels() > 0
    drawn = (inside & box).sum() / (inside | box).sum()
    assert abs(drawn - scored) < 0.03


def test_a_ring_has_a_hole():
    y, x = np.mgrid[0:56, 0:56]
    radius = np.hypot(x - 28, y - 28)
    ring = np.exp(-((radius - 16) ** 2) / 8).astype(np.float32)
    truth = GroundTruth(np.array([[0, 0, 100, 100]]))
    scored = score_maps([ring], [truth], protocol=PROTOCOLS["earshot"]).ciou[0]
    path = trace_marked(ring, truth, protocol=PROTOCOLS["earshot"], scored=scored)
    assert path.count("M") == 2
    assert not fill(path)[112, 112]


def test_a_map_that_was_scored_otherwise_has_no_outline():
    truth = GroundTruth(np.array([[0, 0, 100, 100]]))
    bump = np.zeros((7, 7), np.float32)
    bump[0, 0] = 1
    assert trace_marked(bump, truth, protocol=PROTOCOLS["earshot"], scored=0.05) is None
