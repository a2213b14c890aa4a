"""The pictures that the page opens with, and the baselines' maps that the gallery computes."""

import base64
import json

import cv2
import numpy as np

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.report.data.sample_scores import SampleScores
from eval.report.gallery.opening import choose_opening
from pipeline.features import pictures
from tests.helpers.scoring.report_examples import parse, write_project


def test_best_median_worst_and_failures_are_those_of_the_scores():
    values = {f"s{number:02}": {"adaptive_ciou": number / 20} for number in range(20)}
    scores = SampleScores("d", "earshot", {"m": values})
    choice = choose_opening(scores, model="m", metric="adaptive_ciou")
    assert (choice.best, choice.median, choice.worst) == ("s19", "s09", "s00")
    assert choice.failures == tuple(f"s{number:02}" for number in range(1, 7))

    few = SampleScores("d", "earshot", {"m": dict(list(values.items())[:3])})
    assert choose_opening(few, model="m", metric="adaptive_ciou").failures == ()
    two = SampleScores("d", "earshot", {"m": dict(list(values.items())[:2])})
    assert choose_opening(two, model="m", metric="adaptive_ciou") is None


def test_the_page_opens_with_pictures_that_need_no_script(built):
    page = built[2].page.read_text()
    opening = page[page.index('<section id="summary"') : page.index('<section id="results"')]
    parser = parse(opening)
    sources = [value for tag, name, value in parser.attributes if (tag, name) == ("img", "src")]
    frames = [source for source in sources if source.startswith("data:image/webp")]
    heats = [source for source in sources if source.startswith("data:image/png")]
    # six samples of `single`: best, median and worst, and one that is below the median
    assert (len(frames), len(heats)) == (4, 4)
    assert opening.count("<audio") == 3
    assert opening.count('class="outline"') == 4

    heat = cv2.imdecode(
        np.frombuffer(base64.b64decode(heats[0].split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert heat.shape == (28, 28, 4)
    assert 150 < heat[..., 3].max() <= round(255 * pictures.HEAT_OPACITY)


def test_heat_is_clear_where_a_map_is_low():
    picture = np.full((20, 20, 3), 90, np.uint8)
    localization_map = np.zeros((2, 2), np.float32)
    localization_map[0, 0] = 1
    drawn = pictures.overlay_map(picture, localization_map)
    assert (drawn[-1, -1] == 90).all()
    assert drawn[0, 0].min() > 130
    assert (pictures.colour_map(np.array([[1.0]]))[0, 0, :3] == pictures.HEAT_COLOURS[-1]).all()


def test_maps_of_flow_baselines_are_computed_where_none_are_kept(tmp_path):
    project = write_project(tmp_path, num_samples=6)
    for path in project.maps_dir("sample").iterdir():
        path.unlink()
    inputs = load_inputs(project, datasets=["sample"], models=["htf"])
    page = build_report(inputs, ReportParameters(), tmp_path / "out").page.read_text()
    for card in json.loads(parse(page).json_text)["samples"]:
        assert set(card["maps"]) == {"flow"}
        grid = np.frombuffer(base64.b64decode(card["maps"]["flow"]["data"]), np.uint8)
        # what moves is what is in the boxes
        x1, y1, x2, y2 = card["boxes"][0]
        side = card["maps"]["flow"]["h"]
        inside = grid.reshape(side, -1)[int((y1 + y2) / 2 * side), int((x1 + x2) / 2 * side)]
        assert inside > np.median(grid)
