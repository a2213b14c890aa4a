"""Write and read the folder of a trained model.

``model.ckpt`` has the weights and the parameters; programs need nothing else. ``run.json`` says
what happened; it is for people and tables. ``labels.npz`` has the pseudo-labels of a run for which
another one's features were clustered: it travels with the run, and who trains with the same labels
elsewhere takes these.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from earshot.errors import DataError
from earshot.files import publish, publish_text
from pipeline.base.parameters import as_mapping
from train.models.localizer import Localizer
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import TrainingParameters
from train.runs.tensor_files import load_tensors

MODEL_NAME, RUN_NAME, LABELS_NAME = "model.ckpt", "run.json", "labels.npz"
RELEASED = "released"  # `selection` of weights whose authors chose the epoch

_FORMAT, _VERSION = "earshot.model", 1
_KEYS = {"parameters", "features", "model"}


def write_model(
    run_dir: Path,
    model: Localizer,
    parameters: TrainingParameters,
    *,
    features: Mapping[str, Any] | None = None,
) -> None:
    """Publish ``model.ckpt``.

    Args:
        run_dir: folder of the run.
        model: the network whose weights are written.
        parameters: from which the same network can be made again.
        features: feature -> its parameters, of the features that the model was trained on.
    """
    # In one layout and on the CPU: equal weights give equal bytes wherever they were trained.
    weights = {name: item.detach().cpu().contiguous() for name, item in model.state_dict().items()}
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "parameters": as_mapping(parameters),
        "features": dict(features or {}),
        "model": weights,
    }

    # Into an open file: torch writes the name of a file that it opens itself into the archive.
    with publish(Path(run_dir) / MODEL_NAME) as temporary_path, open(temporary_path, "wb") as file:
        torch.save(content, file)


def read_model(run_dir: Path) -> tuple[Localizer, TrainingParameters]:
    """Read the model of a run.

    Args:
        run_dir: folder of the run.

    Returns:
        The network, in evaluation mode, and its parameters.

    Raises:
        DataError: there is no model, or the file is something else.
    """
    path = Path(run_dir) / MODEL_NAME
    content = _read_content(path)

    # The parameters make the network; its weights must fit it exactly.
    parameters = build_parameters(content["parameters"], str(path))
    model = make_model(parameters)
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError) as error:
        # torch's message has a line for each wrong key. One is enough.
        problem = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: weights do not fit its own parameters: {problem}") from None
    return model.eval(), parameters


def read_features(run_dir: Path) -> dict[str, dict]:
    """Read which features a model was trained on.

    Args:
        run_dir: folder of the run.

    Returns:
        Feature -> its parameters. Empty for imported weights, whose features are not known.

    Raises:
        DataError: there is no model, or the file is something else.
    """
    return _read_content(Path(run_dir) / MODEL_NAME)["features"]


def _read_content(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DataError(f"{path}: not found; {_explain_no_model(path.parent)}")
    content = load_tensors(path)

    # A file of tensors from other code is often a dict, too.
    is_mapping = isinstance(content, dict)
    is_ours = is_mapping and content.get("format") == _FORMAT
    if is_ours and (version := content.get("version")) != _VERSION:
        raise DataError(
            f"{path}: has version {version!r} of the format, expected {_VERSION}; another version "
            "of Earshot wrote it: use that one, or train the run again"
        )
    if not is_ours or not set(content) >= _KEYS:
        raise DataError(
            f"{path}: not a model of Earshot's training; published weights are read by "
            "train.weights.published_checkpoints"
        )
    return content


def _explain_no_model(run_dir: Path) -> str:
    if not (run_dir / RUN_NAME).exists():
        return (
            "expected the folder of a run, for example cache/runs/htf once `dvc repro` has "
            "trained it"
        )

    # A run that went wrong before its first epoch ended has no model.
    reason = read_run(run_dir).get("reason")
    if reason:
        return f"this run ended without a model: {reason}"
    return "run `dvc repro` to train it again"


def write_run(run_dir: Path, facts: Mapping[str, Any]) -> None:
    """Publish ``run.json``.

    Args:
        run_dir: folder of the run.
        facts: the content; values of JSON.
    """
    publish_text(Path(run_dir) / RUN_NAME, json.dumps(facts, indent=1) + "\n")


def read_run(run_dir: Path) -> dict[str, Any]:
    """Read the facts of ``run.json``.

    Args:
        run_dir: folder of the run.

    Returns:
        Where the weights come from, and the parameters of the run, by key.

    Raises:
        DataError: the file is not there or is damaged.
    """
    path = Path(run_dir) / RUN_NAME
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro` to train this model") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(facts, dict):
        raise DataError(f"{path}: holds {type(facts).__name__}, expected the facts of a run")
    return facts


def write_untrained_run(
    run_dir: Path, parameters: TrainingParameters, *, log_dir: Path, reason: str
) -> None:
    """Publish a run without a model, which says why there is none.

    Args:
        run_dir: folder of the run.
        parameters: of the run.
        log_dir: folder for the curves, which are empty.
        reason: why nothing was trained.
    """
    write_empty_curves(log_dir)
    facts = {
        "method": parameters.method,
        "parameters": as_mapping(parameters),
        "status": "untrained",
        "reason": reason,
    }
    write_run(run_dir, facts)


def write_empty_curves(log_dir: Path) -> None:
    """Write the files that DVCLive leaves for a run that logged nothing.

    Args:
        log_dir: folder for the curves; what it held before is removed.
    """
    shutil.rmtree(log_dir, ignore_errors=True)
    (Path(log_dir) / "plots" / "metrics").mkdir(parents=True)
    publish_text(Path(log_dir) / "metrics.json", "{}\n")


def adopt_run(
    run_dir: Path,
    parameters: TrainingParameters,
    *,
    features: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Turn a run into that of other parameters whose network has the same weights.

    Args:
        run_dir: folder of the run; its files are replaced.
        parameters: of the run that it becomes.
        features: as in ``write_model``.
        facts: added to ``run.json``, such as where the weights come from.
    """
    model, trained = read_model(run_dir)
    identity = {"method": parameters.method, "parameters": as_mapping(parameters)}
    write_run(run_dir, read_run(run_dir) | identity | dict(facts))

    # Another method has other parameters in its file, and may have read other features.
    if parameters != trained:
        adopted = make_model(parameters)
        adopted.load_state_dict(model.state_dict())
        write_model(run_dir, adopted, parameters, features=features)
