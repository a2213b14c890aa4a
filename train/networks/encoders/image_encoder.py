"""Convolutional encoders: image-like tensor in, feature map out, on torchvision's ResNet.

One class makes three kinds of networks: the ResNet-18 of the papers (``width`` 64), a narrow one
for CPUs (``width`` 16, say), and the layouts of published checkpoints. These layouts hold first
convolutions and heads that nothing reads (``unused_stems``, ``has_head``). As an experiment,
``backbone`` may name any other convolutional classifier of torchvision, or of timm.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from earshot.errors import ParameterError
from train.networks.encoders import timm_trunk

# name -> torchvision's block, number of blocks a stage, keyword arguments of the variant
_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, ...], dict[str, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), {}),
    "resnet34": (BasicBlock, (3, 4, 6, 3), {}),
    "resnet50": (Bottleneck, (3, 4, 6, 3), {}),
    "resnet101": (Bottleneck, (3, 4, 23, 3), {}),
    "resnet152": (Bottleneck, (3, 8, 36, 3), {}),
    "resnext50_32x4d": (Bottleneck, (3, 4, 6, 3), {"groups": 32, "width_per_group": 4}),
    "wide_resnet50_2": (Bottleneck, (3, 4, 6, 3), {"width_per_group": 128}),
}
# channels of VGG-16's convolutions; M is a pooling
_VGG16: list[str | int] = [
    64,
    64,
    "M",
    128,
    128,
    "M",
    *[256] * 3,
    "M",
    *[512] * 3,
    "M",
    *[512] * 3,
    "M",
]
_NUM_VGG_LAYERS = 29  # up to the last convolution
FULL_WIDTH = 64  # channels of the first stage of a published ResNet
MAP_STRIDES = (8, 16, 32)


class ResNetEncoder(ResNet):
    """A torchvision ResNet without pooling and head.

    Turns (n, in_channels, h, w) into (n, num_features, h', w').

    Args:
        backbone: a name of ``_RESNETS``.
        in_channels: of the input.
        width: channels of the first stage, 64 as published; the stages have 1, 2, 4, 8 times that.
        map_stride: input pixels a cell of the feature map. 32 is a plain ResNet (7x7 at 224); 16
            takes the stride from layer4 (14x14), 8 from layer3, too.
        stem: the name of the first convolution.
        unused_stems: further first convolutions of a published layout, name -> input channels. They
            are part of the state dict; the forward pass ignores them.
        has_head: whether the layout has torchvision's head ``fc``, also unused.
    """

    rgb_stem = "conv1"  # torchvision's name of the first convolution

    def __init__(
        self,
        backbone: str = "resnet18",
        *,
        in_channels: int = 3,
        width: int = FULL_WIDTH,
        map_stride: int = 32,
        stem: str = "conv1",
        unused_stems: Mapping[str, int] | None = None,
        has_head: bool = False,
    ):
        block, num_blocks, options = _RESNETS[backbone]
        # Set first: torchvision's constructor calls `_make_layer`, which reads it.
        self._width = width
        super().__init__(block, list(num_blocks), **options)

        # Replace the first convolution by those of the layout; only `stem` is trained.
        self.stem = stem
        del self.conv1
        stems = {**(unused_stems or {}), stem: in_channels}
        for name, channels in stems.items():
            convolution = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(name, convolution.requires_grad_(name == stem))
        self.bn1 = nn.BatchNorm2d(width)

        # Replace or remove the head; a feature map needs no pooling.
        self.num_features = 8 * width * block.expansion
        if has_head:
            self.fc = nn.Linear(self.num_features, 1000).requires_grad_(False)
        else:
            del self.fc
        del self.avgpool

        if map_stride <= 16:
            _remove_stride(self.layer4)
        if map_stride <= 8:
            _remove_stride(self.layer3)

    def _make_layer(
        self,
        block: type,
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        # torchvision's constructor knows 64 channels only. Narrower or wider stages are made here.
        if planes == FULL_WIDTH:
            self.inplanes = self._width
        planes = planes * self._width // FULL_WIDTH
        return super()._make_layer(block, planes, blocks, stride, dilate)

    @staticmethod
    def own_name(key: str) -> str:
        """Return the name here of a parameter of torchvision's classifier: the same."""
        return key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map of the last stage."""
        x = self.maxpool(self.relu(self.bn1(getattr(self, self.stem)(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class FeatureEncoder(nn.Module):
    """A convolutional classifier without its head (``convnext_tiny``, ``timm/resnet10t``, ...).

    Turns (n, in_channels, h, w) into (n, num_features, h', w').
    """

    def __init__(self, backbone: str, *, in_channels: int):
        super().__init__()
        self._own_names: dict[str, str] = {}
        self.trunk, stem = self._make_trunk(backbone, in_channels)
        self.stem = self.rgb_stem = f"trunk.{stem}"
        self.is_channels_last = backbone.startswith("swin")

        # The number of features is in no attribute; a small input tells it.
        with torch.no_grad():
            example = torch.zeros(1, in_channels, 64, 64)
            # Not `self(example)`, which in a subclass reads waveforms. Evaluation changes no
            # statistics.
            self.num_features = FeatureEncoder.forward(self.eval(), example).shape[1]
        self.train()

    def _make_trunk(self, backbone: str, in_channels: int) -> tuple[nn.Module, str]:
        """Return the trunk and the name of its first convolution."""
        if backbone.startswith(timm_trunk.PREFIX):
            return timm_trunk.make_timm_trunk(backbone, in_channels=in_channels)

        # torchvision's classifiers keep their convolutions under different names.
        network = torchvision.models.get_model(backbone, weights=None)
        if hasattr(network, "features"):
            trunk, self._own_names = network.features, {"features": "trunk"}
        elif hasattr(network, "trunk_output"):  # RegNet
            trunk = nn.Sequential(network.stem, network.trunk_output)
            self._own_names = {"stem": "trunk.0", "trunk_output": "trunk.1"}
        else:
            raise ParameterError(
                f"backbone {backbone!r} has no trunk of convolutions that is known here; use a "
                "ResNet, ConvNeXt, EfficientNet, RegNet, Swin, ..."
            )
        return _with_input_channels(trunk, in_channels)

    def own_name(self, key: str) -> str:
        """Return the name here of a parameter of torchvision's or timm's classifier."""
        if isinstance(self.trunk, timm_trunk.TimmTrunk):
            return f"trunk.{self.trunk.own_name(key)}"
        first, _, rest = key.partition(".")
        return f"{self._own_names.get(first, first)}.{rest}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map of the trunk's last stage."""
        features = self.trunk(x)
        return features.permute(0, 3, 1, 2) if self.is_channels_last else features


class VggEncoder(nn.Module):
    """VGG-16 up to its last convolution, without the ReLU behind it.

    Turns (n, 3, h, w) into (n, num_features, h / 16, w / 16).

    Args:
        width: channels of the first convolution, 64 as published.
        trunk: the name of its layers in a published layout.
    """

    def __init__(self, *, width: int = FULL_WIDTH, trunk: str = "feature_extraction"):
        super().__init__()
        self._trunk = trunk
        self.stem = self.rgb_stem = f"{trunk}.0"

        channels = [
            size if isinstance(size, str) else size * width // FULL_WIDTH for size in _VGG16
        ]
        layers = torchvision.models.vgg.make_layers(channels)[:_NUM_VGG_LAYERS]
        self.add_module(trunk, layers)
        # The last entry is a pooling, and the one before it the last convolution.
        self.num_features = int(channels[-2])

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def own_name(self, key: str) -> str:
        """Return the name here of a parameter of torchvision's classifier."""
        return key.replace("features.", f"{self._trunk}.", 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map of the last convolution."""
        return self.get_submodule(self._trunk)(x)


def make_encoder(
    backbone: str, *, in_channels: int, width: int = FULL_WIDTH, map_stride: int = 32, **layout
) -> ResNetEncoder | FeatureEncoder:
    """Make an encoder with random weights.

    Args:
        backbone: a ResNet, another convolutional classifier of torchvision, or ``timm/NAME``.
        in_channels: of the input.
        width: as for ``ResNetEncoder``; other backbones have their own.
        map_stride: likewise.
        layout: further arguments of ``ResNetEncoder``.

    Returns:
        A network that turns (n, in_channels, h, w) into (n, num_features, h', w').

    Raises:
        ParameterError: torchvision has no such classifier, or it has no such width or stride.
    """
    if is_resnet(backbone):
        return ResNetEncoder(
            backbone, in_channels=in_channels, width=width, map_stride=map_stride, **layout
        )

    is_timm = backbone.startswith(timm_trunk.PREFIX)
    if not is_timm and backbone not in torchvision.models.list_models(module=torchvision.models):
        raise ParameterError(
            f"unknown backbone {backbone!r}; expected a torchvision classifier such as resnet18, "
            f"or {timm_trunk.PREFIX} and the name of a network of timm"
        )
    if width != FULL_WIDTH or map_stride != 32:
        raise ParameterError(
            f"width and map_stride are for ResNets; backbone {backbone!r} has its own"
        )
    return FeatureEncoder(backbone, in_channels=in_channels)


def is_resnet(backbone: str) -> bool:
    """Return whether ``ResNetEncoder`` can make this backbone."""
    return backbone in _RESNETS


def _remove_stride(layer: nn.Sequential) -> None:
    """Make a stage keep the resolution of its input; the shapes of its weights stay."""
    # Only the first block of a stage has strides; its shortcut has one, too.
    for module in layer[0].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _with_input_channels(trunk: nn.Module, in_channels: int) -> tuple[nn.Module, str]:
    """Give the first convolution ``in_channels`` inputs; return the trunk and its name."""
    # Modules come in the order in which a picture passes them, so the first convolution is the
    # stem.
    for name, module in trunk.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue

        if module.in_channels != in_channels:
            parent_name, _, attribute = name.rpartition(".")
            replacement = nn.Conv2d(
                in_channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.padding,
                bias=module.bias is not None,
            )
            setattr(trunk.get_submodule(parent_name), attribute, replacement)
        return trunk, name
    raise ParameterError("the backbone has no convolution to give another number of input channels")


def make_twin_encoders(
    backbone: str,
    *,
    width: int,
    map_stride: int,
    audio_width: int = 0,
    further_stems: Mapping[str, int] | None = None,
) -> tuple[ResNetEncoder | FeatureEncoder, ResNetEncoder | FeatureEncoder]:
    """Make the encoders of frames and of sound in the layout of LVS and of earlier methods.

    Each holds the first convolutions of both, ``conv1`` and ``conv1_a``, and a head. It uses its
    own convolution, and nothing reads the head.

    Args:
        backbone: of both.
        width: channels of the first stage.
        map_stride: input pixels a cell of the feature map.
        audio_width: the width of the encoder of sound (0: the same).
        further_stems: name -> channels of further convolutions that nothing uses.
    """
    options: dict[str, Any] = {
        "unused_stems": {"conv1_a": 1, "conv1": 3, **(further_stems or {})},
        "has_head": True,
        "map_stride": map_stride,
    }
    return (
        make_encoder(backbone, in_channels=3, stem="conv1", width=width, **options),
        make_encoder(
            backbone, in_channels=1, stem="conv1_a", width=audio_width or width, **options
        ),
    )


def draw_projection(
    layer: nn.Conv2d | nn.Linear, *, how: Literal["published", "kaiming"] = "published"
) -> None:
    """Draw the first weights of a projection.

    Args:
        layer: its weights are drawn anew.
        how: ``published``: as EZ-VSL, SLAVC and FNAC do, with a small linear layer and PyTorch's
            biases. In a narrow network, or after a mean over time, these biases are larger than
            what the layer makes of the sound, so that all sounds begin alike; some seeds then
            learn little. ``kaiming``: alike for both kinds of layer, with biases of 0.
    """
    if isinstance(layer, nn.Linear) and how == "published":
        nn.init.trunc_normal_(layer.weight, mean=0.0, std=0.01)
    else:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if how == "kaiming" and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def draw_norms(encoder: nn.Module) -> None:
    """Draw the factors of BatchNorm from a normal distribution around 1, deviation 0.02.

    LVS, EZ-VSL, HTF, SLAVC and FNAC begin so where no ImageNet weights are read.

    Args:
        encoder: an encoder with random weights.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, mean=1.0, std=0.02)
