"""FlowGrad's baselines on real clips of Urbansas: from the files to docs/lab/results.md."""

import csv
import functools
import json

import cv2
import numpy as np
import pytest
import yaml

from earshot.reader import FeatureReader
from earshot.tables import SAMPLES, read_table
from eval.entrants.baselines import make_baseline
from eval.entrants.entrant import Entrant
from eval.entrants.flowgrad_h import FlowGradHMaps
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.results.summaries import compute_metrics
from pipeline.base.project import Project
from tests.helpers.checkouts import make_checkout, run
from tests.helpers.paths import ROOT, shared_path
from tests.helpers.scoring import flowgrad_rules

# success at 0.3, at 0.5, AUC; flow at the size of the clips
EXPECTED = {
    "flow_8bit": (0.4574, 0.1809, 0.2941),
    "flow": (0.4468, 0.1809, 0.2936),
    "flow_8bit_normalized": (0.2021, 0.0106, 0.1691),
    "flow_normalized": (0.1915, 0.0106, 0.1649),
}
CHANGES = {"datasets": ["urbansas"], "models": [], "flow.short_side": 0, "cluster.workers": 0}


def check(results, names):
    rows = {row["model"]: row for row in results if row["protocol"] == "flowgrad"}
    for name in names:
        row = rows[name]
        assert (row["n"], row["num_requested"], row["success_at"]) == (94, 94, 0.3)
        found = tuple(
            round(row[metric], 4) for metric in ("success_rate_at_30", "success_rate", "auc")
        )
        assert found == EXPECTED[name], name


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A checkout with the flow of the mini release."""
    from stages import download, feature, sources

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sources"]["urbansas"] = {"folder": str(shared_path("urbansas_mini"))}
    params["flow"]["short_side"], params["cluster"]["workers"] = 0, 0
    params["flow"]["encoding"] = "float32"
    root = tmp_path_factory.mktemp("urbansas")
    project = Project(root, params | {"datasets": ["urbansas"], "models": []})
    sources.main(project, "urbansas")
    download.main(project, "urbansas")
    feature.main(project, "flow", "urbansas")
    return project


def evaluate(project, entrants):
    return evaluate_dataset(
        "urbansas",
        read_table(project.samples_table_path("urbansas"), SAMPLES),
        {"flow": FeatureReader(project.feature_dir("urbansas", "flow"))},
        entrants,
        parameters=EvaluationParameters(
            {"urbansas": ["urbansas_test"]}, ("flowgrad",), "flowgrad", num_resamples=50
        ),
        maps_dir=project.root / "maps",
    )


def test_flow_baselines_of_the_mini_release(project):
    found = evaluate(project, [make_baseline(name) for name in EXPECTED])
    check(found["results"], EXPECTED)


def test_intervals_by_clip_are_wider_than_by_frame(project):
    """Frames of one clip are alike: 94 frames of 10 clips say less than 94 clips would."""
    found = evaluate(project, [make_baseline("flow_8bit"), make_baseline("centre")])
    for model in ("flow_8bit", "centre"):
        rows = [row for row in found["scores"] if row["model"] == model]
        clip_of = {row["sample_id"]: row["sample_id"].partition("@")[0] for row in rows}
        assert (len(rows), len(set(clip_of.values()))) == (94, 10)
        by_clip = compute_metrics(rows, group_of=clip_of, num_resamples=10_000)
        by_frame = compute_metrics(rows, num_resamples=10_000)
        for metric in ("mean_ciou", "auc", "adaptive_ciou", "success_rate_at_30"):
            widths = [one[f"{metric}_high"] - one[f"{metric}_low"] for one in (by_clip, by_frame)]
            assert widths[0] > 1.8 * widths[1], (model, metric)


def test_scores_are_those_of_the_authors_rules(project, tmp_path):
    """Compare with a reading of the videos and annotations that shares no code with Earshot."""
    stand_in = make_stand_in_map()

    def predict(ids, readers):
        return [stand_in] * len(ids)

    def predict_as_published(ids, readers):
        return FlowGradHMaps(ids, predict(ids, readers), readers["flow"])

    entrant = Entrant(
        "h", "model", predict, reads=("flow",), parity={"flowgrad": predict_as_published}
    )
    found = evaluate(project, [make_baseline("flow_8bit"), entrant])

    expected = {"flow_8bit": {}, "h": {}}
    for sample_id, flow, truth in read_release(shared_path("urbansas_mini")):
        picture = flowgrad_rules.flow_picture(flow, tmp_path)
        product = flowgrad_rules.clean(stand_in) * picture
        expected["flow_8bit"][sample_id] = flowgrad_rules.ciou(picture, truth)
        expected["h"][sample_id] = flowgrad_rules.ciou(product, truth)

    for result in found["results"]:
        cious = {
            row["sample_id"]: row["ciou"]
            for row in found["scores"]
            if row["model"] == result["model"]
        }
        wanted = expected[result["model"]]
        assert len(wanted) == 94
        assert cious == pytest.approx(wanted, abs=1e-12)
        numbers = (result["success_rate_at_30"], result["success_rate"], result["auc"])
        assert numbers == pytest.approx(flowgrad_rules.metrics(list(wanted.values())))


def make_stand_in_map():
    """A map like one of RCGrad: two bumps of different height."""
    y, x = np.mgrid[0:224, 0:224].astype(np.float32) / 224
    first = np.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.02)
    second = 0.7 * np.exp(-((x - 0.75) ** 2 + (y - 0.5) ** 2) / 0.05)
    return (first + second).astype(np.float32)


def read_release(folder):
    """Yield the sample id, the flow and the ground truth of each frame that FlowGrad scores."""
    with open(folder / "annotations" / "audio_annotations.csv") as file:
        events = [
            row
            for row in csv.DictReader(file)
            if row["label"] != "offscreen" and row["non_identifiable_vehicle_sound"] == "0"
        ]

    boxes = {}
    with open(folder / "annotations" / "video_annotations.csv") as file:
        for row in csv.DictReader(file):
            name, time, box = row["filename"], float(row["time"]), [float(row[k]) for k in "xywh"]
            is_heard = any(
                event["filename"] == name and float(event["start"]) < time < float(event["end"])
                for event in events
            )
            if is_heard and min(box) >= 0 and float(row["visibility"]) == 1:
                boxes.setdefault((name, time), []).append(box)

    for (name, time), members in boxes.items():
        frames = read_frames(folder / "video_24fps" / f"{name}.mp4")
        number = 3 * round(time * 8)  # every third frame makes 8 a second
        flow = cv2.calcOpticalFlowFarneback(
            frames[number], frames[number + 3], None, 0.5, 3, 15, 3, 5, 1.2, 0
        )
        height, width = frames[number].shape
        truth = flowgrad_rules.truth_map(members, width, height)
        yield f"{name}@{round(time * 1000):08d}", flow, truth


@functools.cache
def read_frames(path):
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        is_read, frame = video.read()
        if not is_read:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


@pytest.mark.slow
def test_one_dvc_repro_without_any_model(tmp_path):
    release = {"folder": str(shared_path("urbansas_mini"))}
    folder = make_checkout(tmp_path / "checkout", {**CHANGES, "sources.urbansas": release})
    run(folder, "dvc", "repro")
    results = json.loads((folder / "reports" / "results.json").read_text())["results"]
    check(results, ("flow", "flow_8bit", "flow_8bit_normalized"))
    text = (folder / "reports" / "results.md").read_text()
    assert "| model | success at 0.3 (as published) |" in text
    assert "| flow | 0.447 [" in text
