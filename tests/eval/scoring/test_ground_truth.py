"""Ground-truth maps, exact to the pixel."""

import json

import numpy as np
import pyarrow as pa
import pytest

from earshot.errors import DataError
from earshot.tables import SAMPLES
from eval.scoring.ground_truth import ground_truths_of, make_ground_truth
from pipeline.lists.annotations import read_flickr_xml
from tests.helpers.paths import DATA, shared_path


def samples_table(rows):
    empty = {
        "clip_id": "c",
        "time_seconds": None,
        "splits": [],
        "label": None,
        "audio_clip_id": None,
    }
    empty |= {"box_annotators": None, "attributes": []}
    return pa.Table.from_pylist([empty | row for row in rows], schema=SAMPLES.columns)


@pytest.fixture(scope="module")
def vggss():
    return json.loads(shared_path("lists", "ezvsl", "vggss.json").read_text())


def test_areas_of_all_vggss_maps_are_the_published_ones(vggss, shared):
    areas = np.load(shared("golden", "protocols.npz"))["vggss_gt_area"]
    found = [np.count_nonzero(make_ground_truth(e["bbox"], rule="union").levels()) for e in vggss]
    assert len(found) == 5158
    np.testing.assert_array_equal(found, areas)


def test_corners_of_a_union_are_truncated():
    levels = make_ground_truth([[0.2, 0.199, 0.999, 0.51]], rule="union").levels()
    assert (levels.any(0).nonzero()[0][[0, -1]] == (44, 222)).all()  # 44.8 and 223.8
    assert (levels.any(1).nonzero()[0][[0, -1]] == (44, 113)).all()  # 44.6 and 114.2


def test_two_clips_of_vggss_have_an_empty_map(vggss):
    empty = {
        entry["file"]
        for entry in vggss
        if not make_ground_truth(entry["bbox"], rule="union").levels().any()
    }
    assert empty == {"M1P1xla8rg0_000000", "MKC9LvRivTM_000030"}


def test_flickr_consensus_has_the_published_sums():
    golden = np.load(DATA / "golden_protocols.npz")
    for boxes, total, num_half in zip(
        golden["flickr_boxes256"],
        golden["flickr_gt_sum"],
        golden["flickr_gt_half_area"],
        strict=True,
    ):
        gt_map = make_ground_truth(boxes[boxes[:, 0] >= 0] / 256, rule="consensus").levels() / 2
        assert gt_map.sum() == total
        assert np.count_nonzero(gt_map == 0.5) == num_half


def test_flickr_consensus_from_xml(tmp_path):
    boxes = [(12, 3, 73, 108), (40, 60, 200, 250), (40, 60, 200, 250)]
    annotators = "".join(
        "<annotator><name/><bbox><id>1</id>"
        + "".join(f"<v>{v}</v>" for v in box)
        + "</bbox></annotator>"
        for box in boxes
    )
    path = tmp_path / "1.xml"
    path.write_text(f"<annotation>{annotators}</annotation>")
    truth = read_flickr_xml(path)
    gt_map = (
        make_ground_truth(truth.boxes, rule="consensus", annotators=truth.box_annotators).levels()
        / 2
    )
    assert gt_map[int(224 * 100 / 256), int(224 * 150 / 256)] == 1  # two annotators
    assert gt_map[int(224 * 10 / 256), int(224 * 20 / 256)] == 0.5  # one
    assert gt_map[0, 0] == 0
    x, y = (
        slice(int(224 * 12 / 256), int(224 * 73 / 256)),
        slice(int(224 * 3 / 256), int(224 * 108 / 256)),
    )
    assert (gt_map[y, x] >= 0.5).all()
    assert gt_map[:, x.start - 1].max() == 0


def test_two_boxes_of_one_annotator_count_twice_as_in_the_code_or_once_as_in_the_paper():
    boxes, annotators = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]], [0, 0]
    as_coded = make_ground_truth(boxes, rule="consensus", annotators=annotators)
    as_written = make_ground_truth(
        boxes, rule="consensus", annotators=annotators, per_annotator=True
    )
    assert (as_coded.levels()[0, 0], as_written.levels()[0, 0]) == (2, 1)


def test_urbansas_boxes_round_as_flowgrad_rounds():
    rng = np.random.default_rng(0)
    width, height = 400, 225
    for _ in range(300):
        # Decimals as in the annotations. Many widths fall exactly on a pixel of the grid:
        # 25 / 400 * 224 = 14.
        x, y = np.round(rng.uniform(0, 300), 2), np.round(rng.uniform(0, 150), 2)
        w, h = float(rng.choice([25, 50, 75, 60.5, 33.33])), float(rng.integers(1, 75))
        x1, y1 = int(x / width * 224), int(y / height * 224)
        x2, y2 = x1 + int(w / width * 224), y1 + int(h / height * 224)
        box = [x / width, y / height, (x + w) / width, (y + h) / height]
        truth = make_ground_truth([box], rule="corner_size", frame_size=(width, height))
        assert truth.pixel_boxes.tolist() == [[x1, y1, x2, y2]]


def test_urbansas_size_of_the_annotated_video_comes_from_the_samples_table():
    box = [0.1, 0.1, 0.1 + 25 / 400, 0.1 + 75 / 225]
    table = samples_table(
        [{"sample_id": "a", "boxes": [box], "attributes": [("annotated_size", "400x225")]}]
    )
    assert ground_truths_of(table, box_rule="corner_size")["a"].pixel_boxes.tolist() == [
        [22, 22, 36, 96]
    ]


def test_samples_without_boxes_have_no_ground_truth_and_bad_boxes_name_their_sample():
    table = samples_table(
        [{"sample_id": "a", "boxes": []}, {"sample_id": "b", "boxes": [[0, 0, 1, 1]]}]
    )
    assert set(ground_truths_of(table, box_rule="union")) == {"b"}
    table = samples_table([{"sample_id": "bad", "boxes": [[0, 0, float("nan"), 1]]}])
    with pytest.raises(DataError, match=r"sample bad: boxes .* expected finite x1 y1 x2 y2"):
        ground_truths_of(table, box_rule="union")
    with pytest.raises(DataError, match="unknown rule 'other', expected union"):
        make_ground_truth([[0, 0, 1, 1]], rule="other")
