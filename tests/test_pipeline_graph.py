"""dvc.yaml against the code: every stage depends on exactly the modules and parameters that it uses."""

import ast

import pytest
import yaml

from pipeline import datasets
from pipeline.import_closure import import_closure
from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def _definition(name: str) -> dict:
    return STAGES[name].get("do", STAGES[name])


def _module_deps(name: str, item: str) -> set[str]:
    deps = [dep.replace("${item}", item) for dep in _definition(name).get("deps", [])]
    return {dep for dep in deps if dep.endswith(".py")}


def _items(name: str) -> list[str]:
    if name == "sources":
        return list(datasets.NAMES)
    return ["sample"]


def _closure(name: str, item: str) -> set[str]:
    found = import_closure(f"stages.{name}", root=ROOT)
    if name == "sources":  # loads its dataset by name
        found |= import_closure(f"pipeline.datasets.{item}", root=ROOT)
    if "train/models/__init__.py" in found:  # loads its method by name
        for path in (ROOT / "train" / "models").glob("*.py"):
            found |= import_closure(f"train.models.{path.stem}", root=ROOT)
    return found


@pytest.mark.parametrize("name", sorted(STAGES))
def test_deps_are_the_import_closure(name):
    missing, needed = {}, set()
    for item in _items(name):
        closure = _closure(name, item)
        needed |= closure
        if closure - _module_deps(name, item):
            missing[item] = sorted(closure - _module_deps(name, item))
    assert not missing, f"dvc.yaml: {name} imports modules that are not among its deps"
    listed = set().union(*(_module_deps(name, item) for item in _items(name)))
    assert sorted(listed - needed) == [], f"dvc.yaml: {name} lists modules that it does not import"


def test_every_listed_file_and_parameter_exists():
    checked = 0
    for name, stage in STAGES.items():
        for dep in _definition(name).get("deps", []):
            if dep.endswith(".py") and "${" not in dep:
                assert (ROOT / dep).is_file(), f"{name}: {dep}"
                checked += 1
        for param in _definition(name).get("params", []):
            if "${" in param:
                continue
            value = PARAMS
            for key in param.split("."):
                assert isinstance(value, dict) and key in value, f"{name}: params.yaml has no {param}"
                value = value[key]
            checked += 1
        assert stage
    assert checked > 20


@pytest.mark.parametrize("name", sorted(STAGES))
def test_whatever_a_stage_writes_is_pushed(name):
    """An output that DVC does not cache is absent after `dvc pull`, and `dvc repro` would then run its stage anew."""
    definition = _definition(name)
    outputs = [output for kind in ("outs", "metrics", "plots") for output in definition.get(kind, [])]
    assert outputs
    for output in outputs:
        for path, options in output.items() if isinstance(output, dict) else [(output, {})]:
            assert options.get("cache", True) and options.get("push", True), f"dvc.yaml: {name}: {path}"


def test_import_closure_follows_functions_and_packages(tmp_path):
    for path, text in {
        "pipeline/__init__.py": '"""Docstring only."""\n',
        "pipeline/a.py": "def f():\n    from pipeline import b\n    return b\n",
        "pipeline/b.py": "import pipeline.c.d\nimport numpy\n",
        "pipeline/c/__init__.py": "X = 1\n",
        "pipeline/c/d.py": "from . import e\n",
        "pipeline/c/e.py": "",
        "pipeline/unused.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    expected = {f"pipeline/{name}.py" for name in ("a", "b", "c/__init__", "c/d", "c/e")}
    assert import_closure("pipeline.a", root=tmp_path) == expected


LAYERS = ("pipeline", "eval", "train", "stages")


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer):
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    paths = sorted((ROOT / layer).rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names} & set(LAYERS):
                assert top in allowed, f"{path.relative_to(ROOT)} ({layer}) imports {top}"
            if layer in ("pipeline", "eval"):
                assert not {name.split(".")[0] for name in names} & {"torch", "torchvision", "lightning"}, path
