"""Baselines without training."""

import numpy as np
import pytest

from earshot.errors import DataError, ParameterError
from eval.entrants.baselines import (
    CENTRE_SIDE,
    FLOW_BASELINES,
    make_baseline,
    make_centre_map,
    make_flow_map,
    make_random_map,
    make_uniform_map,
)
from eval.scoring.ground_truth import make_ground_truth
from eval.scoring.protocols import PROTOCOLS
from eval.scoring.score_maps import score_maps
from tests.helpers.scoring.score_examples import evaluate_maps, make_samples


def test_centre_is_a_square_of_158_pixels_at_half():
    marked = make_centre_map() >= 0.5
    assert marked.sum() == CENTRE_SIDE**2
    assert marked[33:191, 33:191].all()
    np.testing.assert_array_equal(make_centre_map(), make_centre_map()[::-1, ::-1])
    box = [[33 / 224 + 1e-9, 33 / 224 + 1e-9, 191 / 224 + 1e-9, 191 / 224 + 1e-9]]
    truth = make_ground_truth(box, rule="union")
    for name in ("lvs", "htf", "rcgrad", "flowgrad", "earshot"):
        assert score_maps([make_centre_map()], [truth], protocol=PROTOCOLS[name]).ciou[0] == 1, name
    assert (
        score_maps([make_centre_map()], [truth], protocol=PROTOCOLS["ezvsl"]).ciou[0] > 0.97
    )  # a ring of ties more


def test_random_depends_on_the_id_and_seed_alone():
    np.testing.assert_array_equal(make_random_map("a"), make_random_map("a"))
    assert not np.array_equal(make_random_map("a"), make_random_map("b"))
    assert not np.array_equal(make_random_map("a"), make_random_map("a", seed=1))
    assert make_uniform_map().min() == make_uniform_map().max() == 1


def test_flow_codings_lose_what_their_authors_lost():
    flow = np.zeros((2, 224, 224), np.float32)
    flow[0, :, :56] = -3.0  # leftward
    flow[1, :, 56:112] = 4.0  # downward
    flow[0, :, 112:168] = 0.4  # slow
    flow[0, :, 168:] = 300.0
    signed, flowgrad, htf = (
        make_flow_map(flow, coding=coding) for coding in ("signed", "flowgrad", "htf")
    )
    columns = [20, 80, 140, 200]
    np.testing.assert_allclose(signed[100, columns], [3, 4, 0.4, 300], rtol=1e-6)
    assert flowgrad[100, columns].tolist() == [3, 4, 0, 255]
    np.testing.assert_allclose(htf[100, columns], [0, 4, 0, 255], rtol=1e-6)
    with pytest.raises(
        DataError, match=r"flow has shape \(224, 224\), expected \(2, height, width\)"
    ):
        make_flow_map(flow[0])


def test_all_flow_baselines_are_in_pixels_and_not_normalized_under_flowgrad():
    class Reader:
        def read(self, sample_id):
            return np.full((2, 8, 8), 0.1, np.float16)  # slower than half a pixel everywhere

    samples = make_samples()
    for name in FLOW_BASELINES:
        entrant = make_baseline(name)
        ids = samples["sample_id"].to_pylist()[:3]
        maps = entrant.predict(ids, {"flow": Reader()})
        scores, _ = evaluate_maps(
            samples, maps, ids, protocols=["flowgrad"], is_absolute=entrant.is_absolute
        )
        assert [row["ciou"] for row in scores[:3]] == [0, 0, 0], name


def test_an_unknown_baseline_names_the_known_ones():
    with pytest.raises(
        ParameterError, match=r"has 'flwo', expected some of centre, .*flow_8bit_normalized.*ogl_l1"
    ):
        make_baseline("flwo")
