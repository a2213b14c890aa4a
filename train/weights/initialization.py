"""The first weights of networks: ImageNet's, or those of another run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from earshot.errors import DataError, ParameterError
from earshot.files import sha256_of
from train.models.localizer import Localizer
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import FULL_WIDTH
from train.runs.run_folder import MODEL_NAME
from train.weights.frozen_networks import attach_classifier
from train.weights.imagenet_weights import load_backbone, load_imagenet_weights
from train.weights.published_layouts import find_differences, recognize_method
from train.weights.state_dicts import has_weight_type, read_weights

_AUDIO_NAME = "audio_encoder"  # of RCGrad and FlowGrad


def find_init_file(parameters: TrainingParameters) -> Path | None:
    """Return the file that ``parameters.init`` names; None for random and ImageNet's weights.

    Raises:
        DataError: There is no such file.
    """
    path = find_file(parameters.init)
    if path is not None and not path.is_file():
        raise DataError(
            f"init {parameters.init}: {path} is not a file; expected imagenet, random, a file with "
            "torchvision's weights, or the model of another run, which has to be made first"
        )
    return path


def find_file(source: str) -> Path | None:
    """Return the path of a file, or of the model of a run folder; None for random and ImageNet's.

    The file need not exist.
    """
    if source in ("random", "imagenet"):
        return None
    path = Path(source).expanduser()
    return path / MODEL_NAME if path.is_dir() else path


def list_first_files(parameters: TrainingParameters) -> list[Path]:
    """Return the files that a training begins with, ``init`` first.

    Raises:
        DataError: ``init`` names a file that is not there.
    """
    _, *others = (find_file(source) for source in parameters.list_sources())
    paths = (find_init_file(parameters), *others)
    return [path for path in paths if path is not None and path.is_file()]


def begins_trained(parameters: TrainingParameters) -> bool:
    """Return whether ``init`` names a network that was trained on videos, not on ImageNet.

    Raises:
        DataError: The file cannot be read.
    """
    path = find_init_file(parameters)
    return path is not None and recognize_method(read_weights(path)) is not None


def initialize(
    model: Localizer, parameters: TrainingParameters, *, weights_dir: Path | None
) -> None:
    """Initialize a network as ``parameters.init`` says.

    Vision encoders get weights of ImageNet, or those of a trained RCGrad ("source"):

    | encoder | first convolution | rest |
    |---|---|---|
    | of frames | the source's | the source's |
    | of frames and flow (FlowGrad-IC) | the source's; for flow its mean over RGB | the source's |
    | of flow (FlowGrad-EN) | mean of the source's over RGB | the source's |
    | of flow (Hear The Flow) | stays random, as in its authors' code | ImageNet's |

    A trained RCGrad also initializes the audio encoder. A run with the same network gives all
    weights; the model's ``further_parts`` may begin anew.

    Args:
        model: A network with random weights.
        parameters: Of the network. With ``init`` random nothing changes.
        weights_dir: Folder for fetched weights; None: torch's own.

    Raises:
        ParameterError: There are no ImageNet weights of this width or backbone.
        DataError: The weights cannot be fetched or read, or do not fit.
    """
    is_continued = parameters.init != "random" and _load_first_weights(
        model, parameters, weights_dir=weights_dir
    )
    # Copies of networks, such as SLAVC's, follow what was loaded. A run brings its own.
    if not is_continued:
        model.take_first_weights()
    attach_classifier(model, weights_dir=weights_dir, is_training=True)


def _load_first_weights(
    model: Localizer, parameters: TrainingParameters, *, weights_dir: Path | None
) -> bool:
    """Load weights, and return whether they are all weights of a run with the same network."""
    init = parameters.init
    path = find_init_file(parameters)
    state = None if path is None else read_weights(path)
    recognized = None if state is None else recognize_method(state)
    # A trained network: RCGrad, with which FlowGrad begins, or the run of an earlier stage.
    if state is not None and recognized is not None:
        if recognized["method"] == model.begins_as:
            _initialize_from_rcgrad(model, state, parameters=parameters)
            return False
        _continue_run(model, state, found=recognized["method"], parameters=parameters)
        return True

    if parameters.width != FULL_WIDTH:
        raise ParameterError(
            f"init {init!r} needs the full width ({FULL_WIDTH}), found width {parameters.width}; "
            "narrow encoders have no published weights: set init to random"
        )

    weights = state or load_imagenet_weights(
        parameters.backbone, init=init, weights_dir=weights_dir
    )
    for name in (model.vision_name, *model.further_imagenet_encoders):
        load_backbone(getattr(model, name), weights, source=init)

    # The flow of Hear The Flow has two components, for which ImageNet has no first convolution.
    for name in model.imagenet_trunks:
        if hasattr(model, name):  # Hear The Flow has no such encoder with ``maxpool``
            load_backbone(getattr(model, name), weights, source=init, has_stem=False)
    return False


def _initialize_from_rcgrad(
    model: Localizer,
    state: dict[str, torch.Tensor],
    *,
    parameters: TrainingParameters,
) -> None:
    """Give a network of RCGrad's kind both encoders of a trained RCGrad, as FlowGrad begins."""
    source = parameters.init
    image, audio = (
        {
            key.removeprefix(f"{part}."): values
            for key, values in state.items()
            if key.startswith(f"{part}.")
        }
        for part in (model.vision_name, _AUDIO_NAME)
    )

    expected = "an RCGrad of the same backbone and width"
    for name in (model.vision_name, *model.further_imagenet_encoders):
        load_backbone(getattr(model, name), image, source=source, expected=expected)

    audio_encoder = getattr(model, _AUDIO_NAME)
    own = audio_encoder.state_dict()
    wrong = [
        key
        for key in own
        if key not in audio
        or audio[key].shape != own[key].shape
        or not has_weight_type(audio[key], own[key])
    ]
    if wrong:
        raise DataError(
            f"init {source}: {len(wrong)} weights of the audio encoder are missing or have another "
            f"shape or type, first {wrong[0]}; expected {expected}"
        )
    audio_encoder.load_state_dict({key: audio[key] for key in own})


def _continue_run(
    model: Localizer,
    state: dict[str, torch.Tensor],
    *,
    found: str,
    parameters: TrainingParameters,
) -> None:
    """Give a network the weights of a run that has the same one, but for its further parts."""
    own = model.state_dict()
    problems = find_differences(state, find_expected(model, state))
    if problems:
        raise DataError(
            f"init {parameters.init}: holds a trained {found}, but {'; '.join(problems)}; expected "
            "torchvision's weights, a run with the same network, or a trained RCGrad for a run of "
            f"rcgrad or flowgrad_*; this one is of {parameters.method}"
        )

    # Further parts keep their random weights.
    model.load_state_dict(own | state)


def find_expected(model: Localizer, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights that a run must have for a network to begin with it.

    Args:
        model: The network. Its further parts may keep their random weights.
        state: The weights of the run.
    """
    return {
        key: values
        for key, values in model.state_dict().items()
        if key in state or key.split(".")[0] not in model.further_parts
    }


def hash_first_weights(parameters: TrainingParameters) -> str | None:
    """Hash the files that a training begins with.

    These are the file of ``init`` and the other sources of the method that are files or runs.

    Args:
        parameters: Of the run.

    Returns:
        The SHA-256 of the file; of several files, that of their hashes. None: there are no files.

    Raises:
        DataError: The file that ``init`` names is not there.
    """
    hashes = [sha256_of(path) for path in list_first_files(parameters)]
    # A single file keeps its own hash, which can be compared with that of `sha256sum`.
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
