"""A trained model's folder: ``model.ckpt`` (weights and parameters) and ``run.json`` (what happened, for people)."""

import codecs
import json
import re
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from earshot.errors import DataError
from earshot.files import publish, publish_text
from pipeline.base.parameters import as_mapping
from train.models.localizer import Localizer
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import TrainingParameters

MODEL_NAME, RUN_NAME = "model.ckpt", "run.json"
_FORMAT = "earshot.model"


class _Inert:
    """Stands in for a class that a checkpoint mentions beside its tensors; does nothing, keeps nothing."""

    def __init__(self, *arguments, **options):
        pass

    def __setstate__(self, state):
        pass


# What published checkpoints mention besides tensors: NumPy scalars (scores) and Lightning's callbacks (by class).
_HARMLESS = [
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    (codecs.encode, "_codecs.encode"),
    *(
        (_Inert, f"{package}.{name}")
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "callbacks.early_stopping.EarlyStopping",
            "callbacks.model_checkpoint.ModelCheckpoint",
            "callbacks.progress.TQDMProgressBar",
            "utilities.parsing.AttributeDict",
        )
    ),
    (_Inert, "argparse.Namespace"),
]
_VERSION = 1
_NUM_QUOTED = 60  # bytes


def write_model(
    run_dir: Path,
    model: Localizer,
    parameters: TrainingParameters,
    *,
    features: Mapping | None = None,
) -> None:
    """Publish ``model.ckpt``; ``features``: the parameters of each feature that the model was trained on."""
    state = {
        name: values.detach().cpu().contiguous() for name, values in model.state_dict().items()
    }
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "parameters": as_mapping(parameters),
        "features": dict(features or {}),
        "model": state,
    }
    # into an open file: given a name, torch would write that (temporary) name into the archive
    with publish(Path(run_dir) / MODEL_NAME) as temporary_path, open(temporary_path, "wb") as file:
        torch.save(content, file)


def read_model(run_dir: Path) -> tuple[Localizer, TrainingParameters]:
    """The model of ``run_dir/model.ckpt`` in evaluation mode; ``DataError`` for any other file."""
    path = Path(run_dir) / MODEL_NAME
    content = _read_content(path)
    parameters = build_parameters(content["parameters"], str(path))
    model = make_model(parameters)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: weights do not fit its own parameters: {problem}") from None
    return model.eval(), parameters


def read_features(run_dir: Path) -> dict[str, dict]:
    """The parameters of each feature that a run's model was trained on; empty for imported weights."""
    return _read_content(Path(run_dir) / MODEL_NAME)["features"]


def _read_content(path: Path) -> dict:
    if not path.exists():
        raise DataError(f"{path}: not found; {_why_there_is_no_model(path.parent)}")
    content = load_tensors(path)
    is_ours = isinstance(content, dict) and (content.get("format"), content.get("version")) == (
        _FORMAT,
        _VERSION,
    )
    if not is_ours or not {"parameters", "features", "model"} <= set(content):
        raise DataError(
            f"{path}: not a model of Earshot's training; published weights are read by train.weights.published_checkpoints"
        )
    return content


def _why_there_is_no_model(run_dir: Path) -> str:
    if not (run_dir / RUN_NAME).exists():
        return "expected the folder of a run, for example cache/runs/htf once `dvc repro` has trained it"
    reason = read_run(run_dir).get("reason")
    return (
        f"this run ended without a model: {reason}"
        if reason
        else "run `dvc repro` to train it again"
    )


def write_run(run_dir: Path, facts: Mapping) -> None:
    """Publish ``run.json``."""
    publish_text(Path(run_dir) / RUN_NAME, json.dumps(facts, indent=1) + "\n")


def write_untrained_run(
    run_dir: Path, parameters: TrainingParameters, *, log_dir: Path, reason: str
) -> None:
    """Publish a run that says why there is no model, with empty curves in ``log_dir``."""
    write_empty_curves(log_dir)
    facts = {
        "method": parameters.method,
        "parameters": as_mapping(parameters),
        "status": "untrained",
        "reason": reason,
    }
    write_run(run_dir, facts)


def write_empty_curves(log_dir: Path) -> None:
    """Make ``log_dir`` what DVCLive leaves of a run that logged nothing."""
    shutil.rmtree(log_dir, ignore_errors=True)
    (Path(log_dir) / "plots" / "metrics").mkdir(parents=True)
    publish_text(Path(log_dir) / "metrics.json", "{}\n")


def adopt_run(
    run_dir: Path, parameters: TrainingParameters, *, features: Mapping, facts: Mapping
) -> None:
    """Make the run in ``run_dir`` that of ``parameters``, whose network has the same weights.

    ``facts`` (where they come from) are added to ``run.json``, ``features`` are as in ``write_model``.
    """
    model, trained = read_model(run_dir)
    write_run(
        run_dir,
        read_run(run_dir)
        | {"method": parameters.method, "parameters": as_mapping(parameters)}
        | dict(facts),
    )
    if parameters != trained:
        adopted = make_model(parameters)
        adopted.load_state_dict(model.state_dict())
        write_model(run_dir, adopted, parameters, features=features)


def read_run(run_dir: Path) -> dict:
    """The facts of ``run.json``."""
    path = Path(run_dir) / RUN_NAME
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro` to train this model") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


def load_tensors(path: Path):
    """``torch.load`` of tensors and plain values only; ``DataError`` in one sentence for anything else."""
    path = Path(path)
    try:
        _require_whole(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocols of foreign files
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: not found") from None
    except (
        Exception
    ) as error:  # of a file that anybody may have written, the parsers raise anything
        if name := re.search(
            r"(?:[Uu]nsupported GLOBAL|global: GLOBAL|Unsupported class) `?([\w.]+)", str(error)
        ):
            raise DataError(
                f"{path}: holds more than tensors (its pickle names code: {name[1]}); refused, since loading it could "
                "run that code"
            ) from None
        problem = ("" if isinstance(error, OSError) else _quote_text(path)) or _shorten(error)
        raise DataError(
            f"{path}: not a checkpoint of PyTorch, or a damaged one ({problem})"
        ) from None


def _require_whole(path: Path) -> None:
    """torch does not look at the checksums in its own (zip) files, and unpacks what other programs packed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(entry.file_size for entry in archive.infolist())
            if num_bytes > path.stat().st_size:
                raise zipfile.BadZipFile(
                    f"its entries would unpack to {num_bytes} bytes, and PyTorch packs nothing"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged} differs")


def _quote_text(path: Path) -> str:
    """What a file of text says of itself (a server's error page, a pointer of Git LFS); empty for other files."""
    with open(path, "rb") as file:
        head = file.read(_NUM_QUOTED).decode("ascii", errors="replace").strip()
    is_text = (
        len(head) > 1 and all(c.isprintable() or c.isspace() for c in head) and "\ufffd" not in head
    )
    return f"it is text: {' '.join(head.split())!r}" if is_text else ""


def _shorten(error: Exception) -> str:
    """The telling part of a message on one line; torch's own are a page."""
    words = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition(". ")[0]
    lines = words.splitlines()
    return lines[0][:120] if lines and any(c.isalpha() for c in lines[0]) else type(error).__name__
