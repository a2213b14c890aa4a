"""Finished training runs, kept by what determined them, so that nothing is trained twice.

DVC runs a training stage again when any cached feature changed, also one that the method does not read. A run's key is
the hash of what its weights really depend on; a run with the same key is brought back instead of trained, whichever
stage trained it: RCGrad and FlowGrad-H, which is a product on top of it, share one training.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from earshot.files import publish_text
from earshot.tables import INDEX, read_table
from pipeline.base.import_closure import import_closure
from pipeline.base.locks import hold_lock
from pipeline.base.parameters import as_mapping
from train.models.training_parameters import HardwareParameters, TrainingParameters

KEY_NAME = "key.txt"
_FINISHED_NAME = "finished"
_DIGITS = 16


class ObtainedRun(NamedTuple):
    """The name of the run that trained the weights, and whether it did so just now."""

    name: str
    is_new: bool


def compute_run_key(
    parameters: TrainingParameters,
    *,
    hardware: HardwareParameters,
    features_dirs: Mapping[str, Path],
    reads: Iterable[str],
    split_ids: Mapping[str, Sequence[str]],
    selection_truth: object,
    modules: Iterable[str],
    source_dir: Path,
) -> str:
    """Hash of the parameters, the keys of the features that are read for the samples of ``split_ids`` (split -> ids),
    the ground truth that selects (any JSON-able value), the code and torch's version.

    The code is that of ``modules`` and of whatever they import of the project, whose packages are in ``source_dir``.
    """
    feature_keys = {}
    for name in sorted(reads):
        index = read_table(
            features_dirs[name] / "index.parquet", INDEX, columns=["sample_id", "key"]
        )
        key_of = dict(zip(index["sample_id"].to_pylist(), index["key"].to_pylist(), strict=True))
        feature_keys[name] = [
            [key_of.get(sample_id) for sample_id in ids] for ids in split_ids.values()
        ]
    paths = set().union(*(import_closure(name, root=source_dir) for name in modules))
    code = {
        path: hashlib.sha256((source_dir / path).read_bytes()).hexdigest() for path in sorted(paths)
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


def obtain_run(
    training_dir: Path,
    name: str,
    key: str,
    folders: Mapping[str, Path],
    train: Callable[[], bool],
    *,
    on_wait: Callable[[], None],
    is_first_process: bool = True,
) -> ObtainedRun | None:
    """Bring the run with ``key`` into ``folders`` (what -> folder).

    ``training_dir`` has a folder for each run. A finished run of any name is copied; otherwise ``train`` is called,
    which fills ``folders``, and what it made is kept as that of ``name``. Who else wants the same key waits
    (``on_wait`` is called before) and then finds it. ``train`` says whether this process is the one that speaks for
    the run; in the others, and where ``is_first_process`` is false, nothing is written and None returned.
    """
    if not is_first_process:  # the first one holds the lock
        if find_finished(training_dir, key) is None:
            train()
        return None
    with hold_lock(training_dir / f"lock-{key[:_DIGITS]}", on_wait=on_wait):
        found = find_finished(training_dir, key)
        if found is not None:
            restore_run(found, folders)
            return ObtainedRun(found.parent.name, is_new=False)
        if not train():
            return None
        keep_run(training_dir / name / _FINISHED_NAME, key, folders)
        return ObtainedRun(name, is_new=True)


def find_finished(training_dir: Path, key: str) -> Path | None:
    """The folder of the kept run with ``key``, whatever its name; None where there is none."""
    for path in sorted(Path(training_dir).glob(f"*/{_FINISHED_NAME}/{KEY_NAME}")):
        if path.read_text() == key:
            return path.parent
    return None


def restore_run(finished_dir: Path, folders: Mapping[str, Path]) -> None:
    """Copy a kept run into ``folders``."""
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished_dir / name, folder)


def keep_run(finished_dir: Path, key: str, folders: Mapping[str, Path]) -> None:
    """Keep a copy of ``folders`` under ``key``, in place of the run that was kept before; the key is written last."""
    shutil.rmtree(finished_dir, ignore_errors=True)
    for name, folder in folders.items():
        shutil.copytree(folder, finished_dir / name)
    publish_text(finished_dir / KEY_NAME, key)
