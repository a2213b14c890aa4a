"""Each Python block of README and docs runs, and each block of data is what the project reads."""

import ast
import json
import re
from collections.abc import Iterator
from unittest import mock

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from PIL import Image

import earshot
import train.localize
from earshot.errors import DataError
from pipeline.base.local_settings import LocalSettings
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.datasets.table import Parameters, build_tables
from tests.helpers.manual_pages import COMMANDS, Block, list_pages, read_blocks
from tests.helpers.manual_project import read_maps, write_exports, write_manual_project
from tests.helpers.paths import ROOT
from tests.test_extending import _BLOCK

_LANGUAGES = {COMMANDS, "python", "yaml", "csv", "text"}
_TESTED_ELSEWHERE = "docs/extending.md"  # tests/test_extending.py applies its blocks
PAGES = [page for page in list_pages() if page != _TESTED_ELSEWHERE]
VALIDATOR = Draft202012Validator(json.loads((ROOT / "params.schema.json").read_text()))


def list_blocks(language: str) -> list[Block]:
    blocks = [block for page in PAGES for block in read_blocks(page)]
    return [block for block in blocks if block.language == language]


def test_each_block_has_a_language_that_is_checked():
    blocks = [block for page in list_pages() for block in read_blocks(page)]
    assert {block.language for block in blocks} <= _LANGUAGES
    assert len(blocks) > 80

    # The page that is tested elsewhere is tested there as a whole.
    page = (ROOT / _TESTED_ELSEWHERE).read_text()
    assert len(_BLOCK.findall(page)) == len(read_blocks(_TESTED_ELSEWHERE))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("manual") / "checkout"  # exports lie beside it
    root.mkdir()
    return write_manual_project(root)


def make_namespace(project: Project) -> dict:
    """Return the names that pages take for given: maps and boxes by sample id."""
    maps = read_maps(project)
    samples = earshot.open(project.root / "cache" / "sample").samples("test")
    boxes = {sample.sample_id: sample.boxes for sample in samples}
    return {"maps": maps, "boxes": boxes}


def read_results(source: str) -> Iterator[tuple[int, object]]:
    """Return the value that a comment promises, with the line of its expression."""
    for number, line in enumerate(source.splitlines(), start=1):
        try:
            yield number, ast.literal_eval(line.partition("  # ")[2])
        except (SyntaxError, ValueError):
            continue  # a comment in words


def run_block(block: Block, namespace: dict) -> None:
    """Run a block; compare each expression with the value in its comment."""
    promised = dict(read_results(block.text))
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        is_promise = isinstance(node, ast.Expr) and node.lineno in promised
        if is_promise:
            expected = ast.copy_location(ast.Constant(repr(promised[node.lineno])), node)
            text = ast.Call(ast.Name("repr", ast.Load()), [node.value], [])
            call = ast.Call(ast.Name("require_equal", ast.Load()), [text, expected], [])
            node.value = ast.copy_location(call, node)
    ast.fix_missing_locations(tree)
    exec(compile(tree, block.place, "exec"), namespace)


def require_equal(found: str, promised: str) -> None:
    assert found == promised, f"it is {found}, the comment says {promised}"


@pytest.mark.parametrize("page", sorted({block.page for block in list_blocks("python")}))
def test_python_runs(page, project, monkeypatch, tmp_path):
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("EARSHOT_KERNELS", "0")  # the same bits without compiling
    # A whole localization is tested in tests/train/test_localize.py; its arguments are, here.
    localize = mock.create_autospec(train.localize.localize, return_value=("video", "maps"))
    monkeypatch.setattr(train.localize, "localize", localize)

    if page == "docs/sharing.md":
        write_exports(project)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))

    namespace = {**make_namespace(project), "require_equal": require_equal}
    for block in read_blocks(page):
        if block.language == "python":
            run_block(block, namespace)


def test_a_wrong_value_in_a_comment_is_found():
    block = Block("page", 1, "python", "len('abc')  # 3\nfor x in (1, 2):\n    x + 1  # 2\n")
    with pytest.raises(AssertionError, match="it is 3, the comment says 2"):
        run_block(block, {"require_equal": require_equal})


def check_yaml(block: Block) -> None:
    """Check that a block is a part of params.yaml, of params.local.yaml, or a recipe."""
    values = yaml.safe_load(block.text)
    if "about" in values:
        params: dict = {}
        for name, value in values["params"].items():
            *sections, key = name.split(".")
            section = params
            for each in sections:
                section = section.setdefault(each, {})
            section[key] = value
        VALIDATOR.validate(params)
        return

    try:
        build(LocalSettings, values, "params.local.yaml")
    except Exception:
        VALIDATOR.validate(values)


@pytest.mark.parametrize("block", list_blocks("yaml"), ids=lambda block: block.place)
def test_yaml_is_a_part_of_params(block):
    check_yaml(block)


def test_a_wrong_key_is_found():
    with pytest.raises(ValidationError):
        check_yaml(Block("page", 1, "yaml", "hardware:\n  num_node: 2\n"))


@pytest.mark.parametrize("block", list_blocks("csv"), ids=lambda block: block.place)
def test_csv_is_a_dataset(block, tmp_path):
    for name in re.findall(r"\bmasks/\w+\.png", block.text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 255).save(tmp_path / name)
    (tmp_path / "rows.csv").write_text(block.text)
    clips, samples = build_tables(Parameters(path=str(tmp_path / "rows.csv")), cache_dir=tmp_path)
    assert len(clips) == len(samples) == len(block.text.splitlines()) - 1

    (tmp_path / "rows.csv").write_text(block.text.replace("id,", "name,", 1))
    with pytest.raises(DataError):
        build_tables(Parameters(path=str(tmp_path / "rows.csv")), cache_dir=tmp_path)
