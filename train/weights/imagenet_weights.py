"""ImageNet's weights: torchvision's file of a backbone, and how they get into an encoder.

The file is fetched once and checked by its hash, or it is the user's own.
"""

from pathlib import Path

import torch
import torchvision

from earshot.errors import DataError, ParameterError
from train.networks.encoders.image_encoder import FeatureEncoder, ResNetEncoder
from train.weights.fetch import fetch_weights
from train.weights.state_dicts import has_weight_type, read_weights

_ALTERNATIVES = (
    "set init to random (with freeze_vision false), or to the path of a file with torchvision's "
    "weights"
)
# Encoders may lack these. The published layouts hold first convolutions and heads that nothing
# reads, and torchvision has no weights for them.
_OPTIONAL_KEYS = {"conv1_a.weight", "conv1_flow.weight", "conv1.weight", "fc.weight", "fc.bias"}


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
        return read_weights(Path(init).expanduser())

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
    return read_weights(path)


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

    # What has another shape or type is then missing, which is an error below.
    fitting = {
        key: value
        for key, value in weights.items()
        if key in own and own[key].shape == value.shape and has_weight_type(value, own[key])
    }

    # BatchNorm's counter changes no map. The encoder's own first convolution is always needed.
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - set(fitting) - (_OPTIONAL_KEYS - {stem_key}))
    if missing:
        raise DataError(
            f"init {source}: {len(missing)} of the encoder's weights are missing or have another "
            f"shape or type, first {missing[0]} {tuple(own[missing[0]].shape)}; expected {expected}"
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
