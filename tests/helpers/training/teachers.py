"""Small stand-ins for the frozen networks that some methods need."""

from pathlib import Path

import torch

from train.networks.encoders.soundnet import SoundNet


def write_soundnet(folder: Path) -> str:
    """Write random weights of SoundNet; return their path."""
    path = folder / "sound8.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(SoundNet().state_dict(), path)
    return str(path)
