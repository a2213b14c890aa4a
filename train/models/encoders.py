"""Convolutional encoders: image-like tensor in, feature map out; torchvision's ResNet is the base of all.

One class serves the narrow encoder for CPUs (``width`` 16, say), ``resnet18`` as published (``width`` 64) and the
layouts of published checkpoints, which carry first convolutions and heads that nothing reads (``unused_stems``,
``has_head``). Any other torchvision backbone that is convolutional can be asked for by name as an experiment.
"""

from collections.abc import Mapping

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from earshot.errors import ParameterError

# torchvision's block and number of blocks a stage; keyword arguments of the variants
_RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), {}),
    "resnet34": (BasicBlock, (3, 4, 6, 3), {}),
    "resnet50": (Bottleneck, (3, 4, 6, 3), {}),
    "resnet101": (Bottleneck, (3, 4, 23, 3), {}),
    "resnet152": (Bottleneck, (3, 8, 36, 3), {}),
    "resnext50_32x4d": (Bottleneck, (3, 4, 6, 3), {"groups": 32, "width_per_group": 4}),
    "wide_resnet50_2": (Bottleneck, (3, 4, 6, 3), {"width_per_group": 128}),
}
FULL_WIDTH = 64  # channels of a published ResNet's first stage
MAP_STRIDES = (8, 16, 32)


class ResNetEncoder(ResNet):
    """A torchvision ResNet without pooling and head: ``(n, in_channels, h, w)`` -> ``(n, num_features, h', w')``.

    ``width`` is the number of channels of the first stage (64 as published; stages have 1, 2, 4 and 8 times that).
    ``map_stride`` is input pixels a map cell: 32 as published by most (7x7 at 224), 16 where layer4 does not stride
    (14x14), 8 where layer3 does not either. ``stem`` names the first convolution; ``unused_stems`` (name -> number of
    input channels) and ``has_head`` (``fc``) add parameters that published checkpoints hold and the forward ignores.
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
        self._width = width
        super().__init__(block, list(num_blocks), **options)
        self.stem = stem
        del self.conv1
        stems = {**(unused_stems or {}), stem: in_channels}
        for name, channels in stems.items():
            convolution = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(name, convolution.requires_grad_(name == stem))
        self.bn1 = nn.BatchNorm2d(width)
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

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        # torchvision's constructor knows only 64 channels; narrower or wider stages are made here
        if planes == FULL_WIDTH:
            self.inplanes = self._width
        return super()._make_layer(
            block, planes * self._width // FULL_WIDTH, blocks, stride, dilate
        )

    @staticmethod
    def own_name(key: str) -> str:
        """The name here of a parameter of torchvision's classifier: the same."""
        return key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map of the last stage."""
        x = self.maxpool(self.relu(self.bn1(getattr(self, self.stem)(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class FeatureEncoder(nn.Module):
    """Any convolutional torchvision classifier without its head, as an experiment (``convnext_tiny``, ...)."""

    def __init__(self, backbone: str, *, in_channels: int):
        super().__init__()
        network = torchvision.models.get_model(backbone, weights=None)
        if hasattr(network, "features"):
            trunk, self._own_names = network.features, {"features": "trunk"}
        elif hasattr(network, "trunk_output"):  # RegNet
            trunk = nn.Sequential(network.stem, network.trunk_output)
            self._own_names = {"stem": "trunk.0", "trunk_output": "trunk.1"}
        else:
            raise ParameterError(
                f"backbone {backbone!r} has no trunk of convolutions that is known here; use a ResNet, ConvNeXt, "
                "EfficientNet, RegNet, Swin, ..."
            )
        self.trunk, stem = _with_input_channels(trunk, in_channels)
        self.stem = self.rgb_stem = f"trunk.{stem}"
        self.is_channels_last = "swin" in backbone
        with torch.no_grad():
            self.num_features = FeatureEncoder.forward(
                self.eval(), torch.zeros(1, in_channels, 64, 64)
            ).shape[1]
        self.train()

    def own_name(self, key: str) -> str:
        """The name here of a parameter of torchvision's classifier."""
        first, _, rest = key.partition(".")
        return f"{self._own_names.get(first, first)}.{rest}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map of the trunk's last stage."""
        features = self.trunk(x)
        return features.permute(0, 3, 1, 2) if self.is_channels_last else features


def make_encoder(
    backbone: str, *, in_channels: int, width: int = FULL_WIDTH, map_stride: int = 32, **layout
) -> ResNetEncoder | FeatureEncoder:
    """The encoder ``backbone``; ``layout`` are the further arguments of ``ResNetEncoder``."""
    if is_resnet(backbone):
        return ResNetEncoder(
            backbone, in_channels=in_channels, width=width, map_stride=map_stride, **layout
        )
    if backbone not in torchvision.models.list_models(module=torchvision.models):
        raise ParameterError(
            f"unknown backbone {backbone!r}; expected a torchvision classifier such as resnet18"
        )
    if width != FULL_WIDTH or map_stride != 32:
        raise ParameterError(
            f"width and map_stride are for ResNets; backbone {backbone!r} has its own"
        )
    return FeatureEncoder(backbone, in_channels=in_channels)


def is_resnet(backbone: str) -> bool:
    """Whether ``ResNetEncoder`` is for this backbone."""
    return backbone in _RESNETS


def _remove_stride(layer: nn.Sequential) -> None:
    """Let a stage keep its input's resolution; the shapes of its weights stay."""
    for module in layer[0].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _with_input_channels(trunk: nn.Module, in_channels: int) -> tuple[nn.Module, str]:
    """Give the first convolution ``in_channels`` inputs; the trunk and that convolution's name."""
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Conv2d):
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
