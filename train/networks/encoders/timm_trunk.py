"""Trunks of networks of timm, the package of PyTorch image models; it need not be installed."""

import torch
from torch import nn

from earshot.errors import ParameterError
from pipeline.base.parameters import suggest

PREFIX = "timm/"  # before the name of such a backbone
_SMALLEST_STRIDE = 8  # input pixels a cell of the map


class TimmTrunk(nn.Module):
    """A network of timm without pooling and head: (n, c, h, w) to (n, num_features, h', w').

    Args:
        network: Whose parameters keep their names, below ``network``.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    @staticmethod
    def own_name(key: str) -> str:
        """Return the name here of a parameter of timm's classifier."""
        return f"network.{key}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature map."""
        return self.network.forward_features(x)


def make_timm_trunk(backbone: str, *, in_channels: int) -> tuple[TimmTrunk, str]:
    """Make a trunk with random weights.

    Args:
        backbone: ``timm/`` and a name that timm knows.
        in_channels: Of the input.

    Returns:
        The trunk, and the name of its first convolution.

    Raises:
        ParameterError: timm is not installed, has no such network, or the network needs pictures of
            one size.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise ParameterError(
            f"backbone {backbone!r} needs the package timm, which is not installed; install it "
            "with `pip install '.[timm]'`"
        ) from None

    name = backbone.removeprefix(PREFIX)
    if not timm.is_model(name):
        hint = suggest(name, timm.list_models())
        raise ParameterError(f"unknown backbone {backbone!r}{hint}; expected a network of timm")

    # Without classes and pooling the network returns its feature map.
    network = timm.create_model(
        name, pretrained=False, in_chans=in_channels, num_classes=0, global_pool=""
    )

    trunk = TimmTrunk(network)
    if not _gives_small_map(trunk, in_channels):
        raise ParameterError(
            f"backbone {backbone!r} gives no small map of pictures of any size; use a network "
            f"of convolutions, such as {PREFIX}convnextv2_atto"
        )
    convolutions = (key for key, part in network.named_modules() if isinstance(part, nn.Conv2d))
    return trunk, f"network.{next(convolutions)}"


def _gives_small_map(trunk: TimmTrunk, in_channels: int) -> bool:
    """Return whether a trunk takes pictures of any size, and gives channels before places."""
    # Spectrograms are not square, and their sides are no multiple of anything.
    height, width = 65, 96
    try:
        with torch.no_grad():
            features = trunk.eval()(torch.zeros(1, in_channels, height, width))
    except (AssertionError, RuntimeError):
        # Transformers assert the size that they were made for. Others fail where shapes do not
        # meet.
        return False
    finally:
        trunk.train()

    num_cells = features.shape[2:].numel()
    return features.ndim == 4 and num_cells <= height * width // _SMALLEST_STRIDE**2
