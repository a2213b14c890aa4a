"""Turn a published checkpoint into a run folder.

    earshot weights import FILE RUN_DIR

The result is a folder like that of a training, so that evaluation and ``earshot localize`` read it.
Checkpoints are accepted in the layouts in which their authors gave them away:

| method | layout |
|---|---|
| lvs | under ``model_state_dict``, names begin with ``module.`` |
| ssltie | under ``state_dict`` |
| sslalignment | under ``model_state_dict``; the names are those of lvs, so say the method |
| ezvsl | under ``model``, names may begin with ``module.`` |
| htf | under ``model`` (.pth), or Lightning's ``state_dict`` with names ``model.*`` (.ckpt) |
| rcgrad | flat, or under ``state_dict`` |
| flowgrad_* | under ``state_dict`` |
"""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from earshot.errors import DataError
from earshot.files import sha256_of
from earshot.upper_rooms import import_room
from pipeline.base.parameters import as_mapping
from train.models.localizer import Localizer
from train.models.registry import METHODS, build_parameters, make_model
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import RELEASED, write_model, write_run
from train.runs.tensor_files import load_tensors
from train.weights.published_layouts import drop_unused_keys, recognize_method, require_fit
from train.weights.state_dicts import find_state_dict, name_some

# What the authors' tests feed their weights, where it is not this project's default.
PUBLISHED_SETTINGS: dict[str, dict[str, Any]] = {
    # Hear The Flow reads flow from pictures, as torchvision does: levels 0..255 become 0..1.
    "htf": {"flow_encoding": "jpeg", "flow_scale": 1 / 255},
    # What was released are the encoders, without projections that only a training needs.
    "sslalignment": {"embedding_size": 0},
    "rcgrad": {"uses_batch_statistics": True},
    "flowgrad_h": {"uses_batch_statistics": True},
    "flowgrad_ic": {"uses_batch_statistics": True},
    "flowgrad_en": {"uses_batch_statistics": True},
}


def load_published(
    path: Path | str,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    unused: Collection[str] = (),
) -> tuple[Localizer, TrainingParameters]:
    """Load the network of a published checkpoint.

    Args:
        path: Of the checkpoint.
        method: Name of the method. None recognizes it by the names of the tensors.
        settings: Parameters of the method that differ from what its authors' tests use.
        unused: First parts of the names of tensors to leave out.

    Returns:
        The network, in evaluation mode, and its parameters.

    Raises:
        DataError: The file is damaged, holds code, or differs from the network in any key, shape
            or type.
    """
    path = Path(path)
    if method is not None and method not in METHODS:
        raise DataError(f"unknown method {method!r}; known: {', '.join(METHODS)}")

    state = find_state_dict(load_tensors(path), path)
    state = {key: value for key, value in state.items() if key.split(".")[0] not in unused}
    recognized = recognize_method(state) or {}
    if method is None and not recognized:
        raise DataError(f"{path}: {len(state)} tensors ({name_some(state)}) are of no known model")

    # What the names say about the method's variant counts only where the method is the same.
    method = method or recognized["method"]
    variant = recognized if recognized.get("method") == method else {"method": method}
    values = {**PUBLISHED_SETTINGS.get(method, {}), **variant, **(settings or {})}
    parameters = build_parameters(values, str(path))

    # Compare first: the message of `load_state_dict` names every key and fills a page.
    model = make_model(parameters)
    expected = model.state_dict()
    state = drop_unused_keys(state, expected, parameters.method)
    require_fit(state, expected, path, parameters.method)
    model.load_state_dict(state)
    return model.eval(), parameters


def import_published(
    path: Path,
    method: str | None,
    run_dir: Path,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    unused: Collection[str] = (),
) -> str:
    """Turn a published checkpoint into the run folder ``run_dir``.

    Args:
        path: Of the checkpoint.
        method: As for ``load_published``.
        run_dir: Folder to write.
        settings: As for ``load_published``.
        facts: Written to ``run.json``. None writes the path and the SHA-256 of the file.
        unused: As for ``load_published``.

    Returns:
        The name of the method.

    Raises:
        DataError: As for ``load_published``.
    """
    model, parameters = load_published(path, method, settings, unused=unused)
    write_model(run_dir, model, parameters)

    # The keys that a trained run has, with an empty history.
    write_run(
        run_dir,
        {
            "method": parameters.method,
            "parameters": as_mapping(parameters),
            "status": "ok",
            "selection": RELEASED,
            "num_parameters": sum(values.numel() for values in model.parameters()),
            **(facts or {"source": str(path), "sha256": sha256_of(path)}),
            "history": [],
        },
    )
    return parameters.method


if __name__ == "__main__":
    # No import by name: stages that use this module do not depend on commands.
    sys.exit(import_room("train.import_weights").main())
