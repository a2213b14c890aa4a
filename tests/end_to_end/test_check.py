"""All of params.yaml is checked before any stage works, and each message names what is right."""

import contextlib
import subprocess
import sys

import pytest
import yaml

from earshot.errors import EarshotError, ParameterError
from pipeline.base.parameters import read_yaml
from pipeline.base.project import Project
from stages.check import check_params
from tests.helpers.changed_params import check_changed_params
from tests.helpers.paths import ROOT

PARAMS = read_yaml(ROOT / "params.yaml")


def test_the_parameters_of_this_checkout_are_right():
    check_changed_params({})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dataset", ["sample"], "unknown section of params.yaml: 'dataset', did you mean datasets"),
        ("datasets", ["sampel"], "unknown dataset in datasets: 'sampel', did you mean sample?"),
        ("datasets", ["local", "local"], "datasets has 'local' twice"),
        ("datasets", [], r"datasets is \[\], expected some of"),
        ("datasets", "sample", "datasets is 'sample', expected a list"),
        ("models", ["ezvls"], "unknown run in models .*'ezvls', did you mean ezvsl?"),
        ("models", ["htf", "htf"], "models has 'htf' twice"),
        ("released", ["rcgrad"], "unknown run in released .*, did you mean rcgrad_released?"),
        ("evaluate.protocols", ["earshot", "lvss"], "unknown protocol 'lvss'"),
        ("evaluate.protocols", [], "main_protocol is 'earshot', expected one of"),
        ("evaluate.baselines", ["center"], "baseline in evaluate.baselines: 'center', did you"),
        ("evaluate.external", ["a.npz"], r"evaluate.external is \['a.npz'\], expected a mapping"),
        ("evaluate.external", {"a": 3}, "evaluate.external.a is 3, expected str"),
        ("evaluate.external", {"a": "no.npz"}, "external.a is 'no.npz', and there is no such file"),
        ("evaluate.external", {"a": ""}, "external.a is '', and there is no such file"),
        ("evaluate.external", {"a": "dvc.yaml"}, "'dvc.yaml', expected an .npz file"),
        ("evaluate.external", {"a/b": "docs"}, "external has the name 'a/b', expected letters"),
        ("evaluate.external", {"htf": "docs"}, "external.htf: another model or baseline has this"),
        ("evaluate.external", {"htf_untrained": "docs"}, "another model or baseline has this name"),
        ("evaluate.external", {"flow": "docs"}, "another model or baseline has this name"),
        ("evaluate.subsets", {"sampel": []}, "names the dataset 'sampel'"),
        ("evaluate.subsets.sample", "single", "evaluate.subsets.sample is 'single', expected a"),
        ("evaluate.subsets.sample", [1], r"evaluate.subsets.sample\[0\] is 1, expected str"),
        ("sources.smple", {}, "unknown dataset in sources: 'smple', did you mean sample?"),
        ("sources.flickr.splits", [], "splits is empty"),
        ("sources.local.every_second", 2, "unknown key .*, did you mean every_seconds?"),
        ("sources.local.every_seconds", 0.0015, "every_seconds is 0.0015, expected 0.002 or more"),
        ("sources.urbansas.unlabelled_every_seconds", 0.001, "expected 0.002 or more"),
        ("detections.datasets", ["urbanas"], "'urbanas', did you mean urbansas?"),
        ("detections.detector.min_scores", 0.1, "did you mean min_score?"),
        ("flow.windowsize", 21, "unknown key flow.windowsize, did you mean window_size?"),
        ("spectrogram.preset", "ezvls", "did you mean ezvsl?"),
        ("cache.shard_samples", -3, "shard_samples is -3, expected 1 or more"),
        ("cache.shard_samples", 0, "shard_samples is 0, expected 1 or more"),
        ("cache.max_failed_fraction", 50, "max_failed_fraction is 50.0, expected 0 to 1"),
        ("cluster.workers", "2", "cluster.workers is '2', expected int; .* text: write 2"),
        ("train.ezvsl.method", "ezvls", "'ezvls'"),
        ("train.ezvsl.preset", "smal", "train.ezvsl.preset is 'smal'"),
        ("train.ezvsl.preset", ["small"], r"train.ezvsl.preset is \['small'\], expected one of"),
        ("train_presets", 5, "train_presets is 5, expected a mapping"),
        ("train_presets.small", [1], r"train_presets.small is \[1\], expected a mapping"),
        ("download.proxy", [1], "download.proxy is a value of another kind, expected str"),
        ("train.htf.learning_rate", "1e-3", r"reads it as text: write 1\.0e-3"),
        ("train.htf.learning_rate", "3E4", r"reads it as text: write 3\.0e\+4"),
        ("train.htf.learning_rate", "fast", "learning_rate is 'fast', expected a number$"),
        ("train.htf.learning_rate", float("nan"), "is nan, expected a finite number"),
        ("frames.short_side", True, "frames.short_side is True, expected int"),
        ("flow.fps", float("inf"), "is inf, expected a finite number"),
        ("hardware.precison", "auto", "did you mean precision?"),
        ("audit.allow_leak", True, "did you mean allow_leakage?"),
        ("report.gallery", 3, "unknown key report.gallery"),
        ("weights.rcgrad_released.sha", "x", "unknown key weights.rcgrad_released.sha"),
        ("download", {True: 5}, "unknown key download.True .*on, off, yes and no .*quotes"),
        ("train", {True: {}}, "train has the key True, expected a name .*in quotes"),
        ("sources", ["sample"], r"sources is \['sample'\], expected a mapping"),
        ("evaluate.main_protocol", False, "expected str .*in quotes"),
    ],
)
def test_what_is_wrong_is_one_sentence(name, value, message):
    with pytest.raises(ParameterError, match=message):
        check_changed_params({name: value})


def _iter_numbers(value, where=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _iter_numbers(item, f"{where}.{key}" if where else key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield where


@pytest.mark.parametrize("value", [-3, 0, float("nan"), 10**30, "1e-3"])
def test_no_number_is_a_traceback(monkeypatch, value):
    monkeypatch.setattr("stages.check._check_training", lambda project: None)
    names = [name for name in _iter_numbers(PARAMS) if not name.startswith(("train", "weights"))]
    assert len(names) >= 25
    for name in names:
        if isinstance(value, int):  # some may be 0, and a few may be huge
            with contextlib.suppress(EarshotError):
                check_changed_params({name: value})
        else:
            with pytest.raises(EarshotError, match=r"params: "):
                check_changed_params({name: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [sample]\ncache: {shard_samples: 3, shard_samples: 4}\n", "shard_samples appe"),
        ("datasets: [sample]\ndatasets: [local]\n", "key datasets appears twice in line 2"),
        ("datasets: [sample]\ncluster: {on: 1, workers: 2}\n", "unknown key cluster.True"),
        ("datasets: [sample]\n5: x\n", "unknown section of params.yaml: 5"),
    ],
)
def test_a_stage_says_what_is_wrong_in_another_section(tmp_path, text, message):
    """In a folder of its own, where only the code's place is known."""
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "stages.report"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_params_yaml_is_checked_once_after_each_change(tmp_path, monkeypatch):
    from stages.common import run_stage

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    calls = []

    class Done:
        returncode = 0

    monkeypatch.setattr(
        "stages.common.subprocess.run", lambda command, **_: calls.append(command) or Done
    )
    for workers in (1, 1, 2):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"cluster": {"workers": workers}}))
        run_stage(lambda project: None)
    assert len(calls) == 2


@pytest.mark.parametrize("command", [["-m", "stages.sources", "sample"], ["-m", "pipeline"]])
def test_without_the_packages_there_is_one_sentence(command):
    """``-S`` leaves out the installed packages, as another Python does."""
    done = subprocess.run(
        [sys.executable, "-S", *command], cwd=ROOT, capture_output=True, text=True, env={}
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "the package yaml is missing, expected the environment of the project" in done.stderr


def test_a_command_in_a_subfolder_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "../pipeline", "status"], cwd=ROOT / "docs", capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == ("error: run `python -m pipeline` in the root of a checkout of Earshot\n")


def test_a_table_of_the_users_own_is_a_dataset_like_others(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["datasets"] = ["birds"]
    params["sources"]["birds"] = {"kind": "table", "path": "birds.csv"}
    params["evaluate"]["subsets"]["birds"] = ["test"]
    check_params(Project(tmp_path, params))
    params["evaluate"]["subsets"]["brids"] = ["test"]
    with pytest.raises(ParameterError, match=r"names the dataset 'brids', expected .*birds"):
        check_params(Project(tmp_path, params))


def test_where_nothing_is_trained_the_check_imports_no_pytorch():
    """For others it takes four seconds; what they train may be wrong here."""
    program = (
        "import sys; from tests.helpers.changed_params import check_changed_params as check; "
        "check({'models': [], 'train.ezvsl.epochs': 'many'}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    with pytest.raises(ParameterError, match=r"ezvsl\.epochs is 'many'"):
        check_changed_params({"train.ezvsl.epochs": "many"})
