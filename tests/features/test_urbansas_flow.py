"""FlowGrad's flow baseline on real clips of Urbansas: from the files to docs/lab/results.md."""

import json

import pytest
import yaml

from earshot.reader import FeatureReader
from earshot.tables import SAMPLES, read_table
from eval.entrants.baselines import make_baseline
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from pipeline.base.project import Project
from tests.helpers.checkouts import make_checkout, run
from tests.helpers.paths import ROOT, shared_path

# success at 0.3, at 0.5, AUC; flow at the size of the clips
EXPECTED = {
    "flow_8bit": (0.4574, 0.1809, 0.2947),
    "flow": (0.4468, 0.1809, 0.2936),
    "flow_8bit_normalized": (0.2128, 0.0213, 0.1697),
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


def test_flow_baselines_of_the_mini_release(tmp_path):
    from stages import download, feature, sources

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sources"]["urbansas"] = {"folder": str(shared_path("urbansas_mini"))}
    params["flow"]["short_side"], params["cluster"]["workers"] = 0, 0
    project = Project(tmp_path, params | {"datasets": ["urbansas"], "models": []})
    sources.main(project, "urbansas")
    download.main(project, "urbansas")
    feature.main(project, "flow", "urbansas")
    found = evaluate_dataset(
        "urbansas",
        read_table(project.samples_table_path("urbansas"), SAMPLES),
        {"flow": FeatureReader(project.feature_dir("urbansas", "flow"))},
        [make_baseline(name) for name in EXPECTED],
        parameters=EvaluationParameters(
            {"urbansas": ["urbansas_test"]}, ("flowgrad",), "flowgrad", num_resamples=50
        ),
        maps_dir=tmp_path / "maps",
    )
    check(found["results"], EXPECTED)


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
