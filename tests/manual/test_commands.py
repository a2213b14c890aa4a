"""Each command of README and docs is right: its program's own parser takes it, its names exist."""

import argparse
import copy
import importlib
import importlib.util
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Sequence

import click
import pytest
import yaml
from dvc.cli import DvcParserError, parse_args
from dvc.utils.hydra import get_hydra_sweeps
from jsonschema import Draft202012Validator, ValidationError

from eval.published.test_sets import find_test_sets
from eval.scoring.protocols import PROTOCOLS
from pipeline.datasets.dataset import names as dataset_names
from pipeline.downloads.account.reasons import REASONS
from pipeline.features.registry import is_variant
from tests.helpers.checkouts import set_parameter
from tests.helpers.manual_pages import (
    PROGRAMS,
    Command,
    list_pages,
    read_blocks,
    read_commands,
)
from tests.helpers.paths import ROOT

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
VALIDATOR = Draft202012Validator(json.loads((ROOT / "params.schema.json").read_text()))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Commands of other programs, as they were tried by hand.
_FOREIGN = (
    "git pull",
    "hf auth login",
    "source .venv/bin/activate",
    "tensorboard --logdir cache/training",
    "wandb sync FOLDER",
)
# Words in capitals stand for a name of the reader's.
_PLACEHOLDER = re.compile(r"[A-Z_]+|\$\{item\}")


def list_own_datasets() -> set[str]:
    """Return the datasets that the pages define in their examples."""
    blocks = [block for page in list_pages() for block in read_blocks(page)]
    texts = [yaml.safe_load(block.text) for block in blocks if block.language == "yaml"]
    return {name for text in texts for name in text.get("sources", ())}


NAMES = {
    "dataset": {*dataset_names(), *list_own_datasets()},
    "test set": set(find_test_sets()),
    "protocol": set(PROTOCOLS),
    "reason": set(REASONS),
    "stage": {*dataset_names(), *list_own_datasets(), *PARAMS["train"], *PARAMS["weights"]},
    "recipe": {path.stem for path in (ROOT / "recipes").glob("*.yaml")},
}


class Accepted(Exception):
    """A parser has taken the words; the command itself does not run."""


def require_name(kind: str, name: str) -> None:
    assert _PLACEHOLDER.fullmatch(name) or name in NAMES[kind], f"no {kind} {name!r}"


def parse_only(main: Callable[[list[str]], object], words: Sequence[str]) -> None:
    """Let a command parse its words, and stop before it does anything."""
    parse, invoke = argparse.ArgumentParser.parse_args, click.Command.invoke

    def parse_and_stop(self, *args, **kwargs):
        raise Accepted(parse(self, *args, **kwargs))

    def stop(self, context):
        if isinstance(self, click.Group):
            return invoke(self, context)
        raise Accepted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(click.Command, "invoke", stop)
        try:
            code = main(list(words))
        except Accepted:
            return
        except SystemExit as end:
            code = end.code
    assert code == 0 and "--help" in words, "its parser refuses it; see the captured output"


def add_help(words: Sequence[str], *, is_mention: bool) -> list[str]:
    """Add ``--help`` where a sentence leaves arguments out, so that none is required."""
    has_options = any(word.startswith("-") for word in words)
    return [*words, "--help"] if is_mention and not has_options else list(words)


def check_earshot(words: Sequence[str]) -> None:
    """``earshot COMMAND``, which is ``python -m pipeline COMMAND``."""
    words = ["status" if word == "COMMAND" else word for word in words]  # any of them
    parse_only(importlib.import_module("pipeline.__main__").main, words)

    command, *rest = words
    if command == "use" and rest and not rest[0].startswith("-"):
        require_name("recipe", rest[0])
    check_options(rest, dataset_kind="test set" if command == "score" else "dataset")


def check_options(words: Sequence[str], *, dataset_kind: str) -> None:
    """Check the names that follow options."""
    kinds = {"--dataset": dataset_kind, "--reason": "reason", "--protocol": "protocol"}
    for option, value in itertools.pairwise(words):
        if option in kinds:
            require_name(kinds[option], value)


def check_module(words: Sequence[str], *, is_mention: bool) -> None:
    """``python -m MODULE ...``."""
    module, *rest = words
    path = ROOT / module.replace(".", "/")
    if module == "pipeline":
        check_earshot(add_help(rest, is_mention=is_mention))
    elif module.startswith("stages."):
        assert path.with_suffix(".py").exists(), f"no module {module}"
        if module == "stages.train" and rest:
            require_name("stage", rest[0])
    elif module.startswith("benchmarks"):
        source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        missing = [w for w in rest if w.startswith("--") and w not in source.read_text()]
        assert not missing, f"{module} has no {missing}"
    elif module == "pytest":
        assert all((ROOT / name).exists() for name in rest)
    elif module == "dask":
        assert rest[0] in ("scheduler", "worker")
    elif module == "gdown":
        assert importlib.util.find_spec(module), f"{module} is not installed"
    else:
        main = importlib.import_module(module).main
        parse_only(main, add_help(rest, is_mention=is_mention))
        check_options(rest, dataset_kind="test set")


def check_python(words: Sequence[str], *, is_mention: bool) -> None:
    if words[0] == "-m":
        check_module(words[1:], is_mention=is_mention)
    else:
        assert (ROOT / words[0]).is_file(), f"no file {words[0]}"


def check_dvc(words: Sequence[str], *, is_mention: bool) -> None:
    if is_mention and tuple(words) in {("plots",), ("config",)}:
        return  # the name of a group of commands
    arguments = parse_args(list(words))

    for target in getattr(arguments, "targets", None) or ():
        stage, _, item = target.partition("@")
        assert stage in STAGES, f"no stage {stage!r}"
        if stage == "variants":
            variant, _, dataset = item.rpartition("-")
            assert is_variant(variant), f"no variant {variant!r}"
            require_name("dataset", dataset)
        elif item:
            require_name("stage", item)

    overrides = getattr(arguments, "set_param", None)
    if overrides:
        check_overrides(overrides)


def check_overrides(overrides: list[str]) -> None:
    """Check ``-S``: a plain key must be there, and the schema takes each value of a grid."""
    for sweep in get_hydra_sweeps({"params.yaml": overrides}):
        params = copy.deepcopy(PARAMS)
        for override in sweep["params.yaml"]:
            name, _, value = override.partition("=")
            section = params
            for key in name.lstrip("+").split("."):
                assert name.startswith("+") or key in section, f"{name} is not in params.yaml"
                section = section.get(key, {}) if isinstance(section, dict) else {}
            set_parameter(params, name.lstrip("+"), yaml.safe_load(value))
        VALIDATOR.validate(params)


def check_make(words: Sequence[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words) <= set(targets), f"no target {words}"


def check_pip(words: Sequence[str]) -> None:
    assert words[0] == "install"
    for extra in re.findall(r"^\.\[(\w+)\]", words[-1]):
        assert extra in PROJECT["optional-dependencies"], f"no extra {extra!r}"


def check_launcher(words: Sequence[str]) -> None:
    """``srun``, ``sbatch`` and ``torchrun``: options, then a module."""
    text = " ".join(words)
    assert " -m " in text
    check_module(text.partition(" -m ")[2].split(), is_mention=False)


def check_command(command: Command) -> None:
    program, *words = command.words
    is_mention = command.is_mention
    if program == "earshot":
        check_earshot(add_help(words, is_mention=is_mention))
    elif program in ("python", ".venv/bin/python"):
        check_python(words, is_mention=is_mention)
    elif program == "dvc":
        check_dvc(words, is_mention=is_mention)
    elif program == "make":
        check_make(words)
    elif program == "pip":
        check_pip(words)
    elif program == "uv":
        assert words[0] == "pip"
        check_pip(words[1:])
    elif program == "jupyter":
        assert words[0] == "lab" and (ROOT / words[1]).is_file(), f"no file {words[1]}"
    elif program == "cp":
        pass  # tests/manual/test_cluster_guide.py copies them
    elif program in ("srun", "sbatch", "torchrun"):
        check_launcher(words)
    else:
        is_variable = program == "export" and re.match(r"(EARSHOT|DASK|HF)_\w+=", words[0])
        assert is_variable or " ".join(command.words) in _FOREIGN, "not known here"


@pytest.mark.parametrize("page", list_pages())
def test_each_command_is_taken_by_its_program(page):
    wrong = []
    for command in read_commands(page):
        try:
            check_command(command)
        except Exception as error:
            wrong.append(f"{command.place}: {' '.join(command.words)}: {error!r}")
    assert not wrong, "\n".join(wrong)


def test_the_checks_can_fail():
    for text in (
        "python -m pipeline status --fromat csv",
        "python -m pipeline retry --reason newtork",
        "python -m pipeline missing --by day",
        "python -m pipeline use ezvsl_vggsound_10",
        "python -m eval.score maps.npz --dataset vgss",
        "dvc repro trian@ezvsl",
        "dvc repro train@ezvls",
        "dvc exp run --tmp",
        "dvc exp run -S train.ezvsl.epoch=20",
        "dvc exp run -S ++train.ezvsl.matching=max,maximal",
        "make reprod",
        "pip install .[s4]",
        "srun --ntasks=2 python -m stages.training RUN",
        "rm -r cache",
    ):
        with pytest.raises((AssertionError, DvcParserError, ValidationError)):
            check_command(Command("here", tuple(text.split())))


def test_all_programs_are_found():
    """Blocks of commands hold nothing else, and other blocks hold no commands."""
    for block in (block for page in list_pages() for block in read_blocks(page)):
        first = (block.text.split() or [""])[0]
        if block.language in ("text", "csv"):
            assert first not in PROGRAMS or "<-" in block.text, block.place
        elif block.language == "sh":
            assert first in PROGRAMS, f"{block.place}: {first} is no known program"


def test_the_manual_lists_all_extras():
    page = (ROOT / "docs" / "library.md").read_text()
    assert set(re.findall(r"'\.\[(\w+)\]'", page)) == set(PROJECT["optional-dependencies"])


def test_many_commands_are_checked():
    assert sum(len(read_commands(page)) for page in list_pages()) > 200
