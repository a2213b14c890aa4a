"""The first weights of networks: ImageNet's, or those of another run.

ImageNet's are torchvision's: fetched once and checked by their hash, or read from a file. Frozen
classifiers have the same ones.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

from earshot.errors import DataError, ParameterError
from earshot.files import sha256_of
from train.models.localizer import Localizer, NeededClassifier
from train.models.training_parameters import TrainingParameters
from train.networks.encoders.image_encoder import FULL_WIDTH, FeatureEncoder, ResNetEncoder
from train.networks.encoders.soundnet import SoundNet
from train.networks.encoders.vggish import VggishEncoder
from train.runs.run_folder import MODEL_NAME
from train.runs.tensor_files import load_tensors
from train.weights.fetch import fetch_weights
from train.weights.published_layouts import find_differences, recognize_method, require_fit
from train.weights.state_dicts import find_state_dict

# networks of sound: what their weights are, and how they are made
_SOUND_TEACHERS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "soundnet8": ("SoundNet's weights (sound8.pth)", SoundNet),
    "vggish": ("VGGish's weights (vggish-10086976.pth)", VggishEncoder),
}
_ALTERNATIVES = (
    "set init to random (with freeze_vision false), or to the path of a file with torchvision's "
    "weights"
)
_AUDIO_NAME = "audio_encoder"  # of RCGrad and FlowGrad
# Encoders may lack these. The published layouts hold first convolutions and heads that nothing
# reads, and torchvision has no weights for them.
_OPTIONAL_KEYS = {"conv1_a.weight", "conv1_flow.weight", "conv1.weight", "fc.weight", "fc.bias"}


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
    return path is not None and recognize_method(_read_weights(path)) is not None


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
    if parameters.init != "random":
        _load_first_weights(model, parameters, weights_dir=weights_dir)
    # Copies of networks, such as SLAVC's, follow what was loaded.
    model.take_first_weights()
    if model.needed_classifier is not None and model.needed_classifier.is_needed_in_training:
        _attach(model, model.needed_classifier, weights_dir=weights_dir)


def _load_first_weights(
    model: Localizer, parameters: TrainingParameters, *, weights_dir: Path | None
) -> None:
    init = parameters.init
    path = find_init_file(parameters)
    state = None if path is None else _read_weights(path)
    recognized = None if state is None else recognize_method(state)
    # A trained network: RCGrad, with which FlowGrad begins, or the run of an earlier stage.
    if state is not None and recognized is not None:
        if recognized["method"] == model.begins_as:
            _initialize_from_rcgrad(model, state, parameters=parameters)
        else:
            _continue_run(model, state, found=recognized["method"], parameters=parameters)
        return

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
    wrong = [key for key in own if key not in audio or audio[key].shape != own[key].shape]
    if wrong:
        raise DataError(
            f"init {source}: {len(wrong)} weights of the audio encoder are missing or have another "
            f"shape, first {wrong[0]}; expected {expected}"
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
    expected = {
        key: values
        for key, values in own.items()
        if key in state or key.split(".")[0] not in model.further_parts
    }
    problems = find_differences(state, expected)
    if problems:
        raise DataError(
            f"init {parameters.init}: holds a trained {found}, but {'; '.join(problems)}; expected "
            "torchvision's weights, a run with the same network, or a trained RCGrad for a run of "
            f"rcgrad or flowgrad_*; this one is of {parameters.method}"
        )

    # Further parts keep their random weights.
    model.load_state_dict(own | state)


def attach_classifier(model: Localizer, *, weights_dir: Path | None) -> None:
    """Give a network the frozen classifier that it needs; most networks need none.

    Args:
        model: A network; with a ``needed_classifier`` it gets that.
        weights_dir: Folder for fetched weights; None: torch's own.

    Raises:
        DataError: The weights cannot be fetched or read, or do not fit.
    """
    needed = model.needed_classifier
    if needed is not None and needed.is_needed_at_test:
        _attach(model, needed, weights_dir=weights_dir)


def _attach(model: Localizer, needed: NeededClassifier, *, weights_dir: Path | None) -> None:
    if needed.backbone in _SOUND_TEACHERS:
        path = Path(needed.weights).expanduser()
        model.attach_classifier(load_sound_teacher(needed.backbone, path))
        return
    classifier = load_classifier(
        needed.backbone,
        source=needed.weights,
        needs_head=needed.needs_head,
        weights_dir=weights_dir,
    )
    model.attach_classifier(classifier)


def load_sound_teacher(name: str, path: Path) -> nn.Module:
    """Read the weights of a network of sound that was trained elsewhere.

    Args:
        name: ``soundnet8`` or ``vggish``.
        path: Of its PyTorch port.

    Raises:
        DataError: The file is not there, or differs from the network in any key or shape.
    """
    title, make = _SOUND_TEACHERS[name]
    if not path.is_file():
        raise DataError(
            f"teacher_weights {path}: no such file, expected {title}; docs/training.md says where "
            "to get them"
        )

    network = make()
    state = _read_weights(path)
    require_fit(state, network.state_dict(), path, name)
    network.load_state_dict(state)
    return network


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


def load_classifier(
    backbone: str, *, source: str, needs_head: bool, weights_dir: Path | None
) -> ResNetEncoder:
    """Make a ResNet with ImageNet's weights.

    Args:
        backbone: A ResNet.
        source: ``imagenet`` (fetched), or the path of a file with torchvision's weights.
        needs_head: Whether the file must hold the head ``fc``.
        weights_dir: Folder for fetched weights; None: torch's own.

    Returns:
        The network with its head, whose weights are random if the file has none.

    Raises:
        DataError: The weights cannot be fetched or read, or do not fit.
    """
    classifier = ResNetEncoder(backbone, in_channels=3, has_head=True)
    weights = load_imagenet_weights(backbone, init=source, weights_dir=weights_dir)
    missing = sorted({"fc.weight", "fc.bias"} - set(weights))
    if needs_head and missing:
        raise DataError(f"{source}: has no {missing[0]}, expected a classifier with its head")

    load_backbone(classifier, weights, source=source)
    return classifier


def load_imagenet_weights(
    backbone: str, *, init: str, weights_dir: Path | None
) -> dict[str, torch.Tensor]:
    """Read torchvision's state dict of a backbone.

    Args:
        backbone: Name of a torchvision classifier.
        init: ``imagenet`` fetches the published weights; anything else is the path of a file.
        weights_dir: Folder for fetched weights; None: torch's own.

    Raises:
        ParameterError: Torchvision has no ImageNet weights for this backbone.
        DataError: The weights cannot be fetched or read, or are not finite.
    """
    if init != "imagenet":
        return _read_weights(Path(init).expanduser())

    try:
        # An unknown backbone raises ValueError; a known one may lack these weights.
        weights = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
    except (ValueError, AttributeError):
        raise ParameterError(
            f"torchvision has no ImageNet weights for backbone {backbone!r}; {_ALTERNATIVES}"
        ) from None

    name = weights.url.rsplit("/", 1)[1]
    # Torchvision puts the first hexadecimal digits of a file's SHA-256 into its name.
    prefix = name.rsplit("-", 1)[1].split(".")[0]
    # In torch's own folder, weights that torchvision has fetched are found.
    folder = Path(torch.hub.get_dir()) / "checkpoints" if weights_dir is None else Path(weights_dir)
    path = fetch_weights(weights.url, folder / name, sha256=prefix, alternatives=_ALTERNATIVES)
    return _read_weights(path)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    weights = find_state_dict(load_tensors(path), path)
    broken = next((key for key, value in weights.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise DataError(f"{path}: {broken} is not finite (NaN or infinite), expected weights")
    return weights


def load_backbone(
    encoder: ResNetEncoder | FeatureEncoder,
    weights: dict[str, torch.Tensor],
    *,
    source: str,
    has_stem: bool = True,
    expected: str = "torchvision's weights of the same backbone",
) -> None:
    """Copy torchvision's weights into an encoder.

    What the encoder has and torchvision's classifier has not stays as it is.

    Args:
        encoder: Of the same backbone.
        weights: State dict of torchvision's classifier.
        source: Where the weights come from, for error messages.
        has_stem: False leaves the encoder's first convolution as it is.
        expected: What the weights should be, for error messages.

    Raises:
        DataError: The weights are of another backbone.
    """
    own, stem_key = encoder.state_dict(), f"{encoder.stem}.weight"

    # FeatureEncoder gives the parts of a backbone other names.
    weights = {encoder.own_name(key): value for key, value in weights.items()}
    if not hasattr(encoder, "fc"):
        weights = {key: value for key, value in weights.items() if not key.startswith("fc.")}

    # The encoder's first convolution may have another name and other input channels.
    rgb = weights.get(f"{encoder.rgb_stem}.weight")
    if not has_stem:
        weights[stem_key] = own[stem_key]
    elif rgb is not None and rgb.shape[1:2] == (3,):
        weights[stem_key] = expand_channels(rgb, own[stem_key].shape[1])

    # What has another shape is then missing, which is an error below.
    fitting = {
        key: value for key, value in weights.items() if key in own and own[key].shape == value.shape
    }

    # BatchNorm's counter changes no map. The encoder's own first convolution is always needed.
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - set(fitting) - (_OPTIONAL_KEYS - {stem_key}))
    if missing:
        raise DataError(
            f"init {source}: {len(missing)} of the encoder's weights are missing or have another "
            f"shape, first {missing[0]} {tuple(own[missing[0]].shape)}; expected {expected}"
        )

    # All names of a shallow backbone are also in a deeper one, so more is wrong, too.
    surplus = sorted(key for key in weights if key.startswith("layer") and key not in own)
    if surplus:
        raise DataError(
            f"init {source}: holds {len(surplus)} weights that the encoder does not have, first "
            f"{surplus[0]}; expected {expected}"
        )

    encoder.load_state_dict(fitting, strict=False)


def expand_channels(rgb: torch.Tensor, num_channels: int) -> torch.Tensor:
    """Turn first-convolution weights (c, 3, k, k) into (c, num_channels, k, k).

    The weights of RGB are kept. Each other channel gets their mean, as in FlowGrad. With fewer
    than three channels all get the mean.
    """
    mean = rgb.mean(1, keepdim=True)
    if num_channels < 3:
        return mean.expand(-1, num_channels, -1, -1).clone()
    return torch.cat([rgb, mean.expand(-1, num_channels - 3, -1, -1)], 1)
