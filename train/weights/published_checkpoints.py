"""Published weights in their authors' layouts, read strictly: ``python -m train.weights.published_checkpoints FILE RUN_DIR``.

| method | layout |
|---|---|
| lvs | ``['model_state_dict']``, keys ``module.imgnet.*``, ``module.audnet.*`` |
| ezvsl | ``['model']``, keys ``[module.]imgnet.*`` ... |
| htf | ``['model']`` (.pth), or Lightning's ``['state_dict']`` with keys ``model.*`` (.ckpt) |
| rcgrad | flat, or ``['state_dict']``; ``image_encoder.conv1_flow.weight`` may be there, unused |
| flowgrad_* | ``['state_dict']``; here and there ``loss_fn.logit_scale`` may be there, unused |

The result is a run folder like that of a training, so that everything else works with it.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from earshot.errors import DataError, EarshotError
from earshot.files import sha256_of
from pipeline.base.parameters import as_mapping
from train.models.localizer import Localizer
from train.models.registry import METHODS, build_parameters, make_model
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import load_tensors, write_model, write_run

_LEVELS = ("model_state_dict", "state_dict", "model")
_MAX_LEVELS = 4  # a damaged or hostile file can hold itself
_PREFIXES = ("module.", "model.")
# Released with RCGrad's weights, though nothing reads it: a stem of six channels (FlowGrad-IC's has four).
_UNUSED_KEY, _UNUSED_CHANNELS = "image_encoder.conv1_flow.weight", 6
_SCALE_KEY = (
    "loss_fn.logit_scale"  # of the loss, in what RCGrad's training code saves; maps need none
)
_WITH_SCALE = ("rcgrad", "flowgrad_h", "flowgrad_ic", "flowgrad_en")
_NUM_NAMED = 3
RELEASED = "released"  # how the epoch of published weights was chosen: by their authors

# What the authors' tests feed their weights, where it is not the default.
PUBLISHED_SETTINGS = {
    "htf": {
        "flow_encoding": "jpeg",
        "flow_scale": 1 / 255,
    },  # a picture's levels, as torchvision reads them
    "rcgrad": {"uses_batch_statistics": True},
    "flowgrad_h": {"uses_batch_statistics": True},
    "flowgrad_ic": {"uses_batch_statistics": True},
    "flowgrad_en": {"uses_batch_statistics": True},
}


def load_published(
    path: Path | str, method: str | None = None, settings: Mapping | None = None
) -> tuple[Localizer, TrainingParameters]:
    """The network of a published checkpoint, in evaluation mode, and its parameters.

    ``method`` None takes what the keys look like. ``settings`` override the method's published ones. Raises
    ``DataError`` when the file is damaged, holds code, or does not fit to the last key and shape.
    """
    path = Path(path)
    if method is not None and method not in METHODS:
        raise DataError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    state = find_state_dict(load_tensors(path), path)
    recognized = recognize(state)
    if recognized is None and method is None:
        raise DataError(
            f"{path}: {len(state)} tensors ({_name_some(state)}) are of no model known here"
        )
    values = _settings_for(method or recognized["method"], recognized) | dict(settings or {})
    parameters = build_parameters(values, str(path))
    model = make_model(parameters)
    expected = model.state_dict()
    if _UNUSED_KEY not in expected and state.get(_UNUSED_KEY, torch.empty(0)).shape[1:2] == (
        _UNUSED_CHANNELS,
    ):
        del state[_UNUSED_KEY]
    if parameters.method in _WITH_SCALE and state.get(_SCALE_KEY, torch.empty(0)).numel() == 1:
        del state[_SCALE_KEY]
    _require_fit(state, expected, path, parameters.method, recognized)
    model.load_state_dict(state)
    return model.eval(), parameters


def find_state_dict(content, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a published layout: below one of the known levels or flat, prefixes removed."""
    for _ in range(_MAX_LEVELS):
        inner = (content.get(name) for name in _LEVELS) if isinstance(content, Mapping) else ()
        content = next((values for values in inner if isinstance(values, Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise DataError(
            f"{path}: holds {type(content).__name__}, expected a state dict (names and tensors)"
        )
    strangers = [
        str(key)
        for key, value in content.items()
        if not isinstance(key, str) or not _is_plain_tensor(value)
    ]
    if strangers:
        raise DataError(
            f"{path}: no state dict: {_name_some(strangers)} of its entries are not (plain) tensors"
        )
    state = dict(content)
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _is_plain_tensor(value) -> bool:
    """Whether a value holds its numbers one by one: not sparse, quantized, or a shape without content."""
    is_tensor = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return is_tensor and not value.is_quantized and not value.is_meta


def recognize(state: Mapping[str, torch.Tensor]) -> dict | None:
    """The settings (``method``, ...) of the model that a state dict looks like; None for an unknown one."""
    parts = {key.split(".")[0] for key in state}
    if {"image_encoder", "audio_encoder"} <= parts:
        stem = state.get("image_encoder.conv1_flow.weight")
        if "flow_encoder" in parts:
            return {"method": "flowgrad_en"}
        return {
            "method": "flowgrad_ic" if stem is not None and stem.shape[1:2] == (4,) else "rcgrad"
        }
    if {"imgnet", "audnet"} <= parts:
        if "flowatt" in parts:
            return {"method": "htf", "flow_encoder": "cnn" if "flownet" in parts else "maxpool"}
        return {"method": "ezvsl" if "img_proj" in parts else "lvs"}
    return None


def _settings_for(method: str, recognized: Mapping | None) -> dict:
    same = recognized is not None and recognized["method"] == method
    return {**PUBLISHED_SETTINGS.get(method, {}), **(recognized if same else {}), "method": method}


def _require_fit(state, expected, path: Path, method: str, recognized: Mapping | None) -> None:
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    reshaped = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    not_finite = [
        key
        for key, value in state.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    retyped = [
        key
        for key in expected
        if key in state and expected[key].is_floating_point() and not state[key].is_floating_point()
    ]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} keys are missing ({_name_some(missing)})")
    if unexpected:
        complaints.append(f"{len(unexpected)} are not its own ({_name_some(unexpected)})")
    if reshaped:
        key = reshaped[0]
        found, wanted = tuple(state[key].shape), tuple(expected[key].shape)
        complaints.append(
            f"{len(reshaped)} have another shape ({key} is {found}, expected {wanted})"
        )
    if not complaints and retyped:
        found, wanted = state[retyped[0]].dtype, expected[retyped[0]].dtype
        complaints.append(
            f"{len(retyped)} hold other numbers ({retyped[0]} is {found}, expected {wanted})"
        )
    if not complaints and not_finite:
        complaints.append(f"{len(not_finite)} hold NaN or infinity ({_name_some(not_finite)})")
    if complaints:
        looks = _describe(state, recognized)
        raise DataError(
            f"{path}: not a published {method} checkpoint: {'; '.join(complaints)}; it looks like {looks}"
        )


def _describe(state: Mapping, recognized: Mapping | None) -> str:
    if recognized is not None:
        return " ".join(str(value) for value in recognized.values())
    if "conv1.weight" in state and any(key.startswith("layer1.") for key in state):
        return "a torchvision ResNet"
    return "no model known here"


def _name_some(keys) -> str:
    keys = list(keys)
    return ", ".join(keys[:_NUM_NAMED]) + (", ..." if len(keys) > _NUM_NAMED else "")


def import_published(
    path: Path,
    method: str | None,
    run_dir: Path,
    settings: Mapping | None = None,
    facts: Mapping | None = None,
) -> str:
    """Turn a published checkpoint into the run folder ``run_dir``; return the method's name.

    ``facts`` are added to ``run.json``, where ``selection`` says ``released``: its authors chose the epoch.
    """
    model, parameters = load_published(path, method, settings)
    write_model(run_dir, model, parameters)
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


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.weights.published_checkpoints",
        description="Import published weights.",
    )
    parser.add_argument("file", type=Path, help="a checkpoint as its authors gave it away")
    parser.add_argument(
        "run_dir", type=Path, help="folder to write, for example cache/runs/htf_released"
    )
    parser.add_argument("--method", choices=METHODS, help="default: what the keys look like")
    options = parser.parse_args(arguments)
    try:
        name = import_published(options.file, options.method, options.run_dir)
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {options.run_dir}: cannot be written: {error}", file=sys.stderr)
        return DataError.exit_code
    print(f"{options.run_dir}: {name} weights of {options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
