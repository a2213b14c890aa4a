"""Released weights become runs, are refused when wrong, and are evaluated beside trained models."""

import json
import runpy
import shutil

import pytest
import torch
import yaml

import stages.evaluate
import stages.train
import stages.weights
from earshot.errors import DataError, ParameterError
from earshot.files import sha256_of
from eval.results.files import read_results
from pipeline.base.parameters import build
from pipeline.base.project import Project
from stages.check import find_notes
from tests.helpers.checkouts import make_checkout, run, skip_check
from tests.helpers.downloads.misbehaving_server import Answer
from tests.helpers.paths import ROOT
from tests.helpers.toy_project import make_toy_project
from tests.helpers.training.golden_formula import METHODS, fill_state_dict
from train.inference.predictor import load_predictor
from train.models.registry import build_parameters, make_model
from train.runs.run_folder import read_run
from train.runs.tensor_files import load_tensors
from train.weights.published_checkpoints import import_published
from train.weights.released import ReleasedWeights

NARROW = {"width": 8, "image_size": 32}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("pipeline.base.http.time.sleep", lambda seconds: None)


def write_checkpoint(path, name="flowgrad_en"):
    """Formula weights in their authors' layout, narrow."""
    state = fill_state_dict(
        make_model(build_parameters({**METHODS[name], **NARROW}, "test")).state_dict(), "another"
    )
    torch.save({"state_dict": state}, path)
    return state


def released_project(tmp_path, weights, runs=None):
    project = make_toy_project(
        tmp_path,
        runs or {},
        released=list(weights),
        weights=weights,
        detections={"datasets": []},
        evaluate={
            "subsets": {"sample": ["test"]},
            "protocols": ["earshot"],
            "baselines": ["centre"],
            "num_resamples": 50,
            "main_protocol": "earshot",
            "comparison_metric": "adaptive_ciou",
            "object_guidance_weights": "imagenet",
            "has_untrained": True,
        },
    )
    return Project.load(project.root)


def test_released_weights_are_evaluated_without_training_and_marked(server, tmp_path):
    state = write_checkpoint(tmp_path / "en.ckpt")
    url = server.add("/models/en.ckpt", Answer((tmp_path / "en.ckpt").read_bytes()))
    sha256 = sha256_of(tmp_path / "en.ckpt")
    entry = {"method": "flowgrad_en", "url": url, "sha256": sha256, "settings": NARROW}
    project = released_project(tmp_path / "project", {"theirs": entry}, {"ours": {"method": "lvs"}})
    stages.weights.main(project, "theirs")
    run = read_run(project.run_dir("theirs"))
    assert (run["status"], run["selection"], run["method"]) == ("ok", "released", "flowgrad_en")
    assert (run["source"], run["sha256"], run["parameters"]["uses_batch_statistics"]) == (
        url,
        sha256,
        True,
    )
    loaded = load_tensors(project.run_dir("theirs") / "model.ckpt")["model"]
    assert all(torch.equal(loaded[name], state[name]) for name in state)

    requests = server.num_requests.copy()
    shutil.rmtree(
        project.run_dir("theirs")
    )  # as DVC does before a stage: the fetched file lies elsewhere
    stages.weights.main(project, "theirs")
    assert server.num_requests == requests

    stages.train.main(project, "ours")
    stages.evaluate.main(project)
    rows = {row["model"]: row for row in read_results(project.reports_dir)["results"]}
    assert set(rows) == {"theirs", "ours", "ours_untrained", "centre"}
    assert {name: rows[name]["selection"] for name in ("theirs", "ours", "centre")} == {
        "theirs": "released",
        "ours": "val",
        "centre": "none",
    }
    assert rows["theirs"]["leakage"] is None  # what its authors trained on is not known here
    assert rows["ours"]["leakage"] == 0
    assert rows["theirs"]["n"] == rows["ours"]["n"] == 4


@pytest.mark.parametrize("form", ["relative", "absolute", "file"])
def test_a_file_at_hand_needs_neither_network_nor_hash(tmp_path, form):
    project = released_project(tmp_path, {})
    write_checkpoint(tmp_path / "en ü.ckpt")
    path = tmp_path / "en ü.ckpt"
    url = {"relative": path.name, "absolute": str(path), "file": path.as_uri()}[form]
    project.params["weights"] = {"mine": {"method": "flowgrad_en", "url": url, "settings": NARROW}}
    stages.weights.main(project, "mine")
    run = read_run(project.run_dir("mine"))
    assert (run["sha256"], run["has_known_sha256"]) == (sha256_of(path), False)
    assert load_predictor(project.run_dir("mine"), device="cpu").parameters.method == "flowgrad_en"


def test_a_fetched_file_without_known_hash_is_recorded_and_no_other_taken(server, tmp_path, capsys):
    write_checkpoint(tmp_path / "en.ckpt")
    sha256 = sha256_of(tmp_path / "en.ckpt")
    url = server.add("/en.ckpt", Answer((tmp_path / "en.ckpt").read_bytes()))
    entry = {"method": "flowgrad_en", "url": url, "settings": NARROW, "licence": "MIT"}
    project = released_project(tmp_path / "project", {"theirs": entry})
    stages.weights.main(project, "theirs")
    run = read_run(project.run_dir("theirs"))
    assert (run["sha256"], run["has_known_sha256"]) == (sha256, False)
    printed = capsys.readouterr().err
    assert f"{url}: licence: MIT" in printed
    assert f"SHA-256 {sha256}: recorded; write it to weights.theirs.sha256" in printed

    # The authors put another file at the same address.
    for path in project.weights_dir.glob("*en.ckpt"):
        path.unlink()
    state = write_checkpoint(tmp_path / "other.ckpt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "other.ckpt")
    server.add("/en.ckpt", Answer((tmp_path / "other.ckpt").read_bytes()))
    with pytest.raises(DataError, match=f"the file fetched on .* had {sha256}; if you") as caught:
        stages.weights.main(project, "theirs")
    assert "\n" not in str(caught.value)


def test_a_page_in_place_of_the_weights_is_not_taken_for_them(server, tmp_path):
    """A quota or a login answers with a page: the next attempt must fetch the weights."""
    write_checkpoint(tmp_path / "en.ckpt")
    url = server.add("/en.ckpt", Answer(b"<html>Too many users have viewed this file</html>"))
    entry = {"method": "flowgrad_en", "url": url, "settings": NARROW}
    project = released_project(tmp_path / "project", {"theirs": entry})
    with pytest.raises(DataError, match=r"it is text: '<html>Too.*; removed, so that") as caught:
        stages.weights.main(project, "theirs")
    assert "\n" not in str(caught.value)

    server.add("/en.ckpt", Answer((tmp_path / "en.ckpt").read_bytes()))
    stages.weights.main(project, "theirs")
    assert read_run(project.run_dir("theirs"))["sha256"] == sha256_of(tmp_path / "en.ckpt")


def test_wrong_entries_and_files_are_one_sentence(tmp_path):
    project = released_project(tmp_path, {})
    write_checkpoint(tmp_path / "en.ckpt")
    entry = {"method": "flowgrad_en", "url": "en.ckpt", "settings": NARROW}
    for change, error, words in [
        (
            {"method": "flowgrad"},
            ParameterError,
            "weights.x: method is 'flowgrad', expected one of .*ezvsl, flowgrad_en",
        ),
        (
            {"sha256": "abc"},
            ParameterError,
            "weights.x: sha256 is 'abc', expected 64 hexadecimal digits",
        ),
        ({"sha256": "0" * 64}, DataError, r"en.ckpt: SHA-256 is .*, expected 0000"),
        ({"url": "nowhere.ckpt"}, DataError, "nowhere.ckpt: no such file"),
        ({"epochs": 3}, ParameterError, "unknown key weights.x.epochs"),
        ({"method": "htf"}, DataError, "not a published htf checkpoint.*it looks like flowgrad_en"),
        ({"settings": {"widht": 8}}, ParameterError, "widht"),
        ({"settings": None}, DataError, "have another shape"),
    ]:
        project.params["weights"] = {"x": entry | change}
        with pytest.raises(error, match=words) as caught:
            stages.weights.main(project, "x")
        assert "\n" not in str(caught.value)
        assert not project.run_dir("x").exists()


def test_nothing_is_fetched_unless_it_is_asked_for():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert params["released"] == []
    entries = {
        name: build(ReleasedWeights, values, name) for name, values in params["weights"].items()
    }
    assert {entry.method for entry in entries.values()} == {
        "rcgrad",
        "flowgrad_h",
        "flowgrad_ic",
        "flowgrad_en",
        "sslalignment",
        "lvs",
        "slavc",
        "attention10k",
        "avobject",
    }
    assert all(entry.licence for entry in entries.values())
    assert all(entry.is_remote for entry in entries.values())
    assert not set(entries) & set(params["train"])  # one folder of runs


def test_a_run_fetches_the_released_weights_that_it_begins_with(server, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "rc.pt", "rcgrad")
    entry = {"method": "rcgrad", "settings": NARROW}
    entry["url"] = server.add("/rc.pt", Answer((tmp_path / "rc.pt").read_bytes()))
    run = {"method": "rcgrad", "init": "cache/runs/theirs"}
    project = make_toy_project(tmp_path / "project", {"ours": run}, weights={"theirs": entry})
    monkeypatch.chdir(project.root)
    for _ in range(2):
        stages.train.main(project, "ours")
        assert server.num_requests["/rc.pt"] == 2  # its size and the file
    source = project.run_dir("theirs")
    assert read_run(source)["source"] == entry["url"]
    assert read_run(project.run_dir("ours"))["initial_sha256"] == sha256_of(source / "model.ckpt")

    # Another address is another file; what the user imported by hand stays.
    project.params["weights"]["theirs"]["url"] = str(tmp_path / "rc.pt")
    stages.train.main(project, "ours")
    assert read_run(source)["source"] == str(tmp_path / "rc.pt")
    import_published(tmp_path / "rc.pt", "rcgrad", source, NARROW, {"source": "mine"})
    stages.train.main(project, "ours")
    assert read_run(source)["source"] == "mine"


def test_files_to_bring_by_hand_are_named_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["models"] = ["attention10k_144k", "hardpos_144k", "flowgrad_ic_urbansas"]
    params["models"] += ["coarsetofine_1", "coarsetofine"]  # their labels are written
    params["frames"]["short_side"] = 320
    (note,) = find_notes(Project(tmp_path, params))
    assert note.startswith(f"attention10k_144k: {tmp_path}/cache/weights/sound8.pth is not there")
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "sound8.pth").touch()
    assert find_notes(Project(tmp_path, params)) == []

    preset = params["train_presets"]["flowgrad_published"]
    preset["spectrogram_std"] = 2.0
    (note,) = find_notes(Project(tmp_path, params))
    end = "spectrogram_std without effect: flowgrad_ic reads no spectrograms"
    assert note == f"flowgrad_ic_urbansas: {end}"
    del preset["spectrogram_std"]

    params["frames"]["short_side"] = 246
    notes = find_notes(Project(tmp_path, params))
    assert "frames.short_side is 246, so they are enlarged" in notes[0] and len(notes) == 1
    params["frames"]["short_side"] = 320

    params["datasets"] = ["flickr"]
    (note,) = find_notes(Project(tmp_path, params))
    assert "until sources.flickr.annotations_dir names their folder, nothing of flickr" in note
    params["sources"]["flickr"]["splits"] = ["flickr_10k"]
    assert find_notes(Project(tmp_path, params)) == []


def test_dvc_runs_the_stage_of_each_released_name(server, tmp_path):
    """The real graph: the stage, its parameters and its output; offline it fails with one line."""
    write_checkpoint(tmp_path / "en.ckpt")
    url = server.add("/en.ckpt", Answer((tmp_path / "en.ckpt").read_bytes()))
    entry = {
        "method": "flowgrad_en",
        "url": url,
        "sha256": sha256_of(tmp_path / "en.ckpt"),
        "settings": NARROW,
    }
    folder = make_checkout(
        tmp_path / "checkout", {"weights.theirs": entry, "released": ["theirs"], "models": []}
    )
    skip_check(folder)
    assert "flowgrad_en weights of" in run(folder, "dvc", "repro", "weights@theirs")
    assert (
        json.loads((folder / "cache/runs/theirs/run.json").read_text())["selection"] == "released"
    )
    assert "up to date" in run(folder, "dvc", "repro", "weights@theirs")
    assert "cache/runs/theirs" in run(folder, "dvc", "dag", "--outs", "evaluate")


def test_command_line_of_the_stage(tmp_path, monkeypatch, capsys):
    """What `python -m stages.weights x` does, in this process."""
    project = released_project(tmp_path, {"x": {"method": "lvs", "url": "nowhere.pth"}})
    skip_check(project.root)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("sys.argv", ["weights.py", "x"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "stages" / "weights.py"), run_name="__main__")
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "nowhere.pth" in message
    assert message.count("\n") == 1
