"""Networks that are never trained: classifiers of ImageNet, and networks of sound that teach."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from earshot.errors import DataError
from train.models.localizer import Localizer
from train.networks.encoders.image_encoder import ResNetEncoder
from train.networks.encoders.soundnet import SoundNet
from train.networks.encoders.vggish import VggishEncoder
from train.weights.imagenet_weights import load_backbone, load_imagenet_weights
from train.weights.published_layouts import require_fit
from train.weights.state_dicts import read_weights

# networks of sound: what their weights are, and how they are made
_SOUND_TEACHERS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "soundnet8": ("SoundNet's weights (sound8.pth)", SoundNet),
    "vggish": ("VGGish's weights (vggish-10086976.pth)", VggishEncoder),
}


def attach_classifier(
    model: Localizer, *, weights_dir: Path | None, is_training: bool = False
) -> None:
    """Give a network the frozen classifier that it needs; most networks need none.

    Args:
        model: A network; with a ``needed_classifier`` it gets that.
        weights_dir: Folder for fetched weights; None: torch's own.
        is_training: Whether the network is to be trained: some need it only then, others only at
            test.

    Raises:
        DataError: The weights cannot be fetched or read, or do not fit.
    """
    needed = model.needed_classifier
    if needed is None:
        return
    if not (needed.is_needed_in_training if is_training else needed.is_needed_at_test):
        return

    if needed.backbone in _SOUND_TEACHERS:
        teacher = load_sound_teacher(needed.backbone, Path(needed.weights).expanduser())
        model.attach_classifier(teacher)
        return
    classifier = load_classifier(
        needed.backbone,
        source=needed.weights,
        needs_head=needed.needs_head,
        weights_dir=weights_dir,
    )
    model.attach_classifier(classifier)


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
    state = read_weights(path)
    require_fit(state, network.state_dict(), path, name)
    network.load_state_dict(state)
    return network
