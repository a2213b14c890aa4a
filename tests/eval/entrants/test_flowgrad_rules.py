"""FlowGrad-H, the flow baseline and the topline are scored as by their authors, and only there."""

import numpy as np
import pytest

from eval.entrants.baselines import make_baseline, make_flow_map
from eval.entrants.entrant import Entrant
from eval.entrants.flowgrad_h import FlowGradHMaps
from eval.entrants.maps import NoMapError
from eval.entrants.vision_only import make_published_map, make_vision_only
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from pipeline.features.detections import Detections, pack_detections
from tests.helpers.scoring import flowgrad_rules
from tests.helpers.scoring.score_examples import ArrayReader, make_row, make_table

WIDTH, HEIGHT = 320, 180
PROTOCOLS = ("earshot", "lvs", "rcgrad", "flowgrad")


@pytest.fixture
def scenes():
    """Eight samples: boxes x, y, w, h in pixels with two decimals, flow, a map of RCGrad."""
    rng = np.random.default_rng(3)
    found = {}
    for number in range(8):
        boxes = [
            np.round([*rng.uniform(0, (200, 100)), *rng.uniform(20, (110, 75))], 2).tolist()
            for _ in range(1 + number % 2)
        ]
        flow = rng.normal(0, 0.3, (HEIGHT, WIDTH, 2)).astype(np.float32)
        for x, y, w, h in boxes:
            flow[int(y) : int(y + h), int(x) : int(x + w)] += rng.uniform(-0.9, 0.9, 2)
        found[f"s{number}"] = (boxes, flow, rng.random((14, 14), np.float32))
    return found


@pytest.fixture
def samples(scenes):
    size = [("annotated_size", f"{WIDTH}x{HEIGHT}")]
    rows = [
        make_row(name, boxes=[to_corners(box) for box in boxes], splits=["test"], attributes=size)
        for name, (boxes, _, _) in scenes.items()
    ]
    return make_table(rows)


def to_corners(box):
    x, y, w, h = box
    return [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]


def evaluate(samples, entrant, reader, tmp_path, protocols=PROTOCOLS):
    """The rows of scores and of results by protocol."""
    found = evaluate_dataset(
        "urbansas",
        samples,
        dict.fromkeys(entrant.reads, reader),
        [entrant],
        parameters=EvaluationParameters(
            {"urbansas": ["test"]}, protocols, protocols[0], num_resamples=10
        ),
        maps_dir=tmp_path,
    )
    cious = {
        protocol: {
            row["sample_id"]: row["ciou"]
            for row in found["scores"]
            if row["protocol"] == protocol and row["status"] == "ok"
        }
        for protocol in protocols
    }
    return cious, {row["protocol"]: row for row in found["results"]}


def test_the_flow_baseline_is_an_8_bit_jpeg_that_pillow_resizes(scenes, samples, tmp_path):
    reader = ArrayReader({name: np.moveaxis(flow, 2, 0) for name, (_, flow, _) in scenes.items()})
    cious, results = evaluate(samples, make_baseline("flow_8bit"), reader, tmp_path)
    expected = {
        name: flowgrad_rules.ciou(
            flowgrad_rules.flow_picture(flow, tmp_path),
            flowgrad_rules.truth_map(boxes, WIDTH, HEIGHT),
        )
        for name, (boxes, flow, _) in scenes.items()
    }
    assert cious["flowgrad"] == pytest.approx(expected, abs=1e-12)
    assert min(expected.values()) < 0.3 < max(expected.values())
    result = results["flowgrad"]
    assert (
        result["success_rate_at_30"],
        result["success_rate"],
        result["auc"],
    ) == pytest.approx(flowgrad_rules.metrics(list(expected.values())))

    # The same from cached 8-bit magnitudes.
    stored = {name: make_stored_picture(flow, tmp_path) for name, (_, flow, _) in scenes.items()}
    again, _ = evaluate(samples, make_baseline("flow_8bit"), ArrayReader(stored), tmp_path)
    assert again["flowgrad"] == cious["flowgrad"]


def make_stored_picture(flow, folder):
    import cv2

    flowgrad_rules.flow_picture(flow, folder)
    return cv2.imread(str(folder / "flow.jpg"), cv2.IMREAD_GRAYSCALE)[None]


def test_flowgrad_h_is_the_product_with_the_8_bit_flow_under_flowgrad_alone(
    scenes, samples, tmp_path
):
    maps = {name: heatmap for name, (_, _, heatmap) in scenes.items()}
    reader = ArrayReader({name: np.moveaxis(flow, 2, 0) for name, (_, flow, _) in scenes.items()})

    def predict(ids, readers):
        return [maps[name] for name in ids]

    def predict_as_published(ids, readers):
        return FlowGradHMaps(ids, predict(ids, readers), readers["flow"])

    plain = Entrant("m", "model", predict, reads=("flow",))
    entrant = Entrant(
        "m", "model", predict, reads=("flow",), parity={"flowgrad": predict_as_published}
    )
    cious, results = evaluate(samples, entrant, reader, tmp_path)
    expected = {}
    for name, (boxes, flow, heatmap) in scenes.items():
        product = flowgrad_rules.clean(enlarge(heatmap))
        product = product * flowgrad_rules.flow_picture(flow, tmp_path)
        expected[name] = flowgrad_rules.ciou(
            product, flowgrad_rules.truth_map(boxes, WIDTH, HEIGHT)
        )
    assert cious["flowgrad"] == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) > 4
    assert [row["n"] for row in results.values()] == [8] * 4

    own, _ = evaluate(samples, plain, reader, tmp_path)
    assert {name: cious[name] == own[name] for name in PROTOCOLS} == {
        "earshot": True,
        "lvs": True,
        "rcgrad": True,
        "flowgrad": False,
    }


def enlarge(heatmap):
    import cv2

    return cv2.resize(heatmap, (224, 224), interpolation=cv2.INTER_LINEAR)


def test_a_unit_counts_under_flowgrad_alone(scenes, samples, tmp_path):
    """RCGrad's protocol has the same threshold and normalizes every map."""
    slow = ArrayReader({name: np.full((2, 9, 9), 0.1, np.float16) for name in scenes})
    cious, _ = evaluate(samples, make_baseline("flow"), slow, tmp_path)
    assert set(cious["flowgrad"].values()) == {0}
    rising = np.linspace(0, 0.2, 81, dtype=np.float32).reshape(1, 9, 9)
    slow = ArrayReader({name: np.repeat(rising, 2, axis=0) for name in scenes})
    cious, _ = evaluate(samples, make_baseline("flow"), slow, tmp_path)
    assert set(cious["flowgrad"].values()) == {0}
    assert max(cious["rcgrad"].values()) > 0


def detections_of(boxes, *, label=3, score=0.9):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), label), np.full(len(boxes), score))


def test_a_perfect_detector_is_perfect(scenes, samples, tmp_path):
    moved = detections_of([[0.9, 0.9, 0.95, 0.95]])
    arrays = {
        name: pack_detections(detections_of([to_corners(box) for box in boxes]), moved)
        for name, (boxes, _, _) in scenes.items()
    }
    reader = ArrayReader(arrays, num_frames=2)
    cious, _ = evaluate(samples, make_vision_only(), reader, tmp_path)
    assert set(cious["flowgrad"].values()) == {1}

    # A rule for the far corner would lose a row or a column of most boxes.
    for name, (boxes, _, _) in scenes.items():
        shares = [[x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT] for x, y, w, h in boxes]
        current = detections_of([to_corners(box) for box in boxes])
        mask = make_published_map(current, moved)
        np.testing.assert_array_equal(mask, flowgrad_rules.box_mask(shares), err_msg=name)


def test_the_topline_leaves_out_what_its_authors_leave_out(scenes, samples, tmp_path):
    """Frames without a vehicle are not scored; without a vehicle later nothing is marked."""
    box = [0.1, 0.1, 0.4, 0.4]
    found, moved, parked = (detections_of(b) for b in (box, [0.5, 0.5, 0.9, 0.9], box))
    nothing, person = detections_of([]), detections_of(box, label=1)
    unsure = detections_of(box, score=0.1)
    pairs = [
        (found, moved),  # kept
        (found, parked),  # dropped
        (found, nothing),
        (found, person),
        (nothing, moved),  # not scored
        (person, moved),
        (unsure, moved),
        (found, moved),
    ]
    arrays = {name: pack_detections(*pair) for name, pair in zip(scenes, pairs, strict=True)}
    reader = ArrayReader(arrays, num_frames=2)
    _, results = evaluate(samples, make_vision_only(), reader, tmp_path)
    assert (results["flowgrad"]["n"], results["flowgrad"]["missing"]) == (5, {"no_detection": 3})
    assert (results["earshot"]["n"], results["rcgrad"]["n"]) == (8, 8)

    is_marked = [make_published_map(*pair).any() for pair in pairs[:4]]
    assert is_marked == [True, False, False, False]
    assert not make_published_map(found, None).any()  # the clip ends before
    with pytest.raises(NoMapError, match="no_detection"):
        make_published_map(person, moved)


def test_flow_that_has_no_components_has_no_coding_of_hear_the_flow():
    magnitude = np.full((1, 8, 8), 3.2, np.float32)
    assert (make_flow_map(magnitude, coding="flowgrad") == 3).all()
    assert (make_flow_map(magnitude) == np.float32(3.2)).all()
    with pytest.raises(Exception, match=r"shape \(1, 8, 8\), expected \(2, height, width\)$"):
        make_flow_map(magnitude, coding="htf")
