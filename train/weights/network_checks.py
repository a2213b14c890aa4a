"""Check before any work that a run's network can be made, and that it fits what it reads.

The network is made without memory for its weights (torch's device ``meta``), which takes a
hundredth of a second.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from earshot.errors import EarshotError, ParameterError
from pipeline.base.project import Project
from pipeline.features.configure import load_module, require_datasets
from pipeline.features.registry import FEATURES, find_base, is_variant
from train.models.localizer import Localizer
from train.models.registry import (
    build_parameters,
    features_read,
    load_method,
    parameters_of_training,
)
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import FULL_WIDTH
from train.networks.encoders.lwtnet import NUM_LOST_FRAMES
from train.runs.idle_settings import NETWORK_SETTINGS, SPECTROGRAM_SETTINGS
from train.runs.settings import RunData, find_run_of_folder, read_run_data, read_run_parameters
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
    model = _make_without_memory(parameters, where=f"train.{name}")
    _check_first_weights(project, name, parameters, model)

    features = read_run_data(project, name).find_features(features_read(parameters))
    settings = {
        base: found
        for base, feature in features.items()
        if (found := _read_settings(project, feature)) is not None
    }
    for check in (_check_waveforms, _check_sequences, _check_spectrograms):
        check(name, parameters, model, features, settings)


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
    features = data.find_features(features_read(parameters))
    for dataset in project.datasets:
        require_datasets(project, dataset, features.values(), reader=f"released {name}")


def list_enlarged(project: Project, name: str) -> list[str]:
    """Return sentences about frames that are cached smaller than the network reads them.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.
    """
    parameters = read_run_parameters(project, name)
    features = read_run_data(project, name).find_features(features_read(parameters))
    settings = _read_settings(project, features["frames"]) if "frames" in features else None
    cached = getattr(settings, "short_side", None)
    if cached is None or cached >= parameters.short_side:
        return []
    return [
        f"reads frames with a short side of {parameters.short_side}, but "
        f"{_name_section(features['frames'])}.short_side is {cached}, so they are enlarged"
    ]


def _make_without_memory(parameters: TrainingParameters, *, where: str) -> Localizer:
    try:
        with torch.device("meta"):
            return load_method(parameters.method).Model(parameters)
    except EarshotError as error:
        raise ParameterError(f"params: {where}: {error}") from None
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
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

    state = _make_without_memory(found, where=f"train.{first}").state_dict()
    expected = {
        key: values
        for key, values in model.state_dict().items()
        if key in state or key.split(".")[0] not in model.further_parts
    }
    problems = find_differences(state, expected)
    if problems:
        raise ParameterError(
            f"{where}, a run of {found.method} with another network: {'; '.join(problems)}; "
            "expected a run with the same network"
        )


def _check_waveforms(
    name: str,
    parameters: TrainingParameters,
    model: Localizer,
    features: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    if "waveforms" not in settings:
        return
    rate, found = model.input_format.sample_rate, settings["waveforms"].sample_rate
    section = _name_section(features["waveforms"])
    if rate is not None and found != rate:
        raise ParameterError(
            f"params: {section}.sample_rate is {found}, but {name} ({parameters.method}) reads "
            f"waveforms of {rate} Hz; set it to {rate}, or choose a preset of that rate"
        )
    # Batches hold waveforms of one length.
    if found == "native":
        raise ParameterError(
            f"params: {section}.sample_rate is native, but {name} ({parameters.method}) needs "
            "waveforms of one length; set it to a rate in Hz"
        )


def _check_sequences(
    name: str,
    parameters: TrainingParameters,
    model: Localizer,
    features: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    if "sequences" not in settings:
        return
    found, section = settings["sequences"], _name_section(features["sequences"])
    # The network cuts its sound for this many frames a second, whatever is cached.
    fps = getattr(load_method(parameters.method), "FPS", found.fps)
    if found.fps != fps:
        raise ParameterError(
            f"params: {section}.fps is {found.fps:g}, but {name} ({parameters.method}) compares "
            f"{fps} frames with each second of sound; set it to {fps}"
        )

    needed = 1 + NUM_LOST_FRAMES
    if getattr(parameters, "contrast_with", "clips") != "clips":
        needed += 2 * parameters.max_shift  # type: ignore[attr-defined]
    if found.num_frames < needed:
        raise ParameterError(
            f"params: {section}.num_frames is {found.num_frames}, but {name} "
            f"({parameters.method}) needs {needed} or more"
        )


def _check_spectrograms(
    name: str,
    parameters: TrainingParameters,
    model: Localizer,
    features: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    if "spectrograms" not in settings:
        return
    found = settings["spectrograms"]
    # 0 columns: the number depends on the file.
    sizes = [1 + found.n_fft // 2, *([found.num_frames] if found.num_frames else [])]
    if parameters.spectrogram_pooling > min(sizes):
        raise ParameterError(
            f"params: train.{name}.spectrogram_pooling is {parameters.spectrogram_pooling}, "
            f"expected at most {min(sizes)}: {features['spectrograms']} has "
            f"{' x '.join(map(str, sizes))} bins and columns"
        )


def _name_section(feature: str) -> str:
    return f"feature_variants.{feature}" if is_variant(feature) else FEATURES[feature].section


def _read_settings(project: Project, feature: str) -> Any:
    """Return the settings of a feature or variant; None: it has no section or code of its own."""
    section = _name_section(feature)
    top, _, rest = section.partition(".")
    values = project.params.get(top)
    if rest and isinstance(values, Mapping):
        values = values.get(rest)
    if not isinstance(values, Mapping) or "code" in values:
        return None
    cls: Any = load_module(find_base(feature)).Parameters
    parameters = project.parameters(cls, section)
    return parameters.resolve() if hasattr(parameters, "resolve") else parameters
