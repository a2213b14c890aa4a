"""Find the state dict in a checkpoint that other people's code may have written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from earshot.errors import DataError
from train.runs.tensor_files import load_tensors

# Checkpoints keep the state dict under one of these keys, possibly one inside the other.
_LEVELS = ("model_state_dict", "state_dict", "model")
# A damaged or hostile file can contain itself, so the search ends after this many levels.
_MAX_LEVELS = 4
# What torch's DataParallel, Lightning and `torch.compile` put before every name.
_PREFIXES = ("module.", "model.", "_orig_mod.")
_NUM_NAMED = 3


def find_state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the tensors of a network in the content of a checkpoint.

    Args:
        content: What ``load_tensors`` returned: a state dict, or one under the keys ``model``,
            ``state_dict`` or ``model_state_dict``.
        path: Of the file, for error messages.

    Returns:
        The state dict, its names without ``module.``, ``model.`` and ``_orig_mod.`` in front.

    Raises:
        DataError: There is no state dict, or a value in it is not a plain tensor.
    """
    # Go inwards while there is a state dict under one of the known keys.
    for _ in range(_MAX_LEVELS):
        inner = (content.get(name) for name in _LEVELS) if isinstance(content, Mapping) else ()
        content = next((values for values in inner if isinstance(values, Mapping)), content)

    if not isinstance(content, Mapping) or not content:
        raise DataError(
            f"{path}: holds {type(content).__name__}, expected a state dict (names and tensors)"
        )

    others = [
        str(key)
        for key, value in content.items()
        if not isinstance(key, str) or not _is_plain_tensor(value)
    ]
    if others:
        raise DataError(
            f"{path}: not a state dict: entries that are not (plain) tensors: {name_some(others)}"
        )

    state = dict(content)
    # A checkpoint can have several prefixes, one before the other.
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a file.

    Args:
        path: Of the file.

    Raises:
        DataError: The file cannot be read, holds no state dict, or a weight is not finite.
    """
    weights = find_state_dict(load_tensors(path), path)
    broken = next((key for key, value in weights.items() if not is_finite(value)), None)
    if broken is not None:
        raise DataError(f"{path}: {broken} is not finite (NaN or infinite), expected weights")
    return weights


def name_some(keys: Iterable[str]) -> str:
    """Return the first names of a list, for an error message."""
    keys = list(keys)
    return ", ".join(keys[:_NUM_NAMED]) + (", ..." if len(keys) > _NUM_NAMED else "")


def is_finite(values: torch.Tensor) -> bool:
    """Return whether all values are finite in float32, in which a network keeps its weights."""
    # A float64 can be finite, and too large for a float32.
    numbers = values.float() if values.is_floating_point() else values
    return bool(numbers.isfinite().all())


def has_weight_type(values: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether values are floating point where the network's are.

    ``load_state_dict`` would turn whole or complex numbers into weights without a word. A count of
    batches may be floating point: some save all tensors as such.
    """
    return values.is_floating_point() or not expected.is_floating_point()


def _is_plain_tensor(value: Any) -> bool:
    """Return whether a value is a tensor that stores each of its numbers.

    Sparse and quantized tensors do not, and a tensor on the device ``meta`` has only a shape.
    """
    is_tensor = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return is_tensor and not value.is_quantized and not value.is_meta
