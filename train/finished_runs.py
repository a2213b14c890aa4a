"""Finished training runs, kept by what determined them, so that nothing is trained twice.

DVC runs a training stage again when any cached feature changed, also one that the method does not read. A run's key is
the hash of what its weights really depend on; a run with the same key is brought back instead of trained.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from pipeline.files import publish_text
from pipeline.parameters import as_mapping
from pipeline.tables import INDEX, read_table
from train.parameters import HardwareParameters, TrainingParameters

KEY_NAME = "key.txt"


def compute_run_key(
    parameters: TrainingParameters,
    *,
    hardware: HardwareParameters,
    features_dirs: Mapping[str, Path],
    reads: Iterable[str],
    split_ids: Mapping[str, Sequence[str]],
    selection_truth: object,
    source_dir: Path,
) -> str:
    """Hash of the parameters, the keys of the features that are read for the samples of ``split_ids`` (split -> ids),
    the ground truth that selects (any JSON-able value), the training code in ``source_dir`` and torch's version.
    """
    feature_keys = {}
    for name in sorted(reads):
        index = read_table(features_dirs[name] / "index.parquet", INDEX, columns=["sample_id", "key"])
        key_of = dict(zip(index["sample_id"].to_pylist(), index["key"].to_pylist(), strict=True))
        feature_keys[name] = [[key_of.get(sample_id) for sample_id in ids] for ids in split_ids.values()]
    code = {
        path.relative_to(source_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(source_dir.rglob("*.py"))
    }
    content = [
        as_mapping(parameters),
        hardware.precision,
        torch.__version__,
        {split: list(ids) for split, ids in split_ids.items()},
        feature_keys,
        selection_truth,
        code,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def restore_run(finished_dir: Path, key: str, folders: Mapping[str, Path]) -> bool:
    """Copy the kept run into ``folders`` (name -> folder) if its key is ``key``; say whether it was."""
    key_path = finished_dir / KEY_NAME
    if not key_path.is_file() or key_path.read_text() != key:
        return False
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished_dir / name, folder)
    return True


def keep_run(finished_dir: Path, key: str, folders: Mapping[str, Path]) -> None:
    """Keep a copy of ``folders`` under ``key``, in place of the run that was kept before; the key is written last."""
    shutil.rmtree(finished_dir, ignore_errors=True)
    for name, folder in folders.items():
        shutil.copytree(folder, finished_dir / name)
    publish_text(finished_dir / KEY_NAME, key)
