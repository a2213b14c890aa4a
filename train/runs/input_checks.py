"""Check that a network can read its features as params.yaml sets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.features.configure import load_module
from pipeline.features.registry import FEATURES, find_base, is_variant
from train.models.localizer import InputFormat
from train.models.registry import features_read, load_method
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.lwtnet import NUM_LOST_FRAMES
from train.runs.settings import RunData


@dataclass(frozen=True)
class NetworkInputs:
    """What the network of a run reads."""

    reader: str  # the run, for messages
    parameters: TrainingParameters
    features: Mapping[str, str]  # feature -> its name in the cache
    # Feature -> its settings; without those that have no section, or code of their own.
    settings: Mapping[str, Any]

    def name_section(self, feature: str) -> str:
        """Return the section of params.yaml that sets a feature."""
        return _name_section(self.features[feature])


def find_inputs(
    project: Project, reader: str, parameters: TrainingParameters, data: RunData
) -> NetworkInputs:
    """Return what a network reads, with the settings of params.yaml.

    Args:
        project: whose params.yaml is read.
        reader: the run, for messages.
        parameters: of the run.
        data: which variants it reads.
    """
    features = data.find_features(features_read(parameters))
    found = {base: _read_settings(project, feature) for base, feature in features.items()}
    settings = {base: one for base, one in found.items() if one is not None}
    return NetworkInputs(f"{reader} ({parameters.method})", parameters, features, settings)


def check_inputs(inputs: NetworkInputs, input_format: InputFormat) -> None:
    """Check that a network can read its features.

    Args:
        inputs: what it reads.
        input_format: how they become its inputs.

    Raises:
        ParameterError: it cannot, or sound and picture would be of different times.
    """
    if "waveforms" in inputs.settings:
        _check_waveforms(inputs, input_format.sample_rate)
    if "sequences" in inputs.settings:
        _check_sequences(inputs)
    if "spectrograms" in inputs.settings:
        _check_spectrograms(inputs)
    if "flow" in inputs.settings:
        _check_flow(inputs, input_format)


def list_input_notes(inputs: NetworkInputs) -> list[str]:
    """Return sentences about what is enlarged or repeated before the network reads it.

    Args:
        inputs: what the network reads.
    """
    notes = []
    for feature, key, needed in (
        ("frames", "short_side", inputs.parameters.short_side),
        ("sequences", "size", inputs.parameters.image_size),
    ):
        found = getattr(inputs.settings.get(feature), key, None)
        if found is not None and found < needed:
            section = inputs.name_section(feature)
            notes.append(
                f"reads {feature} with a side of {needed}, but {section}.{key} is {found}, so they "
                "are enlarged"
            )
    return notes


def _check_waveforms(inputs: NetworkInputs, rate: int | None) -> None:
    found, section = inputs.settings["waveforms"].sample_rate, inputs.name_section("waveforms")
    if rate is not None and found != rate:
        raise ParameterError(
            f"params: {section}.sample_rate is {found}, but {inputs.reader} reads waveforms of "
            f"{rate} Hz; set it to {rate}, or choose a preset of that rate"
        )
    # Batches hold waveforms of one length.
    if found == "native":
        raise ParameterError(
            f"params: {section}.sample_rate is native, but {inputs.reader} needs waveforms of one "
            "length; set it to a rate in Hz"
        )


def _check_sequences(inputs: NetworkInputs) -> None:
    found, section = inputs.settings["sequences"], inputs.name_section("sequences")
    parameters = inputs.parameters
    # With this constant a network compares each frame with the sound of its time. It cuts its sound
    # for this many frames a second, whatever is cached.
    fps = getattr(load_method(parameters.method), "FPS", None)
    if fps is None:
        return
    if found.fps != fps:
        raise ParameterError(
            f"params: {section}.fps is {found.fps:g}, but {inputs.reader} compares {fps} frames "
            f"with each second of sound; set it to {fps}"
        )

    needed = 1 + NUM_LOST_FRAMES
    if getattr(parameters, "contrast_with", "clips") != "clips":
        needed += 2 * parameters.max_shift  # type: ignore[attr-defined]
    if found.num_frames < needed:
        raise ParameterError(
            f"params: {section}.num_frames is {found.num_frames}, but {inputs.reader} needs "
            f"{needed} or more"
        )

    # The middle of the sound is that of the frames.
    sound = inputs.settings.get("waveforms")
    if sound is None:
        return
    section = inputs.name_section("waveforms")
    if sound.anchor != "sample":
        raise ParameterError(
            f"params: {section}.anchor is {sound.anchor}, but {inputs.reader} compares each frame "
            "with the sound of its time; set it to sample"
        )
    if sound.window_seconds < found.num_frames / fps:
        raise ParameterError(
            f"params: {section}.window_seconds is {sound.window_seconds:g}, but the "
            f"{found.num_frames} frames of {inputs.reader} last {found.num_frames / fps:g} seconds"
        )


def _check_spectrograms(inputs: NetworkInputs) -> None:
    found, pooling = inputs.settings["spectrograms"], inputs.parameters.spectrogram_pooling
    # 0 columns: the number depends on the file.
    sizes = [1 + found.n_fft // 2, *([found.num_frames] if found.num_frames else [])]
    if pooling > min(sizes):
        raise ParameterError(
            f"params: spectrogram_pooling of {inputs.reader} is {pooling}, expected at most "
            f"{min(sizes)}: {inputs.features['spectrograms']} has {' x '.join(map(str, sizes))} "
            "bins and columns"
        )


def _check_flow(inputs: NetworkInputs, input_format: InputFormat) -> None:
    found, section = inputs.settings["flow"], inputs.name_section("flow")
    # Two magnitudes would be taken for x and y.
    if found.aggregation == "stack" and found.num_pairs > 1:
        raise ParameterError(
            f"params: {section}.aggregation is stack, which has {found.num_pairs} pairs, but "
            f"{inputs.reader} reads one; set it to mean or max"
        )
    if found.components == "magnitude" and input_format.flow_encoding != "magnitude":
        raise ParameterError(
            f"params: {section}.components is magnitude, but {inputs.reader} reads x and y; set it "
            "to xy"
        )


def _name_section(feature: str) -> str:
    return f"feature_variants.{feature}" if is_variant(feature) else FEATURES[feature].section


def _read_settings(project: Project, feature: str) -> Any:
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
