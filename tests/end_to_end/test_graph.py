"""dvc.yaml against the code: every stage depends on the rooms and parameters that it uses."""

import ast

import pytest
import yaml

from pipeline.base.import_closure import import_closure, imported_names, is_only_docstring
from pipeline.features.registry import FEATURES, find_companions
from tests.helpers.paths import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
LAYERS = ("earshot", "pipeline", "eval", "train", "stages")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


# Clips are kept by the ledger of attempts, not by DVC. An edit of what downloads stand on
# (files, media) must not start them again, least of all for a colleague who pulled the results and
# has no ledger.
NOT_AMONG_DEPS = {
    "download": (
        "earshot/",
        "pipeline/base/",
        "pipeline/media/",
        "pipeline/lists/",
        "pipeline/datasets/",  # of which it asks whether files are linked
    )
}


def _definition(name: str) -> dict:
    return STAGES[name].get("do", STAGES[name])


def _code_deps(name: str) -> list[str]:
    """The files and folders of code that a stage lists."""
    deps = _definition(name).get("deps", [])
    return [dep for dep in deps if dep.split("/")[0] in ("stages", *LAYERS)]


def _closure(name: str) -> set[str]:
    """The files that a stage may import, also those that it finds by name."""
    page = _definition(name)["cmd"].split()[2]  # python -m stages.PAGE ...
    found = import_closure(page, root=ROOT)
    if page == "stages.feature":
        # A variant can be of any feature that is computed without a network.
        variable = [other for other, entry in FEATURES.items() if not entry.has_weights]
        features = variable if name == "variants" else (name, *find_companions(name))
        for feature in features:
            found |= import_closure(f"pipeline.features.{feature}", root=ROOT)
    if name == "variants":
        for settings in PARAMS["feature_variants"].values():
            if "code" in settings:
                found |= import_closure(settings["code"], root=ROOT)
    by_name = {
        "pipeline/datasets/dataset.py": ["pipeline/datasets"],
        "train/models/registry.py": ["train/models"],
    }
    for trigger, folders in by_name.items():
        if trigger in found:
            for folder in folders:
                for path in (ROOT / folder).rglob("*.py"):
                    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
                    found |= import_closure(module.removesuffix(".__init__"), root=ROOT)
    found.discard("stages/__init__.py")  # only checks that the packages are there
    return {path for path in found if not path.startswith(NOT_AMONG_DEPS.get(name, ("none/",)))}


@pytest.mark.parametrize("name", sorted(STAGES))
def test_deps_hold_the_import_closure(name):
    deps, closure = _code_deps(name), _closure(name)

    def lies_under(path, dep):
        return path == dep or path.startswith(f"{dep}/")

    outside = sorted(path for path in closure if not any(lies_under(path, dep) for dep in deps))
    assert outside == [], f"dvc.yaml: {name} imports modules outside of its deps"
    unused = [dep for dep in deps if not any(lies_under(path, dep) for path in closure)]
    assert unused == [], f"dvc.yaml: {name} lists code that it does not import"


def test_every_listed_file_and_parameter_exists():
    checked = 0
    for name, stage in STAGES.items():
        for dep in _code_deps(name):
            assert (ROOT / dep).exists(), f"{name}: {dep}"
            checked += 1
        for param in _definition(name).get("params", []):
            if "${" in param:
                continue
            value = PARAMS
            for key in param.split("."):
                assert isinstance(value, dict) and key in value, (
                    f"{name}: params.yaml has no {param}"
                )
                value = value[key]
            checked += 1
        assert stage
    assert checked > 20


@pytest.mark.parametrize("name", sorted(STAGES))
def test_whatever_a_stage_writes_is_pushed(name):
    """Check that DVC caches every output of a stage.

    An uncached output is absent after `dvc pull`, and `dvc repro` would then run its stage anew.
    """
    definition = _definition(name)
    outputs = [
        output for kind in ("outs", "metrics", "plots") for output in definition.get(kind, [])
    ]
    assert outputs
    for output in outputs:
        for path, options in output.items() if isinstance(output, dict) else [(output, {})]:
            assert options.get("cache", True) and options.get("push", True), (
                f"dvc.yaml: {name}: {path}"
            )


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
            is_torch_module = path == ROOT / "earshot" / "torch.py"
            if layer in ("earshot", "pipeline", "eval") and not is_torch_module:
                assert not {name.split(".")[0] for name in names} & {
                    "torch",
                    "torchvision",
                    "lightning",
                }, path


def _rooms_imported_by(room: str) -> set[str]:
    """The folders whose modules the modules of a folder import."""
    imported = set()
    for path in (ROOT / room).glob("*.py"):
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for name in imported_names(path, package=module.rpartition(".")[0]):
            base = ROOT.joinpath(*name.split("."))
            if base.with_suffix(".py").is_file():
                imported.add(base.parent.relative_to(ROOT).as_posix())
            elif (base / "__init__.py").is_file() and not is_only_docstring(base / "__init__.py"):
                imported.add(base.relative_to(ROOT).as_posix())
    return {name for name in imported if name.split("/")[0] in LAYERS} - {room}


def test_rooms_import_downwards_only():
    """A folder that imports another is never imported by it, however long the way round."""
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for path in (ROOT / layer).rglob("__init__.py")
    }
    arrows = {room: _rooms_imported_by(room) & rooms for room in rooms}
    remaining = dict(arrows)
    while remaining:
        free = [room for room, targets in remaining.items() if not targets & remaining.keys()]
        assert free, f"rooms that import each other in a circle: {sorted(remaining)}"
        for room in free:
            del remaining[room]
    assert len(arrows) > 15


# Methods and commands are found by the names of their modules, one file each.
@pytest.mark.parametrize("top", [*LAYERS, "tests", "benchmarks"])
def test_no_room_has_more_than_fifteen_modules(top):
    may_be_large = {ROOT / "train/models", ROOT / "pipeline/commands"}
    for folder in {path.parent for path in (ROOT / top).rglob("*.py")} - may_be_large:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 15, f"{folder.relative_to(ROOT)} has {len(modules)} modules"
