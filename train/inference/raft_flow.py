"""Flow of RAFT instead of Farneback's: the variant ``flow-raft`` of the feature ``flow``.

RAFT (Teed and Deng 2020) is a network; torchvision has trained weights. Earshot chooses the frames
and stores the flow as for Farneback, in the same units.

This module imports PyTorch only where it computes: a machine that only prepares data has none, and
reads all of params.yaml.
"""

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from earshot.errors import ParameterError
from pipeline.features.feature import CodeParameters, Feature
from pipeline.features.flow import Parameters as FlowParameters
from pipeline.features.flow import make_feature as make_flow
from train.weights.fetch import fetch_weights

if TYPE_CHECKING:
    import torch

HAS_WEIGHTS = True  # `make_feature` takes the folder of fetched weights
VERSION = 2  # raise it when the same parameters give other arrays

# The last part of a file's name is the beginning of its SHA-256.
WEIGHTS_URLS = {
    name: f"https://download.pytorch.org/models/{name}-{digits}.pth"
    for name, digits in {
        "raft_small_C_T_V2": "01064c6d",
        "raft_large_C_T_SKHT_V2": "ff5fadd5",
    }.items()
}
_FARNEBACK = (
    *("pyramid_scale", "num_levels", "window_size", "num_iterations"),
    *("poly_n", "poly_sigma", "flags", "computed_short_side"),
)
_SIDE_MULTIPLE, _SMALLEST_SIDE = 8, 128  # of the frames that RAFT reads


@dataclass(frozen=True, kw_only=True)
class Parameters(CodeParameters):
    """Of this variant. All of them are parts of the key of every array."""

    # torchvision's weights, fetched once (4 or 21 MB). Their names tell what they were trained on.
    weights: Literal["raft_small_C_T_V2", "raft_large_C_T_SKHT_V2"] = "raft_small_C_T_V2"
    num_updates: int = 12  # of the flow, as published
    device: Literal["cpu", "cuda"] = "cpu"  # sums differ in the last bits
    # Which frames are compared, and how flow is stored; Farneback's own parameters mean nothing.
    flow: FlowParameters = field(default_factory=FlowParameters)

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"num_updates is {self.num_updates}, expected at least 1")

    def find_idle(self) -> dict[str, str]:
        """Return the settings that change nothing beside the others -> why."""
        own = dict.fromkeys(_FARNEBACK, "it is Farneback's, and RAFT computes the flow")
        return {f"flow.{name}": why for name, why in (self.flow.find_idle() | own).items()}


def make_feature(parameters: Parameters, *, weights_dir: Path | None = None) -> Feature:
    """Make the feature; arrays as ``pipeline.features.flow`` describes.

    Args:
        parameters: Of the network, and of the flow.
        weights_dir: The folder of fetched weights. None: only keys are wanted.

    Returns:
        The feature. The weights are fetched and loaded when it is prepared, in each process.
    """
    if weights_dir is None:
        compute_pair, prepare = None, None
    else:
        prepare = functools.partial(load_network, parameters, weights_dir.absolute())
        compute_pair = functools.partial(compute_raft, parameters, weights_dir.absolute())

    feature = make_flow(parameters.flow, compute_pair=compute_pair)
    return dataclasses.replace(
        feature,
        version=VERSION,
        parameters=parameters,
        compute=feature.compute if compute_pair else None,
        prepare=prepare,
        software=("torch", "torchvision"),
    )


def compute_raft(
    parameters: Parameters, weights_dir: Path, previous: np.ndarray, following: np.ndarray, /
) -> np.ndarray:
    """Compute the flow of two frames uint8 (H, W, 3): float32 (H, W, 2), x and y in pixels."""
    import torch
    import torch.nn.functional as F

    network = load_network(parameters, weights_dir)
    frames = torch.from_numpy(np.stack([previous, following])).to(parameters.device)
    frames = frames.permute(0, 3, 1, 2)
    height, width = frames.shape[2:]

    # RAFT reads values of -1 to 1, and sides that are multiples of 8.
    missing = [
        max(_SMALLEST_SIDE, -(-side // _SIDE_MULTIPLE) * _SIDE_MULTIPLE) - side
        for side in (width, height)
    ]
    padded = F.pad(frames / 127.5 - 1, (0, missing[0], 0, missing[1]), mode="replicate")

    # On a GPU the same frames give the same flow each time, in full precision.
    exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        *_, last = network(padded[:1], padded[1:], num_flow_updates=parameters.num_updates)
    return last[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()


@functools.lru_cache(maxsize=1)
def load_network(parameters: Parameters, weights_dir: Path) -> "torch.nn.Module":
    """Load the network, once in each process; fetch its weights if they are not there.

    Raises:
        ParameterError: There is no PyTorch, or no GPU for ``device: cuda``.
        DataError: The weights cannot be fetched, or the file is another one.
    """
    try:
        import torch
        from torchvision.models import optical_flow
    except ImportError as error:
        raise ParameterError(
            f"flow of RAFT needs PyTorch and torchvision, which are not here ({error}); "
            "`pip install '.[train]'`"
        ) from None
    if parameters.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is cuda, but PyTorch finds no GPU here; expected cpu")

    url = WEIGHTS_URLS[parameters.weights]
    path = weights_dir / url.rsplit("/", 1)[1]
    sha256 = path.stem.rsplit("-", 1)[1]
    fetch_weights(url, path, sha256=sha256, alternatives=f"or put the file there: {path}")

    # Without weights at first: torchvision would fetch its own.
    architecture = "_".join(parameters.weights.split("_")[:2])  # raft_small or raft_large
    network = getattr(optical_flow, architecture)(weights=None)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval().to(parameters.device)
