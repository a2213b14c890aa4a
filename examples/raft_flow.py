"""Optical flow of RAFT instead of Farneback's: a variant of the feature ``flow``.

In params.yaml, with a file of torchvision's ``Raft_Small_Weights`` (docs/features.md):

    variants: [flow-raft]
    feature_variants:
      flow-raft: {code: examples.raft_flow, weights: weights/raft_small.pth, sha256: ...}
"""

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models.optical_flow import raft_small

from earshot.errors import DataError
from earshot.files import sha256_of
from pipeline.features.feature import CodeParameters, Feature
from pipeline.features.flow import Parameters as FlowParameters
from pipeline.features.flow import make_feature as make_flow

VERSION = 1  # raise it when the same parameters give other arrays
_SIDE_MULTIPLE, _SMALLEST_SIDE = 8, 128  # of the frames that RAFT reads


@dataclass(frozen=True, kw_only=True)
class Parameters(CodeParameters):
    """Of this variant. All of them are parts of the key of every array."""

    weights: str  # a file with the state dict
    sha256: str  # of this file
    num_updates: int = 12  # of the flow, as published
    device: str = "cpu"  # or cuda, whose sums differ in the last bits: a part of the key, too
    # Which frames are compared, and how flow is stored; Farneback's own parameters mean nothing.
    flow: FlowParameters = field(default_factory=FlowParameters)


def make_feature(parameters: Parameters) -> Feature:
    """Make the feature: Earshot chooses the frames and stores the flow, RAFT computes it."""
    compute_pair = functools.partial(compute_raft, parameters)
    feature = make_flow(parameters.flow, compute_pair=compute_pair)
    return dataclasses.replace(feature, version=VERSION, parameters=parameters)


def compute_raft(parameters: Parameters, previous: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Compute the flow of two frames uint8 (H, W, 3): float32 (H, W, 2), x and y in pixels."""
    network = load_network(parameters.weights, parameters.sha256, parameters.device)
    frames = torch.from_numpy(np.stack([previous, following])).to(parameters.device)
    frames = frames.permute(0, 3, 1, 2)
    height, width = frames.shape[2:]

    # RAFT reads values of -1 to 1, and sides that are multiples of 8.
    missing = [
        max(_SMALLEST_SIDE, -(-side // _SIDE_MULTIPLE) * _SIDE_MULTIPLE) - side
        for side in (width, height)
    ]
    padded = F.pad(frames / 127.5 - 1, (0, missing[0], 0, missing[1]), mode="replicate")
    with torch.inference_mode():
        *_, last = network(padded[:1], padded[1:], num_flow_updates=parameters.num_updates)
    return last[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()


@functools.cache
def load_network(weights: str, sha256: str, device: str) -> torch.nn.Module:
    """Load the network, once in each process."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DataError(f"device {device}: PyTorch finds no GPU here; expected cpu")
    path = Path(weights).expanduser()
    if not path.is_file() or sha256_of(path) != sha256:
        raise DataError(f"{path}: not there, or not the file with sha256 {sha256}")
    network = raft_small(weights=None)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval().to(device)
