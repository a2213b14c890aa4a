"""``train@MODEL``: train what has the same weights once, whichever stage is first, and say so."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import stages.train
import train.experiment
from earshot.errors import ParameterError, RunError
from earshot.reader import FeatureReader
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from tests.helpers.checkouts import skip_check
from tests.helpers.paths import ROOT
from tests.helpers.toy_project import make_toy_project
from train.inference.predictor import load_predictor
from train.models.registry import METHODS, build_parameters, parameters_of_training
from train.runs.finished_runs import find_finished, obtain_run
from train.runs.run_folder import read_features, read_run
from train.runs.settings import read_run_parameters
from train.runs.tensor_files import load_tensors

PAIR = {"rcgrad": {"method": "rcgrad"}, "flowgrad_h": {"method": "flowgrad_h"}}


def weights_of(project, model):
    return load_tensors(project.run_dir(model) / "model.ckpt")["model"]


def maps_of(project, model):
    predictor = load_predictor(project.run_dir(model), device="cpu")
    readers = {name: FeatureReader(project.feature_dir("sample", name)) for name in predictor.reads}
    return predictor.predict(readers["frames"].sample_ids[:4], readers)


@pytest.fixture
def count_trainings(monkeypatch):
    """Names of the methods that were really trained, in order."""
    trained, original = [], train.experiment.fit

    def fit(parameters, *inputs, **options):
        trained.append(parameters.method)
        return original(parameters, *inputs, **options)

    monkeypatch.setattr(train.experiment, "fit", fit)
    return trained


def test_a_run_whose_feature_is_not_computed_says_what_to_add(tmp_path, count_trainings):
    project = make_toy_project(tmp_path, PAIR, waveform_datasets=["vggsound"])
    message = "run rcgrad reads waveforms, .* add sample to waveform_datasets"
    with pytest.raises(ParameterError, match=message):
        stages.train.main(project, "rcgrad")
    assert count_trainings == []


@pytest.mark.parametrize("order", [("rcgrad", "flowgrad_h"), ("flowgrad_h", "rcgrad")])
def test_rcgrad_and_its_product_with_flow_are_trained_once(
    tmp_path, count_trainings, capsys, order
):
    project = make_toy_project(tmp_path, PAIR)
    for model in order:
        stages.train.main(project, model)
    assert count_trainings == ["rcgrad"]
    assert (
        f"{order[1]}: its weights are those of {order[0]}; nothing was trained"
        in capsys.readouterr().out
    )
    first, second = weights_of(project, "rcgrad"), weights_of(project, "flowgrad_h")
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)

    runs = {model: read_run(project.run_dir(model)) for model in PAIR}
    assert {model: run["method"] for model, run in runs.items()} == {model: model for model in PAIR}
    assert {model: run["parameters"]["method"] for model, run in runs.items()} == {
        model: model for model in PAIR
    }
    product = runs["flowgrad_h"]
    assert (product["weights_from_run"], product["weights_trained_as"]) == (order[0], "rcgrad")
    assert runs["rcgrad"].get("weights_from_run") == (
        None if order[0] == "rcgrad" else "flowgrad_h"
    )
    for fact in ("selection", "best_epoch", "best_score", "num_train", "history", "status"):
        assert product[fact] == runs["rcgrad"][fact]
    # the features that a user's own video is prepared with: flow only where the model reads it
    assert set(read_features(project.run_dir("rcgrad"))) == {"frames", "waveforms"}
    assert set(read_features(project.run_dir("flowgrad_h"))) == {"frames", "flow", "waveforms"}
    curves = [project.curves_dir(model) / "plots" / "metrics" / "train_loss.tsv" for model in PAIR]
    assert curves[0].read_text() == curves[1].read_text()

    plain, product = maps_of(project, "rcgrad"), maps_of(project, "flowgrad_h")
    assert not np.allclose(plain, product)
    assert (product <= plain + 1e-6).all()  # times a flow that is brought to 0..1


def test_the_product_alone_is_trained_and_brought_back(
    tmp_path, count_trainings, capsys, monkeypatch
):
    monkeypatch.setitem(
        sys.modules, "dvclive", None
    )  # not installed: the stage has its folder of curves all the same
    project = make_toy_project(tmp_path, {"flowgrad_h": {"method": "flowgrad_h"}})
    for _ in range(2):
        stages.train.main(project, "flowgrad_h")
        run = read_run(project.run_dir("flowgrad_h"))
        assert (run["method"], run["weights_from_run"]) == ("flowgrad_h", "flowgrad_h")
        assert maps_of(project, "flowgrad_h").shape == (4, 32, 32)
        assert (
            tmp_path / "reports" / "training" / "flowgrad_h" / "metrics.json"
        ).read_text() == "{}\n"
    assert count_trainings == ["rcgrad"]
    assert "brought back the finished run" in capsys.readouterr().out


def test_other_parameters_are_another_training(tmp_path, count_trainings):
    project = make_toy_project(tmp_path, PAIR | {"flowgrad_h": {"method": "flowgrad_h", "seed": 1}})
    for model in PAIR:
        stages.train.main(project, model)
    assert count_trainings == ["rcgrad", "rcgrad"]
    assert read_run(project.run_dir("flowgrad_h"))["weights_from_run"] == "flowgrad_h"


def test_two_stages_at_once_train_once(tmp_path):
    project = make_toy_project(
        tmp_path, {name: values | {"epochs": 4} for name, values in PAIR.items()}
    )
    skip_check(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "stages.train", model],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for model in PAIR
    ]
    output = "".join(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0], output
    assert output.count("4 epochs on 16 samples") == 1, output
    assert output.count("nothing was trained") == 1, output
    first, second = (weights_of(project, model) for model in PAIR)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list((tmp_path / "cache" / "training").glob("lock-*"))


def test_params_yaml_gives_the_product_the_settings_of_its_rcgrad_run():
    project = Project.load(ROOT)
    products = [name for name in project.section("train") if name.startswith("flowgrad_h")]
    assert products
    for name in products:
        trained = parameters_of_training(read_run_parameters(project, name))
        assert trained == read_run_parameters(project, name.replace("flowgrad_h", "rcgrad"))


def test_every_run_of_params_yaml_has_valid_parameters():
    project = Project.load(ROOT)
    for name in project.section("train"):
        assert read_run_parameters(project, name).method in METHODS


def test_published_settings_of_params_yaml_prepare_inputs_as_their_authors():
    """EZ-VSL and HTF crop 224 of 246 at random and mirror; RCGrad takes the middle of 224."""
    project = Project.load(ROOT)
    for name in (
        "ezvsl_144k",
        "htf_144k",
        "rcgrad_vggsound",
        "flowgrad_ic_urbansas",
        "flowgrad_en_urbansas",
    ):
        parameters = read_run_parameters(project, name)
        is_cropped = parameters.method in ("ezvsl", "htf")
        assert (parameters.has_random_crop, parameters.has_flip) == (is_cropped, is_cropped)
        assert parameters.short_side == (246 if is_cropped else 224)
    htf = read_run_parameters(project, "htf_144k")
    assert (htf.flow_encoding, htf.flow_scale) == ("jpeg", pytest.approx(1 / 255))


def test_every_other_method_is_trained_as_itself():
    for method in METHODS:
        parameters = build_parameters({"method": method}, "test")
        assert parameters_of_training(parameters).method == (
            "rcgrad" if method == "flowgrad_h" else method
        )


def test_only_the_process_that_speaks_for_a_run_keeps_it(tmp_path):
    """Check that only the first process of a run writes it.

    Lightning starts the same command again for further devices; they train with the first one.
    """
    calls = []

    def train():
        calls.append("train")
        return False

    options = {"on_wait": lambda: calls.append("wait")}
    assert obtain_run(tmp_path, "a", "key", {"run": tmp_path / "run"}, train, **options) is None
    assert obtain_run(tmp_path, "a", "key", {}, train, **options, is_first_process=False) is None
    assert calls == ["train", "train"]
    assert find_finished(tmp_path, "key") is None


def test_two_training_processes_keep_one_run(tmp_path, count_trainings):
    """Train with two processes that run the same command.

    The second must neither wait for the lock of the first nor write its run.
    """
    project = make_toy_project(
        tmp_path, PAIR, hardware={"accelerator": "cpu", "num_threads": 1, "devices": 2}
    )
    skip_check(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "stages.train", "flowgrad_h"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("1 epochs on 16 samples") == 1, done.stdout
    stages.train.main(project, "rcgrad")
    assert count_trainings == []
    assert read_run(project.run_dir("rcgrad"))["weights_from_run"] == "flowgrad_h"
    kept = sorted((tmp_path / "cache" / "training").glob("*/finished/run/*"))
    assert [path.name for path in kept] == ["model.ckpt", "run.json"]


@pytest.mark.slow
def test_processes_of_torchrun_train_and_bring_back_together(tmp_path):
    """The first one decides for both: of the second run, nobody waits for the other."""
    hardware = {"accelerator": "cpu", "num_threads": 1, "devices": 2}
    project = make_toy_project(tmp_path, {"rcgrad": {"method": "rcgrad"}}, hardware=hardware)
    skip_check(tmp_path)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for words in ("1 epochs on 16 samples", "brought back the finished run"):
        done = subprocess.run(
            [sys.executable, "-m", *launcher, "-m", "stages.train", "rcgrad"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout
        assert done.stdout.count(words) == 1, done.stdout
    assert read_run(project.run_dir("rcgrad"))["status"] == "ok"


def test_without_a_dataset_there_is_nothing_to_train_on(tmp_path):
    project = make_toy_project(tmp_path, {"ezvsl": {"method": "ezvsl"}}, datasets=[])
    with pytest.raises(ParameterError, match=r"datasets is \[\], expected at least one"):
        stages.train.main(project, "ezvsl")


def test_a_failed_training_keeps_nothing_and_frees_the_lock(tmp_path):
    def fail():
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            obtain_run(tmp_path, "a", "key", {}, fail, on_wait=lambda: pytest.fail("waited"))
    assert list(tmp_path.iterdir()) == []


def test_training_is_refused_where_a_test_clip_has_the_bytes_of_a_training_clip(tmp_path):
    """Names differ, so only the hashes of the files tell."""
    project = make_toy_project(tmp_path, {"ezvsl": {"method": "ezvsl"}})
    clips = read_table(project.clips_table_path("sample"), CLIPS).to_pylist()
    test_clip = next(row["clip_id"] for row in clips if row["splits"] == ["test"])
    train_clip = next(row["clip_id"] for row in clips if row["splits"] == ["train"])

    def write_downloads(**sha256_of):
        rows = [
            dict.fromkeys(DOWNLOADS.columns.names)
            | {"clip_id": row["clip_id"], "status": "ok", "sha256": row["clip_id"]}
            for row in clips
        ]
        for row in rows:
            row["sha256"] = sha256_of.get(row["clip_id"], row["sha256"])
        write_table(project.downloads_table_path("sample"), rows, DOWNLOADS)

    write_downloads()
    train.experiment.read_experiment(project, "ezvsl")
    write_downloads(**{test_clip: "same", train_clip: "same"})
    message = f"training split train has 1 of the 4 clips of test split test .*{test_clip}"
    with pytest.raises(RunError, match=message):
        train.experiment.read_experiment(project, "ezvsl")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("test", "is 'test', expected a list of splits"),
        (["tset"], "has 'tset', which no clip is in"),
    ],
)
def test_training_is_refused_where_a_test_set_cannot_be_compared(tmp_path, splits, message):
    project = make_toy_project(
        tmp_path, {"ezvsl": {"method": "ezvsl"}}, evaluate={"subsets": {"sample": splits}}
    )
    with pytest.raises(ParameterError, match=message):
        train.experiment.read_experiment(project, "ezvsl")
