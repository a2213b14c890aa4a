"""The key of a training run changes with all that its weights depend on, and with nothing else."""

import shutil

import pytest

import stages.train
import train.experiment
from pipeline.base.import_closure import import_closure
from tests.helpers.paths import ROOT
from tests.helpers.toy_project import make_toy_project
from train.models.registry import METHODS
from train.runs.run_key import list_deciding_modules

MODELS = {name: {"method": name} for name in ("rcgrad", "flowgrad_h", "flowgrad_en", "ezvsl")}


@pytest.fixture
def key_of(tmp_path, monkeypatch):
    """Return what computes the key of a method as the training stage does.

    It takes the code of a copy that tests may change.
    """
    project = make_toy_project(tmp_path / "project", MODELS)
    code_dir = tmp_path / "code"
    for package in ("earshot", "pipeline", "eval", "train"):
        shutil.copytree(
            ROOT / package, code_dir / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    keys = []
    original = train.experiment.compute_run_key

    def compute(*inputs, source_dir):
        assert source_dir == ROOT
        keys.append(original(*inputs, source_dir=code_dir))
        return keys[-1]

    monkeypatch.setattr(train.experiment, "compute_run_key", compute)
    monkeypatch.setattr(train.experiment, "obtain_run", lambda *args, **options: None)

    def key_of(method):
        stages.train.main(project, method)
        return keys[-1]

    key_of.code_dir = code_dir
    return key_of


def edit(path):
    path.write_text(path.read_text() + "\nedited = True\n")


def test_a_run_depends_on_what_it_imports_and_on_nothing_else(key_of):
    modules = list_deciding_modules("rcgrad")
    needed = set().union(*(import_closure(name, root=ROOT) for name in modules))
    assert {
        "train/networks/losses.py",
        "train/data/loader.py",
        "train/models/rcgrad.py",
        "train/models/localizer.py",
    } <= needed
    assert {"eval/scoring/score_maps.py", "earshot/reader.py"} <= needed
    previous = key_of("rcgrad")
    others = {
        "train/localize.py",
        "train/models/ezvsl.py",
        "train/runs/finished_runs.py",
        "train/experiment.py",
        "pipeline/downloads/engine.py",
    }
    others |= {"train/inference/object_baseline.py", "eval/report/build_report.py"}
    assert not others & needed
    for path in sorted(others):
        edit(key_of.code_dir / path)
    assert key_of("rcgrad") == previous
    for path in sorted(needed):
        edit(key_of.code_dir / path)
        current = key_of("rcgrad")
        assert current != previous, path
        previous = current


def test_a_method_depends_on_the_module_whose_training_it_shares(key_of):
    first = {method: key_of(method) for method in MODELS}
    assert first["rcgrad"] == first["flowgrad_h"]
    assert len(set(first.values())) == 3
    edit(key_of.code_dir / "train/models/rcgrad.py")
    second = {method: key_of(method) for method in MODELS}
    assert second["rcgrad"] == second["flowgrad_h"] != first["rcgrad"]
    assert second["ezvsl"] == first["ezvsl"]


_SOURCE = '''"""Say what the module does."""

RATE = 3


class Rate:
    """Say what the class holds."""

    def scale(self, number):
        """Say what the method returns."""
        return self.scale(RATE * number + 1)
'''


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("RATE = 3\n", "RATE = 3  # per second\n", True),
        ("Say what the module does.", "Explain the module.", True),
        ("Say what the class holds.", "Explain the class.", True),
        ("Say what the method returns.", "Explain the method.", True),
        ('        """Say what the method returns."""\n', "", True),
        (
            "self.scale(RATE * number + 1)",
            "self.scale(\n            (RATE*number) + 1\n        )",
            True,
        ),
        ("RATE = 3\n", "RATE = 4\n", False),
        ("number + 1", "number + 2", False),
        ("        return", "        number += 1\n        return", False),
        ("RATE = 3\n", "RATE = 'Say what the module does.'\n", False),
    ],
)
def test_only_statements_count(key_of, old, new, is_same):
    path = key_of.code_dir / "train/models/rcgrad.py"
    original = path.read_text()
    assert _SOURCE.count(old) == 1
    path.write_text(original + _SOURCE)
    before = key_of("rcgrad")
    path.write_text(original + _SOURCE.replace(old, new))
    assert (key_of("rcgrad") == before) == is_same


@pytest.mark.parametrize("method", METHODS)
def test_the_modules_that_decide_the_weights_exist(method):
    for name in list_deciding_modules(method):
        assert import_closure(name, root=ROOT)


def test_a_module_that_does_not_exist_is_an_error():
    with pytest.raises(
        ValueError, match=r"train\.fitt: no module of earshot, pipeline, eval, train, stages in"
    ):
        import_closure("train.fitt", root=ROOT)
