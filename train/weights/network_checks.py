"""Check before any work that a run's network can be made, and that it fits what it reads.

Where it can be, the network is made without memory for its weights (torch's device ``meta``), which
takes a hundredth of a second.
"""

from dataclasses import fields

import torch

from earshot.errors import EarshotError, ParameterError
from pipeline.base.project import Project
from pipeline.features.configure import require_datasets
from train.models.localizer import Localizer
from train.models.registry import (
    build_parameters,
    features_read,
    load_method,
    make_model,
    parameters_of_training,
)
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import FULL_WIDTH
from train.runs.idle_settings import NETWORK_SETTINGS, SPECTROGRAM_SETTINGS
from train.runs.input_checks import check_inputs, find_inputs
from train.runs.settings import RunData, find_run_of_folder, read_run_data, read_run_parameters
from train.weights.initialization import find_expected
from train.weights.published_checkpoints import PUBLISHED_SETTINGS
from train.weights.published_layouts import find_differences
from train.weights.released import ReleasedWeights

# Settings of all methods that nothing reads which only makes maps.
_OF_TRAINING = {field.name for field in fields(TrainingParameters)} - {
    *("method", *NETWORK_SETTINGS, *SPECTROGRAM_SETTINGS)
}


def check_network(project: Project, name: str) -> None:
    """Check the network of a run, its first weights and the features that it reads.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.

    Raises:
        ParameterError: the network cannot be made, does not begin with these weights, or cannot
            read a feature as params.yaml sets it.
    """
    parameters = read_run_parameters(project, name)
    model = _make_network(parameters, where=f"train.{name}")
    _check_first_weights(project, name, parameters, model)

    inputs = find_inputs(project, name, parameters, read_run_data(project, name))
    check_inputs(inputs, model.input_format)


def check_released(project: Project, name: str) -> None:
    """Check that released weights find what they read, and that their settings have an effect.

    Args:
        project: whose params.yaml is read.
        name: of an entry of section ``weights`` that ``released`` names.

    Raises:
        ParameterError: a feature is not computed for a dataset, or a setting is wrong.
    """
    where = f"weights.{name}"
    weights = project.parameters(ReleasedWeights, where)
    values = {"method": weights.method, **PUBLISHED_SETTINGS.get(weights.method, {})}
    settings = weights.settings or {}
    parameters = build_parameters({**values, **settings}, f"{where}.settings")
    for key in settings:
        if key in _OF_TRAINING:
            raise ParameterError(
                f"params: {where}.settings has {key!r}, which changes nothing: weights that are "
                "released are not trained; leave it out"
            )

    data = RunData(features=weights.features)
    data.check_features(features_read(parameters), where=where)
    inputs = find_inputs(project, name, parameters, data)
    for dataset in project.datasets:
        require_datasets(project, dataset, inputs.features.values(), reader=f"released {name}")
    model = _make_network(parameters, where=where)
    check_inputs(inputs, model.input_format)


def _make_network(parameters: TrainingParameters, *, where: str) -> Localizer:
    try:
        try:
            with torch.device("meta"):
                return load_method(parameters.method).Model(parameters)
        except (RuntimeError, TypeError):
            # Some networks read values of tensors while they are made, and these have none. So do
            # torchvision's RegNets.
            return make_model(parameters)
    except EarshotError as error:
        raise ParameterError(f"params: {where}: {error}") from None
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ParameterError(
            f"params: {where}: its network cannot be made ({type(error).__name__}: {error})"
        ) from None


def _check_first_weights(
    project: Project, name: str, parameters: TrainingParameters, model: Localizer
) -> None:
    """Check that ``init`` is of a network of the same width, or is that of ImageNet."""
    # FlowGrad-H begins as the RCGrad that it trains.
    parameters = parameters_of_training(parameters)
    where = f"params: train.{name}.init is {parameters.init!r}"
    if parameters.init == "imagenet" and parameters.width != FULL_WIDTH:
        raise ParameterError(
            f"{where}, whose weights have width {FULL_WIDTH}, but width is {parameters.width}; "
            "narrow encoders have no published weights: set init to random"
        )

    first = find_run_of_folder(project, parameters.init)
    if first is None:
        return
    found = parameters_of_training(read_run_parameters(project, first))
    if found.method == model.begins_as:
        if (found.backbone, found.width) != (parameters.backbone, parameters.width):
            raise ParameterError(
                f"{where}, whose backbone and width ({found.backbone}, {found.width}) differ from "
                f"those of {name} ({parameters.backbone}, {parameters.width})"
            )
        return

    state = _make_network(found, where=f"train.{first}").state_dict()
    problems = find_differences(state, find_expected(model, state))
    if problems:
        raise ParameterError(
            f"{where}, a run of {found.method} with another network: {'; '.join(problems)}; "
            "expected a run with the same network"
        )
