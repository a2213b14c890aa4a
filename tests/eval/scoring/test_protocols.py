"""The published protocols: the authors' scores, the published loops, torch's upsamplings."""

import json

import numpy as np
import pytest

from earshot.errors import ParameterError
from eval.entrants.baselines import make_centre_map, make_uniform_map
from eval.entrants.ceilings import compute_ceilings, compute_ceilings_of_half
from eval.scoring.ground_truth import GRID, NUM_PIXELS, make_ground_truth
from eval.scoring.metrics import auc, success_rate
from eval.scoring.protocols import PROTOCOLS, get_protocol, normalize
from eval.scoring.score_maps import score_maps
from eval.scoring.upsampling import upsample
from tests.helpers.paths import DATA, shared_path
from tests.helpers.scoring.published_loop import LOOPS, ciou, consensus_map, union_map

GOLDEN_NAMES = {
    "lvs": "lvs",
    "htf": "htf",
    "ezvsl": "ezvsl_test",
    "ezvsl_val": "ezvsl_val",
    "flowgrad": "flowgrad",
}


@pytest.fixture(scope="module")
def vggss_boxes():
    return [
        entry["bbox"]
        for entry in json.loads(shared_path("lists", "ezvsl", "vggss.json").read_text())
    ]


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_scores_are_those_of_the_authors_code(name):
    golden, suffix = np.load(DATA / "golden_protocols.npz"), GOLDEN_NAMES[name]
    truths = [
        make_ground_truth(boxes[boxes[:, 0] != -1], rule="union") for boxes in golden["boxes"]
    ]
    areas = [np.count_nonzero(truth.levels()) for truth in truths]
    np.testing.assert_array_equal(areas, golden["gt_area"])

    cious = score_maps(golden["lowres_maps"], truths, protocol=get_protocol(name)).ciou
    np.testing.assert_allclose(cious, golden[f"ciou_{suffix}"], atol=1e-12)
    assert success_rate(cious) == golden[f"ap50_{suffix}"]
    assert success_rate(cious, at=0.3) == golden[f"ap30_{suffix}"]
    assert auc(cious) == golden[f"auc_{suffix}"]


def test_lvs_inverts_a_map_twice_and_rounds_as_its_authors():
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    low, high = values.min(), values.max()
    inverted = -values
    expected = 1 - (inverted - inverted.min()) / (inverted.max() - inverted.min())
    found = normalize(values, get_protocol("lvs"), low=low, high=high)
    np.testing.assert_array_equal(found, expected)
    assert (found != normalize(values, get_protocol("htf"), low=low, high=high)).any()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_confidence_is_the_mean_of_the_top_quarter(name):
    values = np.arange(NUM_PIXELS, dtype=np.float32).reshape(GRID, GRID)
    scores = score_maps([values], [None], protocol=get_protocol(name), with_confidence=True)
    assert scores.confidence[0] == pytest.approx(NUM_PIXELS * 7 / 8 - 0.5)


def make_maps(rng, size):
    """Yield noise, few values (ties at every threshold), a peak, values far from 0, constants."""
    yield from rng.standard_normal((4, *size)).astype(np.float32)
    yield from np.round(rng.standard_normal((4, *size)) * 2).astype(np.float32)
    yield (rng.random(size) > 0.8).astype(np.float32)
    yield (rng.random(size) > 0.2).astype(np.float32)
    yield (1000 + rng.standard_normal(size)).astype(np.float32)
    yield (-5e4 + 1e-2 * rng.standard_normal(size)).astype(np.float32)
    yield (1e-6 * rng.standard_normal(size)).astype(np.float32)
    yield from (np.full(size, value, np.float32) for value in (0, 0.3, 1, -1, 2))


@pytest.mark.parametrize("name", LOOPS)
def test_equal_to_the_published_loop_on_every_kind_of_map(name):
    if name.startswith("ezvsl"):
        pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    num_compared = 0
    for size in ((14, 14), (7, 7), (9, 5), (1, 1), (224, 224)):
        for lowres_map in make_maps(rng, size):
            corners = rng.uniform(-0.1, 1.1, (rng.integers(1, 4), 2, 2))
            boxes = np.sort(corners, axis=1).reshape(-1, 4)
            boxes256 = np.clip(np.round(boxes * 256), 0, 256)
            for truth, gt_map in (
                (make_ground_truth(boxes, rule="union"), union_map(boxes)),
                (make_ground_truth(boxes256 / 256, rule="consensus"), consensus_map(boxes256)),
            ):
                found = score_maps([lowres_map], [truth], protocol=get_protocol(name)).ciou[0]
                expected = LOOPS[name](lowres_map, gt_map)
                assert found == pytest.approx(expected, abs=1e-12), (size, lowres_map.ravel()[:4])
                num_compared += 1
    assert num_compared == 150 + 30


@pytest.mark.parametrize(
    "size", [(7, 7), (14, 14), (28, 28), (1, 1), (5, 9), (12, 31), (16, 20), (224, 7), (300, 257)]
)
def test_torch_upsamplings_are_equal_to_the_last_bit(size):
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(1).standard_normal((3, *size)).astype(np.float32)
    for how, options in (
        ("torch_bicubic", {"mode": "bicubic", "align_corners": False}),
        ("torch_bicubic_corners", {"mode": "bicubic", "align_corners": True}),
        ("torch_bilinear_corners", {"mode": "bilinear", "align_corners": True}),
    ):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(maps)[:, None], size=(224, 224), **options
        )
        found = np.stack([upsample(one, how=how) for one in maps])
        np.testing.assert_array_equal(found, expected.numpy()[:, 0], err_msg=how)


@pytest.mark.parametrize(
    "how", ["torch_bicubic", "torch_bicubic_corners", "torch_bilinear_corners"]
)
def test_torch_upsamplings_where_matrix_products_add_in_another_order(how, monkeypatch):
    maps = np.random.default_rng(2).standard_normal((3, 14, 9)).astype(np.float32)
    found = [upsample(one, how=how) for one in maps]
    monkeypatch.setattr("eval.scoring.upsampling._products_are_exact", lambda *_: False)
    np.testing.assert_array_equal(found, [upsample(one, how=how) for one in maps])


def test_a_huge_value_does_not_spread_over_the_map():
    lowres_map = np.zeros((14, 14), np.float32)
    lowres_map[2, 2] = 3e38
    for how in ("torch_bicubic", "torch_bicubic_corners", "torch_bilinear_corners"):
        with np.errstate(over="ignore", invalid="ignore"):
            assert (upsample(lowres_map, how=how)[112:, 112:] == 0).all(), how


def test_trivial_facts_on_vggss(vggss_boxes):
    truths = [make_ground_truth(boxes, rule="union") for boxes in vggss_boxes]

    def rounded(cious):
        return round(success_rate(cious), 4), round(auc(cious), 4)

    assert rounded(compute_ceilings_of_half(truths)) == (0.5054, 0.4947)
    assert rounded(
        score_maps([make_centre_map()] * 5158, truths, protocol=get_protocol("lvs")).ciou
    ) == (0.3172, 0.3693)
    assert rounded(
        score_maps([make_uniform_map()] * 5158, truths, protocol=get_protocol("ezvsl")).ciou
    ) == (0.2195, 0.3125)


def test_uniform_map_marks_everything_in_every_protocol():
    truth = make_ground_truth([[0.1, 0.2, 0.5, 0.9]], rule="union")
    share = (truth.levels() / 2).mean()
    for protocol in PROTOCOLS.values():
        scores = score_maps([make_uniform_map()], [truth], protocol=protocol)
        # Nothing is strictly above a plateau.
        expected = 0 if protocol.threshold == "above_own_area" else share
        assert scores.ciou[0] == expected, protocol.name
        assert scores.pointing[0] == share  # on a plateau, the share of it that is inside


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (1, 1), (13, 17)])
def test_rounding_errors_of_a_constant_map_point_nowhere(size):
    """Bicubic upsampling makes 20 different values of one, and one of them is the largest."""
    truth = make_ground_truth([[0.1, 0.2, 0.5, 0.9]], rule="union")
    share = (truth.levels() / 2).mean()
    for protocol in PROTOCOLS.values():
        scores = score_maps([np.full(size, 0.3, np.float32)], [truth], protocol=protocol)
        own = (scores.pointing, scores.median_ciou, scores.adaptive_ciou)
        assert [one[0] for one in own] == [share] * 3, protocol.name


def test_the_ground_truth_itself_is_perfect_under_earshot_and_limited_by_half_under_lvs():
    truth = make_ground_truth([[0.25, 0.25, 0.5, 0.75]], rule="union")
    scores = score_maps(
        [(truth.levels() / 2).astype(np.float32)] * 2, [truth] * 2, protocol=get_protocol("earshot")
    )
    assert (
        scores.ciou.tolist() == scores.adaptive_ciou.tolist() == scores.pointing.tolist() == [1, 1]
    )
    assert compute_ceilings_of_half([truth])[0] == 56 * 112 / 25088


def test_a_plateau_at_the_median_beats_the_ceiling_of_half():
    """Maps of few values (after a ReLU, or boxes) are not comparable under a strict median."""
    truth = make_ground_truth([[0.25, 0.25, 0.5, 0.75]], rule="union")
    binary = [(truth.levels() / 2).astype(np.float32)]
    rng = np.random.default_rng(0)
    distinct = [binary[0] + 1e-3 * rng.random((224, 224), np.float32)]
    cious = {
        (kind, name): score_maps(maps, [truth], protocol=get_protocol(name)).ciou[0]
        for kind, maps in (("binary", binary), ("distinct", distinct))
        for name in PROTOCOLS
    }
    assert (
        cious["binary", "lvs"] == cious["binary", "htf"] == 1
    )  # nothing is above 0 but the ground truth
    assert cious["binary", "ezvsl"] == (truth.levels() / 2).mean()  # everything is at or above 0
    for name, protocol in PROTOCOLS.items():
        assert cious["distinct", name] == pytest.approx(
            compute_ceilings([truth], protocol=protocol)[0], abs=1e-4
        ), name


def test_pointing_is_whether_the_maximum_is_inside():
    truth = make_ground_truth([[0, 0, 0.25, 0.25]], rule="union")
    inside, outside = np.zeros((2, 14, 14), np.float32)
    inside[1, 1] = outside[10, 10] = 1
    assert score_maps(
        [inside, outside], [truth] * 2, protocol=get_protocol("earshot")
    ).pointing.tolist() == [1, 0]


def test_flow_is_not_normalized_under_flowgrad_alone():
    truth = make_ground_truth([[0, 0, 0.5, 1]], rule="union")
    slow = np.zeros((224, 224), np.float32)
    slow[:, :112] = 0.4  # under half a pixel everywhere: FlowGrad's code marks nothing
    flowgrad, lvs = get_protocol("flowgrad"), get_protocol("lvs")
    assert score_maps([slow], [truth], protocol=flowgrad, is_absolute=True).ciou[0] == 0
    assert score_maps([slow], [truth], protocol=flowgrad).ciou[0] == 1
    assert score_maps([slow], [truth], protocol=lvs, is_absolute=True).ciou[0] > 0.9


def test_empty_ground_truth_scores_zero():
    truth = make_ground_truth([[0.3, 0.3, 0.3, 0.8]], rule="union")
    lowres_map = np.random.default_rng(0).random((14, 14), np.float32)
    for protocol in PROTOCOLS.values():
        scores = score_maps([lowres_map], [truth], protocol=protocol)
        assert (scores.ciou[0], scores.adaptive_ciou[0], scores.pointing[0]) == (0, 0, 0)


def test_other_scores_are_those_of_a_full_sort_on_every_kind_of_map():
    rng = np.random.default_rng(5)
    num_compared = 0
    for size in ((14, 14), (1, 1), (224, 224)):
        for lowres_map in make_maps(rng, size):
            for scale in (0.02, 0.3, 1.2):  # of the boxes: a few pixels to nearly all of them
                corners = 0.5 + scale * rng.uniform(-0.5, 0.5, (2, 2, 2))
                boxes = np.sort(corners, axis=1).reshape(-1, 4)
                rule = "union" if num_compared % 2 else "consensus"
                truth = make_ground_truth(boxes, rule=rule)
                found = score_maps([lowres_map], [truth], protocol=get_protocol("earshot"))

                gt_map, grid_map = truth.levels() / 2, upsample(lowres_map, how="cv2_linear")
                if not gt_map.any():
                    continue
                if np.ptp(lowres_map) == 0:  # without the rounding errors of upsampling
                    grid_map = np.full_like(grid_map, lowres_map[0, 0])
                in_order = np.sort(grid_map, axis=None)
                for scores, limit in (
                    (found.median_ciou, in_order[25088]),
                    (found.adaptive_ciou, in_order[50176 - np.count_nonzero(gt_map)]),
                ):
                    assert scores[0] == ciou(grid_map, gt_map, limit)
                is_maximum = grid_map == in_order[-1]
                assert found.pointing[0] == np.mean(gt_map[is_maximum] > 0)
                num_compared += 1
    assert num_compared > 100


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(
        ParameterError, match="unknown protocol 'lsv', expected one of earshot, lvs, ezvsl"
    ):
        get_protocol("lsv")
    assert get_protocol("ezvsl_test").name == "ezvsl"
