"""First weights of the vision encoder: random, or an ImageNet classifier's, fetched once by hash or from a file."""

from pathlib import Path

import torch
import torchvision

from earshot.errors import DataError, ParameterError
from train.models.localizer import Localizer
from train.models.training_parameters import TrainingParameters
from train.networks.encoders import FULL_WIDTH, FeatureEncoder, ResNetEncoder, make_encoder
from train.networks.object_guidance import ObjectGuidance
from train.runs.run_folder import load_tensors
from train.weights.fetch import fetch_weights
from train.weights.published_checkpoints import find_state_dict

_ALTERNATIVES = "set init to random (with freeze_vision false), or to the path of a file with torchvision's weights"


def initialize_vision(
    model: Localizer, parameters: TrainingParameters, *, weights_dir: Path | None
) -> None:
    """Initialize the model's vision encoder as ``parameters.init`` says.

    An encoder with more channels than RGB (FlowGrad-IC) gets the mean of the RGB weights for the others; FlowGrad-EN's
    flow encoder, its only channel being that mean, is initialized as well; so is Hear The Flow's but for its first
    convolution, which stays random, as its authors have it.
    """
    if parameters.init == "random":
        return
    if parameters.width != FULL_WIDTH:
        raise ParameterError(
            f"init {parameters.init!r} needs the full width ({FULL_WIDTH}), found width {parameters.width}; "
            "narrow encoders have no published weights: set init to random"
        )
    weights = load_imagenet_weights(
        parameters.backbone, init=parameters.init, weights_dir=weights_dir
    )
    for name in (model.vision_name, *model.further_imagenet_encoders):
        load_backbone(getattr(model, name), weights, source=parameters.init)
    for name in model.imagenet_trunks:
        if hasattr(model, name):
            load_backbone(getattr(model, name), weights, source=parameters.init, has_stem=False)


def attach_object_guidance(
    model: Localizer, parameters: TrainingParameters, *, weights_dir: Path | None
) -> None:
    """Give EZ-VSL the frozen ImageNet ResNet-18 whose map it mixes in; nothing for models without guidance."""
    kind = getattr(parameters, "object_guidance", "none")
    if kind == "none":
        return
    classifier = make_encoder("resnet18", in_channels=3, has_head=True)
    source = parameters.object_guidance_weights
    load_backbone(
        classifier,
        load_imagenet_weights("resnet18", init=source, weights_dir=weights_dir),
        source=source,
    )
    model.attach_guidance(ObjectGuidance(classifier, kind=kind))


def load_imagenet_weights(
    backbone: str, *, init: str, weights_dir: Path | None
) -> dict[str, torch.Tensor]:
    """torchvision's state dict of ``backbone`` from a file (``init`` is its path) or its published place."""
    if init != "imagenet":
        return _read_weights(Path(init).expanduser())
    try:
        weights = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
    except (ValueError, AttributeError):
        raise ParameterError(
            f"torchvision has no ImageNet weights for backbone {backbone!r}; {_ALTERNATIVES}"
        ) from None
    name = weights.url.rsplit("/", 1)[1]
    folder = (
        Path(weights_dir) if weights_dir is not None else Path(torch.hub.get_dir()) / "checkpoints"
    )
    # torchvision puts the first hexadecimal digits of a file's SHA-256 into its name
    prefix = name.rsplit("-", 1)[1].split(".")[0]
    return _read_weights(
        fetch_weights(weights.url, folder / name, sha256=prefix, alternatives=_ALTERNATIVES)
    )


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
) -> None:
    """Copy a torchvision state dict into an encoder; what the encoder has beyond it stays as it is, and so does its
    first convolution where ``has_stem`` is false.
    """
    own, stem = encoder.state_dict(), encoder.stem
    weights = {encoder.own_name(key): value for key, value in weights.items()}
    if not hasattr(encoder, "fc"):
        weights = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    rgb = weights.get(f"{encoder.rgb_stem}.weight")
    if not has_stem:
        weights[f"{stem}.weight"] = own[f"{stem}.weight"]
    elif rgb is not None and rgb.shape[1:2] == (3,):
        weights[f"{stem}.weight"] = expand_channels(rgb, own[f"{stem}.weight"].shape[1])
    fitting = {
        key: value for key, value in weights.items() if key in own and own[key].shape == value.shape
    }
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    optional = {"conv1_a.weight", "conv1_flow.weight", "conv1.weight", "fc.weight", "fc.bias"} - {
        f"{stem}.weight"
    }
    missing = sorted(needed - set(fitting) - optional)
    if missing:
        raise DataError(
            f"init {source}: {len(missing)} of the encoder's weights are missing or of another shape, first "
            f"{missing[0]} {tuple(own[missing[0]].shape)}; expected torchvision's weights of the same backbone"
        )
    surplus = sorted(key for key in weights if key.startswith("layer") and key not in own)
    if surplus:  # a deeper backbone's weights fit a shallower one's names
        raise DataError(
            f"init {source}: holds {len(surplus)} weights that the encoder has not, first {surplus[0]}; expected "
            "torchvision's weights of the same backbone"
        )
    encoder.load_state_dict(fitting, strict=False)


def expand_channels(rgb: torch.Tensor, num_channels: int) -> torch.Tensor:
    """First-convolution weights (c, 3, k, k) for other inputs: RGB kept, the others their mean (FlowGrad)."""
    mean = rgb.mean(1, keepdim=True)
    if num_channels < 3:
        return mean.expand(-1, num_channels, -1, -1).clone()
    return torch.cat([rgb, mean.expand(-1, num_channels - 3, -1, -1)], 1)
