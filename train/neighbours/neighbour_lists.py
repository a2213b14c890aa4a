"""The lists of nearest clips of a training split: made once, and kept by their key."""

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from earshot.errors import ParameterError
from earshot.files import publish
from pipeline.base.locks import hold_lock
from pipeline.base.progress import Progress
from train.neighbours.clip_encoders import ClipEncoder, encode_clips, open_encoder
from train.neighbours.search import find_nearest
from train.runs.run_key import describe_arrays

_VERSION = 1  # of what this room computes
_NUM_KEY_DIGITS = 16  # in the name of a file


@dataclass(frozen=True, kw_only=True)
class NeighbourParameters:
    """How the neighbours of clips are found."""

    frame_encoder: str  # imagenet, or the folder of a run
    sound_encoder: str  # the folder of a run
    num_neighbours: int  # of each clip by frame, and as many by sound


@dataclass(frozen=True)
class Neighbours:
    """The nearest clips of each clip of a split, as positions in it, nearest first."""

    frames: np.ndarray  # int32 (n, k), by frame
    sounds: np.ndarray  # int32 (n, k), by sound


def obtain_neighbours(
    parameters: NeighbourParameters,
    sample_ids: list[str],
    features_dirs: Mapping[str, Path],
    folder: Path,
    *,
    weights_dir: Path | None,
    device: torch.device,
    is_quiet: bool = False,
) -> Neighbours:
    """Bring back the neighbours of a split, or find them.

    Processes that need the same lists at the same time make them once: the others wait.

    Args:
        parameters: the encoders, and how many neighbours.
        sample_ids: the split. Neighbours are sought in it alone.
        features_dirs: feature -> its folder.
        folder: where lists are kept.
        weights_dir: folder for fetched weights; None: torch's own.
        device: where to compute.
        is_quiet: print only the last line of progress.

    Returns:
        The nearest samples of each sample, as positions in ``sample_ids``.

    Raises:
        ParameterError: the split has too few samples.
        DataError: an encoder cannot be opened, or a feature that it reads is not cached.
    """
    if parameters.num_neighbours >= len(sample_ids):
        raise ParameterError(
            f"num_neighbours ({parameters.num_neighbours}) must be < the number of training "
            f"samples ({len(sample_ids)})"
        )

    encoders = (
        open_encoder(parameters.frame_encoder, "frames", weights_dir=weights_dir),
        open_encoder(parameters.sound_encoder, "sounds", weights_dir=weights_dir),
    )
    key = _compute_key(encoders, parameters.num_neighbours, sample_ids, features_dirs)
    path = folder / f"{key[:_NUM_KEY_DIGITS]}.npz"
    with hold_lock(folder / f"lock-{path.stem}", on_wait=functools.partial(_report_waiting, path)):
        # Asked under the lock: who had to wait finds the lists that the other process made.
        if not path.is_file():
            found = [
                _find(
                    encoder,
                    side,
                    parameters.num_neighbours,
                    sample_ids,
                    features_dirs,
                    device=device,
                    is_quiet=is_quiet,
                )
                for encoder, side in zip(encoders, ("frames", "sounds"), strict=True)
            ]
            with publish(path) as temporary_path, open(temporary_path, "wb") as file:
                np.savez(file, frames=found[0], sounds=found[1])

    with np.load(path, allow_pickle=False) as content:
        return Neighbours(content["frames"], content["sounds"])


def _find(
    encoder: ClipEncoder,
    side: str,
    num_neighbours: int,
    sample_ids: list[str],
    features_dirs: Mapping[str, Path],
    *,
    device: torch.device,
    is_quiet: bool,
) -> np.ndarray:
    """Return the neighbours by one encoder, int32 (n, num_neighbours)."""
    make_progress = functools.partial(Progress, len(sample_ids), unit="sample", is_quiet=is_quiet)
    with make_progress(f"{side} of {encoder.name}") as progress:
        vectors = encode_clips(encoder, sample_ids, features_dirs, device=device, progress=progress)
    with make_progress(f"neighbours by {side}") as progress:
        return find_nearest(vectors, num_neighbours, progress=progress).numpy()


def _compute_key(
    encoders: tuple[ClipEncoder, ...],
    num_neighbours: int,
    sample_ids: list[str],
    features_dirs: Mapping[str, Path],
) -> str:
    # Features that no encoder reads may change without new lists.
    read = {name for encoder in encoders for name in encoder.reads}
    dirs = {name: folder for name, folder in features_dirs.items() if name in read}
    content = [
        _VERSION,
        [encoder.key for encoder in encoders],
        num_neighbours,
        sample_ids,
        describe_arrays(dirs, {"train": sample_ids}),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _report_waiting(path: Path) -> None:
    print(f"{path.name}: waits for the process that finds the same neighbours", file=sys.stderr)
