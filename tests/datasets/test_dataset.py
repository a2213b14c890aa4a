"""The interface of datasets: each is found by its file, and nobody else knows it by its name."""

import ast
import re

import pytest

from earshot.errors import ParameterError
from pipeline.datasets.dataset import Dataset, load, names
from tests.helpers.paths import ROOT

# A name in backticks or in running text is no use of it. Three names are ordinary words, too: as
# literals they are allowed where they mean something else.
OTHER_MEANINGS = {
    "flickr": {"eval/published/published_rows.py"},  # names of test sets in published tables
    "urbansas": {"eval/published/published_rows.py"},
    "local": {
        # a reason of the machine's own
        "pipeline/downloads/account/reasons.py",
        "pipeline/downloads/worker/fetcher.py",
        "pipeline/downloads/worker/make_clip.py",
        # negatives of one process
        "train/models/slavc.py",
        "train/models/training_parameters.py",
    },
    "sample": {
        # a recipe
        "pipeline/commands/use.py",
        # the anchor of a window of sound
        "pipeline/features/sound_window.py",
        "pipeline/features/spectrograms.py",
        "pipeline/features/waveforms.py",
        "pipeline/shards/clip_fit.py",
        "train/runs/input_checks.py",
    },
}


def test_all_datasets_are_found():
    assert set(names()) >= {"flickr", "local", "sample", "urbansas", "vggsound"}
    for name in names():
        dataset = load(name)
        assert isinstance(dataset, Dataset)
        assert dataset.name == name
        assert all(test_set.dataset == name for test_set in dataset.test_sets)


def test_an_unknown_dataset_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ParameterError, match="datasets has 'my-birds', expected one of flickr, lo"):
        load("my-birds")


def test_names_of_test_sets_are_unique():
    test_sets = [test_set.name for name in names() for test_set in load(name).test_sets]
    assert len(test_sets) == len(set(test_sets)) > 10


def literals(path):
    """String literals of a module that are values, with their lines: no docstrings.

    The word given as ``unit=`` to a progress bar is left out.
    """
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.keyword) and node.arg == "unit":
            skipped.add(id(node.value))
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in skipped:
            yield node.lineno, node.value


def test_nothing_else_knows_a_dataset_by_its_name():
    """Neither its name nor one of its splits is a literal outside of ``pipeline/datasets``."""
    splits = {test_set.split for name in names() for test_set in load(name).test_sets}
    # `table` is the kind of all datasets with names of the user's own, and a common word.
    known = set(names()) - {"table"} | {split for split in splits if "_" in split}
    imported = re.compile(
        rf"pipeline\.datasets\.({'|'.join(names())})\b|datasets import (?!dataset)"
    )
    found, num_files = [], 0
    for top in ("earshot", "pipeline", "eval", "train", "stages"):
        for path in sorted((ROOT / top).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            # The published lists of a dataset are its own, too.
            lists = ("pipeline/lists/vggsound_lists", "pipeline/lists/flickr_lists")
            if place.startswith(("pipeline/datasets/", *lists)):
                continue
            num_files += 1
            found += [
                f"{place}:{line}: {text!r}"
                for line, text in literals(path)
                if text in known and place not in OTHER_MEANINGS.get(text, ())
            ]
            found += [f"{place}: {match[0]}" for match in imported.finditer(path.read_text())]
    assert num_files > 100
    assert found == [], "\n".join(found)
