"""Baselines without training, the vision-only filters, and breakdowns."""

import cv2
import numpy as np
import pyarrow as pa
import pytest

from earshot.errors import DataError
from earshot.tables import SAMPLES
from eval.entrants.baselines import CENTRE_SIDE, centre_map, flow_map, random_map, uniform_map
from eval.entrants.entrant import FLOW_BASELINES, make_baseline
from eval.entrants.vision_only import drop_still, pairwise_iou, vision_only_map
from eval.results.breakdowns import break_down, group_samples
from eval.results.model_results import evaluate_maps
from eval.scoring.ground_truth import make_ground_truth
from eval.scoring.protocols import PROTOCOLS
from eval.scoring.score_maps import score_maps
from pipeline.features.detections import Detections


def test_centre_is_a_square_of_158_pixels_at_half():
    marked = centre_map() >= 0.5
    assert marked.sum() == CENTRE_SIDE**2
    assert marked[33:191, 33:191].all()
    np.testing.assert_array_equal(centre_map(), centre_map()[::-1, ::-1])
    box = [[33 / 224 + 1e-9, 33 / 224 + 1e-9, 191 / 224 + 1e-9, 191 / 224 + 1e-9]]
    truth = make_ground_truth(box, rule="union")
    for name in ("lvs", "htf", "rcgrad", "flowgrad", "earshot"):
        assert score_maps([centre_map()], [truth], protocol=PROTOCOLS[name]).ciou[0] == 1, name
    assert (
        score_maps([centre_map()], [truth], protocol=PROTOCOLS["ezvsl"]).ciou[0] > 0.97
    )  # a ring of ties more


def test_random_depends_on_the_id_and_seed_alone():
    np.testing.assert_array_equal(random_map("a"), random_map("a"))
    assert not np.array_equal(random_map("a"), random_map("b"))
    assert not np.array_equal(random_map("a"), random_map("a", seed=1))
    assert uniform_map().min() == uniform_map().max() == 1


def test_flow_codings_lose_what_their_authors_lost():
    flow = np.zeros((2, 224, 224), np.float32)
    flow[0, :, :56] = -3.0  # leftward
    flow[1, :, 56:112] = 4.0  # downward
    flow[0, :, 112:168] = 0.4  # slow
    flow[0, :, 168:] = 300.0
    signed, flowgrad, htf = (
        flow_map(flow, coding=coding) for coding in ("signed", "flowgrad", "htf")
    )
    columns = [20, 80, 140, 200]
    np.testing.assert_allclose(signed[100, columns], [3, 4, 0.4, 300], rtol=1e-6)
    assert flowgrad[100, columns].tolist() == [3, 4, 0, 255]
    np.testing.assert_allclose(htf[100, columns], [0, 4, 0, 255], rtol=1e-6)
    with pytest.raises(
        DataError, match=r"flow has shape \(224, 224\), expected \(2, height, width\)"
    ):
        flow_map(flow[0])


def test_flowgrad_coding_is_what_opencv_writes_and_resizes(tmp_path):
    flow = np.random.default_rng(0).normal(0, 3, (2, 90, 160)).astype(np.float32)
    magnitude, _ = cv2.cartToPolar(flow[0], flow[1])
    cv2.imwrite(str(tmp_path / "flow.png"), magnitude)  # the lossless sibling of the authors' JPEG
    written = cv2.imread(str(tmp_path / "flow.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(
        flow_map(flow, coding="flowgrad"), cv2.resize(written, (224, 224)).astype(np.float32)
    )


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
            maps,
            ids,
            samples,
            dataset="vggsound",
            model=name,
            subsets=["vggss_test"],
            protocols=["flowgrad"],
            num_resamples=10,
            is_absolute=entrant.is_absolute,
        )
        assert [row["ciou"] for row in scores[:3]] == [0, 0, 0], name


def detections(boxes, labels=None, scores=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    labels = np.full(len(boxes), 3) if labels is None else np.array(labels)
    return Detections(boxes, labels, np.ones(len(boxes)) if scores is None else np.array(scores))


def test_vision_only_keeps_moving_vehicles_alone():
    parked, moving, person = [0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.7, 0.7], [0.8, 0.1, 0.9, 0.4]
    now = detections([parked, moving, person], labels=[3, 8, 1])
    later = detections([parked, [0.55, 0.5, 0.75, 0.7], person], labels=[3, 8, 1])
    both = vision_only_map(now, later)
    expected = np.zeros((224, 224), np.float32)
    expected[112:156, 112:156] = 1
    np.testing.assert_array_equal(both, expected)
    assert vision_only_map(now, later, has_temporal_filter=False).sum() == 44 * 44 + 45 * 45
    assert (
        vision_only_map(now, later, has_class_filter=False).sum() == 44 * 44
    )  # the person stands still, too
    assert (
        vision_only_map(now, None).sum()
        == vision_only_map(now, later, has_temporal_filter=False).sum()
    )
    assert vision_only_map(now, later, min_score=1.1).sum() == 0


def test_a_box_is_still_only_above_an_overlap_of_95_percent():
    box = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert len(drop_still(box, np.array([[0.0, 0.0, 1.0, 0.95]]))) == 1  # 0.95 is not above 0.95
    assert len(drop_still(box, np.array([[0.0, 0.0, 1.0, 0.96]]))) == 0
    assert len(drop_still(box, np.empty((0, 4)))) == 1
    np.testing.assert_allclose(
        pairwise_iou(box, np.array([[0, 0, 0.5, 0.5], [2, 2, 3, 3]])), [[0.25, 0]]
    )
    assert pairwise_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
    with pytest.raises(DataError, match="expected"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2))


def make_samples():
    rows = []
    for i in range(30):
        side = 0.1 + 0.02 * i
        boxes = [[0.05, 0.05, 0.05 + side, 0.05 + side]] * (1 + i % 3)
        rows.append(
            {
                "sample_id": f"s{i:02d}",
                "clip_id": f"c{i:02d}",
                "time_seconds": 1.0,
                "splits": ["vggss_test", "vggss_heard_test" if i % 2 else "vggss_unheard_test"],
                "label": "dog" if i < 20 else "car",
                "boxes": boxes,
                "box_annotators": [0] * len(boxes),
                "audio_clip_id": None,
                "attributes": [
                    ("night", str(i % 2)),
                    ("source_is_moving", "true" if i < 5 else "false"),
                ],
            }
        )
    return pa.Table.from_pylist(rows, schema=SAMPLES.columns)


def test_breakdowns_split_a_result_without_losing_a_sample():
    samples = make_samples()
    ids = samples["sample_id"].to_pylist()
    scores, results = evaluate_maps(
        [centre_map()] * 29,
        ids[:29],
        samples,
        dataset="vggsound",
        model="centre",
        subsets=["vggss_test"],
        num_resamples=50,
    )
    groups = {
        by: members
        for dataset in ("vggsound", "urbansas", "sample")  # each knows attributes of its own
        for by, members in group_samples(samples, dataset=dataset).items()
    }
    assert set(groups) == {"num_boxes", "object_size", "class", "heard", "time_of_day", "motion"}
    assert set(groups["num_boxes"]) == {"1", "2", "3 or more"}
    assert set(groups["object_size"]) == {"small", "medium", "large", "huge"}
    assert {g: len(m) for g, m in groups["motion"].items()} == {"moving": 5, "still": 25}
    rows = break_down(scores, groups, subset="vggss_test", ids=ids, num_resamples=50)
    for by in groups:
        parts = [row for row in rows if row["by"] == by]
        assert sum(row["n"] for row in parts) == results[0]["n"] == 29
        assert sum(row["num_requested"] for row in parts) == 30
        mean = sum(row["n"] * row["mean_ciou"] for row in parts) / 29
        assert mean == pytest.approx(results[0]["mean_ciou"])
