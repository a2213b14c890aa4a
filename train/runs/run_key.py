"""Compute the key of a run: the hash of everything that decides its weights."""

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision

from earshot.reader import INDEX_NAME
from earshot.tables import INDEX, read_table
from pipeline.base.import_closure import import_closure
from pipeline.base.parameters import as_mapping
from train.models.training_parameters import TrainingParameters
from train.networks.encoders import timm_trunk

# What decides the weights besides the method's own module: whatever these modules import counts.
_DECIDING_MODULES = ("train.fitting.fit", "eval.scoring.selection")


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a training reads, besides code and parameters."""

    features_dirs: Mapping[str, Path]  # of the features that the method reads, in its order
    split_ids: Mapping[str, Sequence[str]]  # train, and the split that selects -> sample ids
    selection_truth: Any  # JSON-able ground truth of the samples that select
    hardware: Mapping[str, Any]  # what of it changes the losses, see ``TrainerPlan``
    initial_sha256: str | None  # of the files that the training begins with
    labels_sha256: str | None = None  # of labels that the training wrote itself


def compute_run_key(parameters: TrainingParameters, inputs: RunInputs, *, source_dir: Path) -> str:
    """Hash the parameters, the inputs, the code and the versions of what computes.

    Of features it takes the rows of the samples, so that samples of other splits do not matter.

    Args:
        parameters: of the run that trains the weights.
        inputs: what it reads.
        source_dir: the folder that holds the package ``train``.

    Returns:
        A SHA-256 as 64 hexadecimal digits.
    """
    # The list is hashed as it is: one more entry, or another order, changes all keys.
    content = [
        as_mapping(parameters),
        dict(inputs.hardware),
        inputs.initial_sha256,
        _find_versions(parameters.backbone),
        {split: list(ids) for split, ids in inputs.split_ids.items()},
        describe_arrays(inputs.features_dirs, inputs.split_ids),
        _number_shards(inputs) if parameters.is_shuffled else None,
        inputs.selection_truth,
        _hash_code(list_deciding_modules(parameters.method), source_dir),
        # Most methods have none, and keep their keys.
        *([] if inputs.labels_sha256 is None else [inputs.labels_sha256]),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _find_versions(backbone: str) -> dict[str, str]:
    """Return the versions of the packages that compute."""
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, lightning)}
    if backbone.startswith(timm_trunk.PREFIX):
        versions["timm"] = importlib.metadata.version("timm")
    return versions


def list_deciding_modules(method: str) -> tuple[str, ...]:
    """Return the modules whose code, with all that they import, decides a method's weights."""
    return (*_DECIDING_MODULES, f"train.models.{method}")


def describe_arrays(
    features_dirs: Mapping[str, Path], split_ids: Mapping[str, Sequence[str]]
) -> dict[str, list[list[list[Any] | None]]]:
    """Return key and checksum of arrays by feature and split; None where one is not cached.

    A sample that failed has a key, too, and keeps it when a repair makes its array.

    Args:
        features_dirs: feature -> folder with its index.
        split_ids: split -> ids of its samples.
    """
    descriptions = {}
    for name, folder in sorted(features_dirs.items()):
        columns = ["sample_id", "status", "key", "crc32"]
        rows = read_table(folder / INDEX_NAME, INDEX, columns=columns).to_pylist()
        array_of = {
            row["sample_id"]: [row["key"], row["crc32"]] for row in rows if row["status"] == "ok"
        }

        # Per split: it matters which samples train and which select.
        descriptions[name] = [[array_of.get(item) for item in ids] for ids in split_ids.values()]
    return descriptions


def _number_shards(inputs: RunInputs) -> list[int | None]:
    """Return which training samples share a shard: their order in an epoch depends on it."""
    folder = next(iter(inputs.features_dirs.values()))
    index = read_table(folder / INDEX_NAME, INDEX, columns=["sample_id", "shard"])
    shard_of = dict(zip(index["sample_id"].to_pylist(), index["shard"].to_pylist(), strict=True))

    # Numbers, because the name of a shard says more than its samples.
    shards = sorted({shard for shard in shard_of.values() if shard is not None})
    number_of: dict[str | None, int] = {shard: number for number, shard in enumerate(shards)}
    return [number_of.get(shard_of.get(item)) for item in inputs.split_ids["train"]]


def _hash_code(modules: Iterable[str], source_dir: Path) -> dict[str, str]:
    # All project files that these modules import, however deep.
    paths: set[str] = set()
    for module in modules:
        paths |= import_closure(module, root=source_dir)

    return {path: _hash_statements((source_dir / path).read_bytes()) for path in sorted(paths)}


def _hash_statements(source: bytes) -> str:
    """Hash what a module does: its comments, docstrings and formatting change no weight."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [step for step in node.body if not _is_text(step)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(step: ast.stmt) -> bool:
    """Return whether a statement is nothing but a string: a docstring."""
    return (
        isinstance(step, ast.Expr)
        and isinstance(step.value, ast.Constant)
        and isinstance(step.value.value, str)
    )
