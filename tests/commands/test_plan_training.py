"""``plan`` about training: hours from trainings of this checkout, and what is trained already."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest
import yaml

from earshot.tables import DOWNLOADS
from pipeline.base.project import Project
from pipeline.commands.training_rates import _FREE_PARAMETERS, _TRAINED_AS, _read_defaults
from tests.helpers.command_helpers import run
from tests.helpers.paths import ROOT

_PAST = {"method": "lvs", "batch_size": 100, "width": 16, "epochs": 2, "seed": 3}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """A list with 1,000 samples of which none is here, and no rates of clips and features."""
    monkeypatch.setattr("pipeline.commands.rates.Rates.find_checks", lambda *_: 0.0)
    monkeypatch.setattr("pipeline.commands.rates.Rates.find_features", lambda *_: {})
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    rows = [f"c{n},http://127.0.0.1:1/{n}.mp4,{'train' if n else 'val'}" for n in range(1001)]
    (tmp_path / "birds.csv").write_text("id,url,split\n" + "\n".join(rows) + "\n")

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["birds"], "models": ["mine"]}
    params["sources"]["birds"] = {"kind": "table", "path": str(tmp_path / "birds.csv")}
    params["train"]["mine"] = _PAST | {"epochs": 10, "seed": 0, "train_split": "train"}
    params["train"]["past"] = _PAST
    return write(Project(tmp_path, params))


def write(project: Project, **settings) -> Project:
    """Write params.yaml, with further settings of the run that is planned."""
    project.params["train"]["mine"] |= settings
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    return project


def train(project: Project, name: str = "past", *, is_kept: bool = True, **changes) -> None:
    """Write what a training leaves: 1,000 samples at 100 a second."""
    parameters = _read_defaults(ROOT)["lvs"] | _PAST | changes.pop("parameters", {})
    facts = {
        "status": "ok",
        "parameters": parameters,
        "num_train": 990,
        "num_unusable": {"frames: gone": 10},
        "device": "cpu",
        "history": [{"samples_per_second": rate} for rate in (20.0, 100.0, 101.0)],
    }
    kept = project.training_dir / name / "finished" / "run"
    folder = kept if is_kept else project.run_dir(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts | changes))


def plan(capsys, project: Project, *words: str) -> tuple[dict[str, dict], str]:
    """Return the lines of runs by their name, and the notes."""
    code, printed, notes = run(capsys, project, "plan", "--format", "json", *words)
    assert code == 0, notes
    rows = {row["stage"]: row for row in json.loads(printed)}
    return {name[6:]: row for name, row in rows.items() if name.startswith("train@")}, notes


def test_hours_are_samples_times_epochs_over_the_rate(project, capsys):
    train(project)
    rows, notes = plan(capsys, project)
    row = rows["mine"]
    assert (row["there"], row["to_do"]) == (0, 1000)
    assert row["hours"] == pytest.approx(100 / 3600, rel=0.01)
    assert row["cpu_hours"] == pytest.approx(4 * 100 / 3600, rel=0.01)
    assert row["gpu_hours"] is None
    assert (
        "train@mine: hours are from a rate of this machine: 100 samples a second on the CPU, "
        "measured in the training of past, 2"
    ) in notes
    assert "evaluation is not counted" in notes

    # An epoch leaves an incomplete batch out: three of 300 remain.
    train(project, parameters={"batch_size": 300})
    rows, _ = plan(capsys, write(project, batch_size=300))
    assert rows["mine"]["hours"] == pytest.approx(90 / 3600, rel=0.01)


def test_hours_of_a_gpu_are_named_so(project, capsys):
    train(project, device="NVIDIA Test GPU")
    project.params["hardware"] = {"devices": 2}
    rows, notes = plan(capsys, write(project))
    assert rows["mine"]["gpu_hours"] == pytest.approx(2 * 100 / 3600, rel=0.01)
    assert rows["mine"]["cpu_hours"] is None
    assert "100 samples a second on NVIDIA Test GPU" in notes

    project.params["hardware"] = {"accelerator": "cpu"}
    rows, notes = plan(capsys, write(project))
    assert rows["mine"]["hours"] is None and "train@mine: hours are not counted" in notes


@pytest.mark.parametrize(
    ("settings", "is_same"),
    [
        ({"learning_rate": 0.5, "init": "random", "train_split": "train"}, True),
        ({"width": 32}, False),
        ({"method": "ezvsl"}, False),
        ({"batch_size": 50}, False),
        ({"backbone": "resnet50"}, False),
        ({"features": ["spectrograms-lvs"]}, False),
    ],
)
def test_a_rate_fits_runs_whose_samples_cost_the_same(project, capsys, settings, is_same):
    train(project)
    rows, notes = plan(capsys, write(project, **settings))
    assert (rows["mine"]["hours"] is not None) == is_same
    assert ("train@mine: hours are not counted, since this checkout" in notes) != is_same


def test_rates_are_of_this_machine_alone(project, capsys):
    """A run folder may be pulled; a training that stopped never leaves its machine."""
    train(project, is_kept=False)
    assert plan(capsys, project)[0]["mine"]["hours"] is None
    train(project, is_kept=False, status="stopped")
    assert plan(capsys, project)[0]["mine"]["hours"] is not None
    # What is damaged, or was never trained, is no rate.
    (project.run_dir("past") / "run.json").write_text("{")
    assert plan(capsys, project)[0]["mine"]["hours"] is None


def test_a_trained_run_is_there_until_its_samples_or_settings_change(project, capsys, monkeypatch):
    project.params["models"] = ["past"]
    train(project, is_kept=False)
    # Clips to fetch will be further samples.
    assert plan(capsys, write(project))[0]["past"]["to_do"] == 1000

    def find(clips, *_, **__):
        columns = {"clip_id": clips["clip_id"], "status": ["ok"] * len(clips)}
        return _make_downloads(columns)

    monkeypatch.setattr("pipeline.commands.planned_dataset.find_current_downloads", find)
    monkeypatch.setattr("pipeline.commands.planned_dataset._plan_features", lambda *_: [])
    rows, notes = plan(capsys, project)
    assert (rows["past"]["there"], rows["past"]["to_do"], rows["past"]["hours"]) == (1000, 0, 0.0)
    assert "train@past" not in notes
    # Another dataset is another training, even if it has as many samples.
    project.params["sources"]["cats"] = project.params["sources"]["birds"]
    assert plan(capsys, write(project), "cats")[0]["past"]["to_do"] == 1000

    train(project, is_kept=False, num_train=900)
    assert plan(capsys, project)[0]["past"]["to_do"] == 1000
    train(project, is_kept=False, parameters={"epochs": 5})
    assert plan(capsys, project)[0]["past"]["to_do"] == 1000
    train(project, is_kept=False, status="stopped")
    assert plan(capsys, project)[0]["past"]["to_do"] == 1000


def _make_downloads(columns: dict):
    number = len(columns["clip_id"])
    return pa.table(
        {
            field.name: columns.get(field.name, pa.nulls(number, field.type))
            for field in DOWNLOADS.columns
        }
    )


def test_a_run_that_comes_first_counts_and_equal_weights_count_once(project, capsys):
    train(project, parameters={"method": "rcgrad"})
    runs = project.params["train"]
    runs["mine"]["init"] = "cache/runs/first"
    runs["first"] = {"method": "rcgrad", "batch_size": 100, "width": 16, "epochs": 1}
    runs["flow"] = runs["first"] | {"method": "flowgrad_h"}
    project.params["models"] = ["mine", "flow", "first"]
    rows, notes = plan(capsys, write(project))
    assert list(rows) == ["first", "mine", "flow"]
    assert rows["flow"]["hours"] == 0.0
    assert "train@flow: its weights are those of first, which has the hours" in notes

    # Once the graph has run, it is known what each of them reads.
    for name, reads in (("first", ["frames"]), ("flow", ["frames", "flow"])):
        path = project.run_inputs_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"features": dict.fromkeys(reads)}))
    project.params["models"] = ["flow", "first"]
    rows, notes = plan(capsys, write(project))
    assert "train@first: its weights are those of flow" in notes


def test_runs_without_samples_and_wrong_runs(project, capsys):
    rows, notes = plan(capsys, write(project, train_split="nowhere"))
    assert rows == {}
    assert "train@mine: not trained, since birds has no samples in 'nowhere'" in notes
    project.params["download"]["network"] = False
    rows, notes = plan(capsys, write(project, train_split="train"))
    assert "since birds has no clips here, or to fetch, of 'train'" in notes
    del project.params["download"]["network"]
    rows, notes = plan(capsys, write(project, dataset="flickr"))
    assert "train@mine: trains on flickr, which is not planned here" in notes

    write(project, dataset="birds", train_split="train", epochs="ten")
    code, _, message = run(capsys, project, "plan")
    assert code == 2 and "params: train.mine.epochs is 'ten', expected a whole number" in message
    project.params["models"] = ["your"]
    code, _, message = run(capsys, write(project), "plan")
    assert code == 2 and "missing section train.your" in message


def test_steps_are_measured_on_request_and_kept(project, capsys, monkeypatch):
    requests, answers = [], {}

    def measure(*_, input: str, **__):
        requests.append(json.loads(input))
        return SimpleNamespace(returncode=0, stdout=json.dumps(answers))

    monkeypatch.setattr("pipeline.commands.step_rates.subprocess.run", measure)
    assert plan(capsys, project)[0]["mine"]["hours"] is None
    assert requests == []

    # Two seeds cost the same, so one of them is measured.
    project.params["train"]["more"] = project.params["train"]["mine"] | {"seed": 1}
    project.params["models"] = ["mine", "more"]
    answers["mine"] = {"samples_per_second": 50.0, "device": "cpu"}
    rows, notes = plan(capsys, write(project), "--measure")
    assert [request["runs"] for request in requests] == [{"mine": 1000}]
    assert requests[0]["params"] == project.params
    assert rows["more"]["hours"] == rows["mine"]["hours"] == pytest.approx(200 / 3600, rel=0.01)
    assert "50 samples a second on the CPU, measured on steps without reading inputs, 2" in notes
    assert plan(capsys, project)[0] == rows and len(requests) == 1

    # Other costs, other hardware and another machine are other rates.
    assert plan(capsys, write(project, width=32))[0]["mine"]["hours"] is None
    hardware = project.params.pop("hardware")
    assert plan(capsys, write(project, width=16))[0]["mine"]["hours"] is None
    project.params["hardware"] = hardware
    assert plan(capsys, write(project))[0] == rows
    monkeypatch.setattr("pipeline.commands.step_rates.describe_machine", lambda: "a faster one")
    assert plan(capsys, write(project))[0]["mine"]["hours"] is None
    # A training says more than steps alone.
    train(project)
    rows, notes = plan(capsys, write(project), "--measure")
    assert "measured in the training of past" in notes and len(requests) == 1


def test_steps_that_cannot_be_measured_are_named(project, capsys, monkeypatch):
    answer = {"mine": {"problem": "no weights of VGGish"}}
    done = SimpleNamespace(returncode=0, stdout=json.dumps(answer))
    monkeypatch.setattr("pipeline.commands.step_rates.subprocess.run", lambda *_, **__: done)
    rows, notes = plan(capsys, project, "--measure")
    assert rows["mine"]["hours"] is None and "train@mine: hours are not counted" in notes
    assert "train@mine: the step was not measured: no weights of VGGish" in notes

    done.returncode = -9
    _, notes = plan(capsys, project, "--measure")
    assert "train@mine: measuring the training step ended with code -9" in notes


@pytest.mark.slow
def test_steps_are_measured_by_a_program_of_their_own(project, capsys):
    small = yaml.safe_load((ROOT / "params.yaml").read_text())["train_presets"]["small"]
    rows, notes = plan(capsys, write(project, **small, method="ezvsl"), "--measure")
    assert rows["mine"]["hours"] > 0, notes
    assert "measured on steps without reading inputs" in notes


def test_the_lists_of_parameters_and_methods_are_those_of_the_classes():
    defaults = _read_defaults(ROOT)
    known = {key for parameters in defaults.values() for key in parameters}
    assert known >= _FREE_PARAMETERS
    # Read, not imported: PyTorch takes seconds.
    found = {}
    for path in (ROOT / "train" / "models").glob("*.py"):
        for line in path.read_text().splitlines():
            name, _, value = line.strip().partition(": ClassVar[str | None] = ")
            if name == "trained_as" and value != "None":
                found[path.stem] = value.strip('"')
    assert found == _TRAINED_AS
