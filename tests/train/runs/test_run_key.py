"""The key of a training run changes with all that its weights depend on, and with nothing else."""

import functools
import shutil

import pytest
import torch

import stages.train
import train.experiment
from earshot.reader import INDEX_NAME
from earshot.tables import INDEX, SAMPLES, read_table, write_table
from pipeline.base.import_closure import import_closure
from tests.helpers.paths import ROOT
from tests.helpers.toy_project import TINY_RUN, make_toy_project
from train.models.registry import METHODS
from train.runs import run_key
from train.runs.run_key import list_deciding_modules

# Hundreds of keys are computed here, between which one module changes: each text is parsed once.
HASH_STATEMENTS = functools.cache(run_key._hash_statements)

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

    monkeypatch.setattr(run_key, "_hash_statements", HASH_STATEMENTS)
    monkeypatch.setattr(train.experiment, "compute_run_key", compute)
    monkeypatch.setattr(train.experiment, "obtain_run", lambda *args, **options: None)

    def key_of(method, **settings):
        project.params["train"][method] = {**TINY_RUN, **MODELS[method], **settings}
        stages.train.main(project, method)
        return keys[-1]

    key_of.code_dir, key_of.project = code_dir, project
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


def edit_index(project, feature, **changes):
    """Change the first row of a feature's index."""
    path = project.feature_dir("sample", feature) / INDEX_NAME
    first, *others = read_table(path, INDEX).to_pylist()
    write_table(path, [first | changes, *others], INDEX)


def test_a_run_depends_on_what_is_cached_of_its_samples(key_of):
    """A repair gives a failed sample its array under the same key, so it can train now."""
    keys = [key_of("ezvsl")]
    for changes in ({"status": "failed"}, {"status": "ok", "crc32": 7}, {"shard": "other.h5"}):
        edit_index(key_of.project, "frames", **changes)
        keys.append(key_of("ezvsl"))
    assert len(set(keys)) == 4


def test_a_run_depends_on_the_bytes_behind_init(key_of, tmp_path):
    path = tmp_path / "weights.pth"
    keys = []
    for content in (b"a", b"b", b"a"):
        path.write_bytes(content)
        keys.append(key_of("ezvsl", init=str(path), width=64))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    ("hardware", "is_same"),
    [
        ({"precision": "float32"}, True),  # what auto means on a CPU
        ({"precision": "bf16"}, False),
        ({"num_threads": 2}, False),
        ({"devices": 2}, False),
        ({"is_channels_last": False}, False),
        ({"memory_limit_mb": 7, "num_workers": 0, "checkpoint_every_seconds": 1}, True),
    ],
)
def test_hardware_counts_where_it_changes_a_loss(key_of, hardware, is_same):
    plain = key_of("ezvsl", negatives="local")
    key_of.project.params["hardware"].update(hardware)
    assert (key_of("ezvsl", negatives="local") == plain) == is_same


def test_auto_precision_of_a_gpu_is_another_one(key_of, monkeypatch):
    key_of.project.params["hardware"]["accelerator"] = "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = key_of("ezvsl")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert key_of("ezvsl") != on_cpu


@pytest.mark.parametrize("select_on", ["val", "test"])
def test_only_the_split_that_selects_counts(key_of, select_on):
    other = {"val": "test", "test": "val"}[select_on]
    path = key_of.project.samples_table_path("sample")
    rows = read_table(path, SAMPLES).to_pylist()
    for split, counts in ((other, False), (select_on, True)):
        before = key_of("ezvsl", select_on=select_on)
        moved = next(row for row in rows if row["splits"] == [split])
        moved["boxes"] = [[0.1, 0.1, 0.2, 0.2]]
        write_table(path, rows, SAMPLES)
        assert (key_of("ezvsl", select_on=select_on) != before) == counts


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
