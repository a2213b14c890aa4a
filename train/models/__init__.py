"""The published methods, one module each, with ``Parameters`` and ``Model``; found by name."""

import importlib
from collections.abc import Mapping

import torch

from earshot.errors import ParameterError
from pipeline.base.parameters import as_mapping, build
from train.models.localizer import Localizer
from train.models.training_parameters import TrainingParameters, require_known

METHODS = ("lvs", "ezvsl", "htf", "rcgrad", "flowgrad_h", "flowgrad_ic", "flowgrad_en")


def build_parameters(values: Mapping | None, where: str) -> TrainingParameters:
    """The parameters of the method that ``values`` names under ``method``; ``where`` is the section, for messages."""
    if not isinstance(values, Mapping) or "method" not in values:
        raise ParameterError(
            f"params: missing key {where}.method; known methods: {', '.join(METHODS)}"
        )
    method = values["method"]
    require_known(method, METHODS, f"{where}.method")
    return build(importlib.import_module(f"train.models.{method}").Parameters, values, where)


def make_model(parameters: TrainingParameters, *, seed: int | None = None) -> Localizer:
    """The network with randomly initialized weights, the same for the same ``seed`` (default: the parameters' own)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed if seed is None else seed)
        return importlib.import_module(f"train.models.{parameters.method}").Model(parameters)


def parameters_of_training(parameters: TrainingParameters) -> TrainingParameters:
    """The parameters by which the weights come about: ``parameters``, or, for a method without a training of its own
    (``flowgrad_h``), the same ones of the method that is trained in its place (``rcgrad``).
    """
    trained_as = importlib.import_module(f"train.models.{parameters.method}").Model.trained_as
    if trained_as is None:
        return parameters
    return build_parameters(
        {**as_mapping(parameters), "method": trained_as}, f"{parameters.method} as {trained_as}"
    )


def features_read(parameters: TrainingParameters) -> tuple[str, ...]:
    """Names of the cached features that the method of ``parameters`` reads."""
    return importlib.import_module(f"train.models.{parameters.method}").Model.reads
