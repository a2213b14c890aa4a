"""Find a method by its name; make its parameters and its network.

A method is a module of this folder with ``Parameters`` and ``Model``. To add one, add its module.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from earshot.errors import ParameterError
from pipeline.base.parameters import as_mapping, build
from train.models.localizer import Localizer
from train.models.training_parameters import TrainingParameters, require_known

# The modules of this folder that are not methods.
_NOT_METHODS = {"__init__", "localizer", "registry", "training_parameters"}

METHODS = tuple(sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - _NOT_METHODS))


def build_parameters(values: Mapping[str, Any] | None, where: str) -> TrainingParameters:
    """Build the parameters of the method that a section of params.yaml names.

    Args:
        values: the section; ``method`` is one of its keys.
        where: the name of the section, for error messages.

    Returns:
        An instance of the method's own ``Parameters``.

    Raises:
        ParameterError: a key is missing, unknown or out of range.
    """
    if not isinstance(values, Mapping) or "method" not in values:
        raise ParameterError(
            f"params: missing key {where}.method; known methods: {', '.join(METHODS)}"
        )
    method = values["method"]
    require_known(method, METHODS, f"{where}.method")
    return build(load_method(method).Parameters, values, where)


def make_model(parameters: TrainingParameters, *, seed: int | None = None) -> Localizer:
    """Make a network with random weights.

    Args:
        parameters: of a method, from ``build_parameters``.
        seed: of the weights; the same seed gives the same weights. None: ``parameters.seed``.

    Returns:
        The network on the CPU, in training mode.
    """
    # The random state of the caller stays as it was.
    # Weights are drawn on the CPU, so there is no state of a GPU to keep.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed if seed is None else seed)
        return load_method(parameters.method).Model(parameters)


def parameters_of_training(parameters: TrainingParameters) -> TrainingParameters:
    """Return the parameters of the run that produces the weights.

    FlowGrad-H has no training of its own. For it these are RCGrad parameters with the same values.

    Args:
        parameters: of a run.

    Returns:
        ``parameters`` themselves for every method that is trained.
    """
    trained_as = load_method(parameters.method).Model.trained_as
    if trained_as is None:
        return parameters
    # With RCGrad's name and the same values, an equal run of RCGrad is found by its key.
    values = {**as_mapping(parameters), "method": trained_as}
    return build_parameters(values, f"{parameters.method} as {trained_as}")


def features_read(parameters: TrainingParameters) -> tuple[str, ...]:
    """Return the names of the cached features that a method reads.

    Args:
        parameters: of a run of the method.
    """
    return load_method(parameters.method).Model.reads


def load_method(method: str) -> ModuleType:
    """Return the module of a method that ``METHODS`` names."""
    return importlib.import_module(f"train.models.{method}")
