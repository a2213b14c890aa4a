"""Keep finished trainings by their key, so that nothing is trained twice.

DVC runs a training stage again when any cached feature or any module in its folders changed, also
one that does not decide the weights. A run with the same key (``run_key``) is then brought back
instead of trained. It does not matter which stage trained it: RCGrad and FlowGrad-H, which is
RCGrad's map times the flow, share one training.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from earshot.files import publish_text
from pipeline.base.locks import hold_lock
from train.runs.run_folder import MODEL_NAME

KEY_NAME = "key.txt"
_FINISHED_NAME = "finished"
_NUM_KEY_DIGITS = 16  # in the name of a lock


class Train(Protocol):
    """Train and fill the folders of the run.

    Returns whether this process is the first of those that train together.
    """

    def __call__(self) -> bool: ...


class Notify(Protocol):
    """Say that this process waits for another one."""

    def __call__(self) -> None: ...


class Decide(Protocol):
    """Agree with the other processes whether the run is trained.

    The first one gives its decision. The others give None, and wait for that of the first one.
    """

    def __call__(self, is_trained: bool | None, /) -> bool: ...


class ObtainedRun(NamedTuple):
    """Where the weights of a run come from."""

    name: str  # of the run that trained them
    is_new: bool  # whether it did so just now


def obtain_run(
    training_dir: Path,
    name: str,
    key: str,
    folders: Mapping[str, Path],
    train: Train,
    *,
    on_wait: Notify,
    is_first_process: bool = True,
    decide: Decide | None = None,
) -> ObtainedRun | None:
    """Bring the run with ``key`` into ``folders``: copy a finished one, or train it.

    Two stages that need the same key at the same time train it once: the second one waits.

    Args:
        training_dir: where finished runs are kept, a folder for each name.
        name: under which a new run is kept.
        key: of the run, see ``compute_run_key``.
        folders: what -> the folder that is filled.
        train: fills ``folders``.
        on_wait: called before waiting for another process.
        is_first_process: False in the further processes that train together with a first one.
        decide: tells the further processes whether to train. None: they are started by the training
            itself, or there are none.

    Returns:
        Where the weights come from; None in further processes, which write nothing.
    """
    # The first process holds the lock and decides. Others that looked for themselves could find
    # another answer, and would wait for it forever.
    if not is_first_process:
        if decide is None or decide(None):
            train()
        return None

    with hold_lock(training_dir / f"lock-{key[:_NUM_KEY_DIGITS]}", on_wait=on_wait):
        # Another stage may have trained it while this one waited.
        finished = find_finished(training_dir, key)
        if decide is not None:
            decide(finished is None)
        if finished is not None:
            restore_run(finished, folders)
            return ObtainedRun(finished.parent.name, is_new=False)

        # Keep a copy outside of DVC's outputs, which DVC removes before a stage runs.
        if not train():
            return None
        keep_run(training_dir / name / _FINISHED_NAME, key, folders)
        return ObtainedRun(name, is_new=True)


def is_finished(training_dir: Path, name: str) -> bool:
    """Return whether a run of this name, with whatever key, is kept.

    Args:
        training_dir: where finished runs are kept, a folder for each name.
        name: of the run.
    """
    return (Path(training_dir) / name / _FINISHED_NAME / KEY_NAME).is_file()


def find_finished(training_dir: Path, key: str) -> Path | None:
    """Return the folder of the finished run with ``key``; None if there is none.

    A copy whose model somebody removed, to make room, is none.

    Args:
        training_dir: where finished runs are kept, a folder for each name. All names are searched.
        key: of the run, see ``compute_run_key``.
    """
    # Whatever its name is, a run with this key has the weights.
    for path in sorted(Path(training_dir).glob(f"*/{_FINISHED_NAME}/{KEY_NAME}")):
        has_model = any(path.parent.glob(f"*/{MODEL_NAME}"))
        if has_model and path.read_text() == key:
            return path.parent
    return None


def restore_run(finished_dir: Path, folders: Mapping[str, Path]) -> None:
    """Copy a finished run into ``folders``."""
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished_dir / name, folder)


def keep_run(finished_dir: Path, key: str, folders: Mapping[str, Path]) -> None:
    """Keep a copy of ``folders`` in place of an earlier one.

    The key says that the rest is whole: it is removed first and written last, so that a kill
    between the two leaves no run that could be brought back.
    """
    (finished_dir / KEY_NAME).unlink(missing_ok=True)
    shutil.rmtree(finished_dir, ignore_errors=True)
    for name, folder in folders.items():
        shutil.copytree(folder, finished_dir / name)
    publish_text(finished_dir / KEY_NAME, key)
