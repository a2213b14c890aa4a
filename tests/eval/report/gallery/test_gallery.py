"""Which samples the gallery shows, and what is on a card."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from earshot.tables import SAMPLES, read_table, write_table
from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.report.data.result_rows import Group
from eval.report.data.sample_scores import SampleScores, collect_scores
from eval.report.evaluation import Evaluation
from eval.report.gallery import cards, choice
from pipeline.lists.masks import encode_mask
from tests.helpers.scoring.report_examples import MODELS, parse, write_project


def test_gallery_parameters_are_checked():
    with pytest.raises(ValueError, match=r"num_gallery_samples \(-1\) must be >= 0"):
        ReportParameters(num_gallery_samples=-1)


def test_best_worst_and_median_come_first(built):
    dataset = built[1].datasets[0]
    ids = [f"s{number:05d}" for number in range(12)]
    values = {name: {"adaptive_ciou": number / 12} for number, name in enumerate(ids)}
    scores = SampleScores("sample", "earshot", {"m": values})

    chosen = choice.choose_samples(
        dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=6
    )
    # six samples of each subset: even numbers are single, odd ones traffic
    assert chosen == {
        "s00010": ["m: best of test, single"],
        "s00011": ["m: best of test, traffic"],
        "s00000": ["m: worst of test, single"],
        "s00001": ["m: worst of test, traffic"],
        "s00004": ["m: median of test, single"],
        "s00005": ["m: median of test, traffic"],
    }

    everything = choice.choose_samples(
        dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=100
    )
    assert set(everything) == set(ids)
    assert (
        choice.choose_samples(dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=0)
        == {}
    )


def test_a_dataset_without_scores_shows_what_has_maps(built):
    dataset = built[1].datasets[0]
    chosen = choice.choose_samples(
        dataset,
        SampleScores("sample", "earshot", {}),
        models=[],
        metric="adaptive_ciou",
        num_wanted=5,
    )
    assert len(chosen) == 5
    assert all(roles == [] for roles in chosen.values())


def test_cards_hold_what_the_gallery_draws(built):
    page = parse(built[2].page.read_text())
    data = json.loads(page.json_text)
    assert set(data["models"]) == {*MODELS, "ceiling"}
    assert len(data["samples"]) == 12
    card = data["samples"][0]
    assert card["size"] == [320, 240]
    assert set(card["maps"]) == set(MODELS)
    assert card["absent"] == []

    frame = cv2.imdecode(np.frombuffer(base64.b64decode(card["frame"]), np.uint8), cv2.IMREAD_COLOR)
    assert frame.shape == (240, 320, 3)

    # the grid is the map, scaled to its own range
    grid = np.frombuffer(base64.b64decode(card["maps"]["htf"]["data"]), np.uint8)
    with np.load(built[0].maps_path("sample", "htf")) as archive:
        row = archive["sample_ids"].tolist().index(card["id"])
        expected = archive["maps"][row]
    expected = (expected - expected.min()) / np.ptp(expected)
    assert np.abs(grid.reshape(7, 7) / 255 - expected).max() < 0.003
    assert (
        base64.b64decode(card["sound"])[0] == 0xFF
    )  # an MPEG audio frame begins with eleven set bits


def test_a_card_names_what_it_cannot_show(tmp_path):
    project = write_project(tmp_path, num_samples=3)
    for path in project.clips_dir("sample").iterdir():
        path.unlink()
    with np.load(project.maps_path("sample", "htf")) as archive:
        maps = archive["maps"].copy()
        sample_ids = archive["sample_ids"]
    maps[:] = np.nan
    np.savez(project.maps_path("sample", "htf"), sample_ids=sample_ids, maps=maps)
    (project.feature_dir("sample", "flow") / "index.parquet").unlink()

    inputs = load_inputs(project, datasets=["sample"], models=[])
    paths = build_report(inputs, ReportParameters(), tmp_path / "out")
    for card in json.loads(parse(paths.page.read_text()).json_text)["samples"]:
        assert card["absent"] == [
            "sound: the clip is not on this machine",
            "flow: not cached on this machine",
        ]
        assert card["maps"]["htf"]["note"] == "holds NaN"


def test_outlines_leave_bytes_for_the_pictures(built, monkeypatch):
    monkeypatch.setattr(cards, "_MAX_SAMPLE_BYTES", 2400)
    monkeypatch.setattr(cards, "_MIN_SAMPLE_BYTES", 2400)
    scores = collect_scores(built[1].scores, dataset="sample", protocol="earshot")
    maker = cards.CardMaker(
        built[1].datasets[0],
        scores,
        models=MODELS,
        subsets=(),
        has_sound=False,
        num_all_samples=1,
    )
    card = maker.make_card("s00000", ())
    lengths = [len(packed.get("outline", "")) for packed in card["maps"].values()]
    assert 0 < sum(lengths) <= 400
    assert lengths[0] > 0  # models come first
    assert 0 in lengths


def test_a_gallery_of_many_models_shows_few_maps_at_first():
    names = [f"m{number}" for number in range(20)]
    rows = [
        {"model": name, "kind": "model", "auc": number / 20} for number, name in enumerate(names)
    ]
    rows += [{"model": "flow", "kind": "baseline", "auc": 0.1, "n": 1}]
    kinds = {row["model"]: row["kind"] for row in rows}
    groups = (Group("d", "s", "earshot", tuple(rows)),)
    evaluation = Evaluation("earshot", "auc", groups, kinds, (*names, "flow"), {})
    assert evaluation.mapped_models() == ["m0", "m1", "m2", "m3", "m4", "flow"]
    few = Evaluation("earshot", "auc", groups, kinds, ("m0", "flow"), {})
    assert few.mapped_models() == ["m0", "flow"]


def test_a_mask_is_drawn_where_there_are_no_boxes(tmp_path):
    project = write_project(tmp_path, num_samples=4)
    mask = np.zeros((224, 224), bool)
    mask[50:150, 20:100] = True
    path = project.samples_table_path("sample")
    rows = read_table(path, SAMPLES).to_pylist()
    for row in rows[:2]:
        row["attributes"] = [("mask", encode_mask(mask))]
    rows[0] |= {"boxes": [], "box_annotators": []}
    write_table(path, rows, SAMPLES)

    inputs = load_inputs(project, datasets=["sample"], models=[])
    page = build_report(inputs, ReportParameters(), tmp_path / "out").page.read_text()
    cards_by_id = {card["id"]: card for card in json.loads(parse(page).json_text)["samples"]}
    card = cards_by_id[rows[0]["sample_id"]]
    corners = {tuple(map(int, pair)) for pair in re.findall(r"(\d+)[ ,](\d+)", card["mask"])}
    assert corners == {(20, 50), (99, 50), (20, 149), (99, 149)}
    assert card["facts"] == []
    assert "mask" not in cards_by_id[rows[1]["sample_id"]]


def test_a_negative_has_no_boxes_of_what_sounds(tmp_path):
    project = write_project(tmp_path, num_samples=6, num_negatives=2)
    inputs = load_inputs(project, datasets=["sample"], models=[])
    page = build_report(inputs, ReportParameters(), tmp_path / "out").page.read_text()
    cards_by_id = {card["id"]: card for card in json.loads(parse(page).json_text)["samples"]}
    negative = cards_by_id["s00005"]
    assert negative["facts"][0] == "negative: nothing in the frame makes this sound"
    assert negative["boxes"] == []
    assert not any("outline" in packed for packed in negative["maps"].values())
    assert cards_by_id["s00000"]["boxes"]
    assert "negative" not in " ".join(cards_by_id["s00000"]["facts"])
