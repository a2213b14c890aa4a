"""Runs name their inputs: a change of one run's inputs touches this run alone."""

import json
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

import stages.inputs
import stages.train
from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, write_table
from eval.results.evaluate import EvaluationParameters
from pipeline.base.project import Project
from pipeline.shards.account import account_path, write_account
from tests.helpers.changed_params import check_changed_params
from tests.helpers.checkouts import change_parameter, make_checkout
from tests.helpers.toy_project import NUM_TEST, NUM_TRAIN, NUM_VAL, make_toy_project
from tests.helpers.training.toy_features import write_features
from train.inference.entrants import collect_entrants
from train.runs.run_folder import read_run
from train.runs.settings import RunData, read_run_data

TWO_RUNS = {
    "a": {"method": "ezvsl"},
    "b": {"method": "ezvsl", "features": ["spectrograms-b"], "protocol": "ezvsl"},
}


@pytest.fixture
def project(tmp_path):
    """A toy project whose run ``b`` reads a variant of the spectrograms."""
    project = make_toy_project(
        tmp_path,
        TWO_RUNS,
        variants=["spectrograms-b"],
        feature_variants={"spectrograms-b": {"preset": "lvs"}},
        detections={"datasets": []},
    )
    other, _, _ = write_features(tmp_path / "other", NUM_TRAIN + NUM_VAL + NUM_TEST)
    shutil.copytree(other["spectrograms"], project.feature_dir("sample", "spectrograms-b"))

    write_table(project.downloads_table_path("sample"), [], DOWNLOADS)
    for name in ("frames", "spectrograms", "spectrograms-b"):
        write_account(project, "sample", name, num_bytes=1)
    return project


def read_inputs(project) -> dict[str, dict]:
    stages.inputs.main(project)
    paths = sorted(project.run_inputs_dir.iterdir())
    return {path.stem: json.loads(path.read_text()) for path in paths}


def test_the_inputs_of_a_run_change_with_what_it_reads_alone(project):
    before = read_inputs(project)
    assert list(before) == ["a", "b"]
    assert before["b"]["features"]["spectrograms"]["name"] == "spectrograms-b"
    assert before["a"]["features"]["spectrograms"]["name"] == "spectrograms"

    write_account(project, "sample", "spectrograms-b", num_bytes=2)
    changed = read_inputs(project)
    assert changed["a"] == before["a"] and changed["b"] != before["b"]

    # A feature that no run reads changes nothing.
    account_path(project, "sample", "waveforms").write_text("{}")
    assert read_inputs(project) == changed


def test_a_run_that_takes_over_another_one_changes_with_it(project):
    project.params["train"]["a_seed1"] = {"method": "ezvsl", "preset": "a", "seed": 1}
    project.params["models"] = [*project.params["models"], "a_seed1"]
    before = read_inputs(project)
    project.params["train"]["a"]["epochs"] = 5
    after = read_inputs(project)
    assert [name for name in after if after[name] != before[name]] == ["a_seed1"]


def test_an_input_that_is_not_there_is_told_with_the_stage_that_writes_it(project):
    """As when somebody runs the stage by hand."""
    missing = (
        (account_path(project, "sample", "spectrograms-b"), "variants@spectrograms-b-sample"),
        (account_path(project, "sample", "frames"), "frames@sample"),
        (project.downloads_table_path("sample"), "download@sample"),
        (project.clips_table_path("sample"), "sources@sample"),
    )
    for path, stage in missing:
        path.unlink()
        with pytest.raises(DataError, match=rf"/{path.name}: not found; run `dvc repro {stage}`"):
            stages.inputs.main(project)


def test_training_and_evaluation_read_the_variant(project):
    """Neither opens the feature of this name: its folder may be away."""
    shutil.rmtree(project.feature_dir("sample", "spectrograms"))
    project.params["models"] = ["b"]
    stages.train.main(project, "b")
    assert read_run(project.run_dir("b"))["num_train"] == NUM_TRAIN

    entrants = collect_entrants(project, EvaluationParameters(baselines=()))
    assert [entrant.name for entrant in entrants] == ["b", "b_untrained"]
    for entrant in entrants:
        assert entrant.reads == ("frames", "spectrograms-b")
        readers = {
            name: FeatureReader(project.feature_dir("sample", name)) for name in entrant.reads
        }
        assert len(entrant.predict(readers["frames"].sample_ids[:2], readers)) == 2


LVS = {
    "datasets": ["vggsound"],
    "models": ["lvs_144k"],
    "variants": ["spectrograms-lvs"],
    "sources.vggsound.splits": ["vggss_144k", "vggss_test"],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": []}, "run lvs_144k reads spectrograms-lvs, .* add spectrograms-lvs to var"),
        ({"datasets": ["flickr"]}, "train.lvs_144k.dataset is 'vggsound'; expected one of .data"),
        (
            {"sources.vggsound.splits": ["vggss_10k", "vggss_test"]},
            "'vggss_144k'.*; sources.vggsound gives the",
        ),
        ({"models": ["ezvsl"]}, "train.ezvsl.train_split is 'train'; sources.vggsound gives"),
        ({"evaluate.protocols": ["earshot"]}, "protocol is 'lvs', which evaluate.protocols"),
        ({"train.lvs_144k.protocol": "lsv"}, "protocol has 'lsv', did you mean lvs?"),
        ({"train.lvs_144k.features": ["spectrograms-lsv"]}, "did you mean spectrograms-lvs?"),
        ({"train.lvs_144k.features": ["flow-jpeg8"]}, "'flow-jpeg8'; .* reads: frames, spectro"),
        ({"train.lvs_144k.features": "spectrograms-lvs"}, "features is 'spectrograms-lvs'"),
        (
            {"train.lvs_144k.features": ["spectrograms-lvs", "spectrograms-htf"]},
            "several variants of spectrograms",
        ),
        ({"train.lvs_144k.dataset": 3}, "train.lvs_144k.dataset is 3, expected str"),
        (
            {"models": ["ezvsl_144k"], "variants": ["spectrograms-ezvsl"]}
            | {"sources.vggsound.splits": ["vggss_144k"], "evaluate.subsets.vggsound": []},
            "train.ezvsl_144k.test_split is 'vggss_test'",
        ),
        (
            {"models": ["hardpos_144k"], "train.hardpos_144k.sound_encoder": "cache/runs/lvs_144k"},
            "lvs_144k, which reads spectrograms-lvs, but hardpos_144k reads spectrograms; name a",
        ),
        (
            {"datasets": ["local"], "train.ezvsl.dataset": "local", "models": ["ezvsl"]},
            "train.ezvsl.train_split is 'train'; sources.local gives the splits local",
        ),
    ],
)
def test_a_run_that_lacks_something_is_refused_before_anything_is_fetched(changes, message):
    check_changed_params(LVS)
    with pytest.raises(ParameterError, match=message):
        check_changed_params({**LVS, **changes})


def test_videos_of_ones_own_are_evaluated_by_runs_that_do_not_name_them():
    check_changed_params({"datasets": ["local"]})


def test_the_dataset_of_a_run_is_the_first_one_unless_it_names_another(project):
    assert read_run_data(project, "a").find_dataset(project) == "sample"
    assert RunData(dataset="flickr").find_dataset(project) == "flickr"
    assert RunData(features=("flow-x",)).find_features(("frames", "flow")) == {
        "frames": "frames",
        "flow": "flow-x",
    }


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A checkout whose stages seem to have run: DVC took the outputs that stand there as theirs."""
    changes = {
        "models": ["ezvsl", "lvs"],
        "train.ezvsl.features": ["spectrograms-ezvsl"],
        "train.lvs.features": ["spectrograms-lvs"],
        "variants": ["spectrograms-ezvsl", "spectrograms-lvs", "spectrograms-htf"],
    }
    folder = make_checkout(tmp_path / "checkout", changes)
    monkeypatch.chdir(folder)  # where DVC's own library expects to be
    repo = Repo(folder)
    for out in repo.index.outs:
        path = Path(out.fs_path)
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        else:
            path.mkdir(parents=True, exist_ok=True)
            (path / "content").write_text(path.name)
    shutil.rmtree(folder / "cache" / "inputs")
    stages.inputs.main(Project.load(folder))
    repo.commit(force=True)
    return Repo(folder)


def test_a_changed_input_of_one_run_touches_that_run_alone(repo):
    folder = Path(repo.root_dir)
    assert Repo(folder).status() == {}

    # Another variant for one run: no feature is computed, the other run is not trained.
    change_parameter(folder, "train.lvs.features", ["spectrograms-htf"])
    assert set(Repo(folder).status()) == {"inputs", "train@lvs"}
    stages.inputs.main(Project.load(folder))
    changed = Repo(folder).status()
    assert set(changed) == {"inputs", "train@lvs", "evaluate"}
    assert changed["train@lvs"][0].keys() == {"changed deps"}

    # Other settings of a variant: its own arrays, then the run that reads them.
    repo.commit(force=True)
    change_parameter(folder, "feature_variants.spectrograms-ezvsl.preset", "htf")
    assert set(Repo(folder).status()) == {"variants@spectrograms-ezvsl-sample"}
    (folder / "manifests" / "sample" / "spectrograms-ezvsl.json").write_text("other arrays")
    stages.inputs.main(Project.load(folder))
    changed = set(Repo(folder).status())
    assert {name for name in changed if name.startswith(("train", "spectrograms", "frames"))} == {
        "train@ezvsl"
    }


def test_without_variants_the_stages_are_those_of_before(tmp_path):
    """The names and folders of the standard features are as they were."""
    repo = Repo(make_checkout(tmp_path / "checkout"))
    names = {stage.name for stage in repo.index.stages}
    assert names == {
        *("sources@sample", "download@sample", "frames@sample", "spectrograms@sample"),
        *("flow@sample", "inputs", "train@ezvsl", "train@htf", "evaluate", "report"),
    }
