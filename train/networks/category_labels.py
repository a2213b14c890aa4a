"""Pseudo-labels of CoarseToFine: how much a sample belongs to each of seven categories."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from earshot.errors import DataError
from train.networks.sound_categories import CATEGORIES, group_imagenet_classes

_NUM_BEST = 10  # classes of a picture that count


def label_pictures(probabilities: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
    """Turn the probabilities of ImageNet's classes into labels of categories.

    Args:
        probabilities: (n, 1000).
        groups: (1000, 7), which class belongs to which category; None: ours.

    Returns:
        (n, 7). The ten best classes count; the most likely category has 1.
    """
    groups = group_imagenet_classes() if groups is None else groups
    smallest = probabilities.topk(_NUM_BEST, dim=1).values[:, -1:]
    best = torch.where(probabilities >= smallest, probabilities, 0)
    labels = best @ groups.to(best)
    # As published, the best category of a picture gets 1.
    return labels / labels.amax(1, keepdim=True)


def read_category_labels(path: str | Path, sample_ids: list[str]) -> np.ndarray:
    """Read labels of sounds and pictures from a file.

    Args:
        path: An ``.npz`` with ``sample_ids`` (n,), ``sound`` and ``picture`` (n, 7), values 0..1.
        sample_ids: The samples that are needed.

    Returns:
        float32 (len(sample_ids), 14): of sounds, then of pictures.

    Raises:
        DataError: The file cannot be read, or lacks a sample.
    """
    source = Path(path).expanduser()
    shape = f"sample_ids (n,), sound and picture (n, {len(CATEGORIES)}) with values 0..1"
    try:
        with np.load(source, allow_pickle=False) as content:
            ids, *parts = (content[name] for name in ("sample_ids", "sound", "picture"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"labels {source}: {error}; expected an .npz with {shape}") from None

    for part in parts:
        # NaN is in no range, so it is refused as well.
        is_in_range = np.issubdtype(part.dtype, np.number) and bool(
            ((part >= 0) & (part <= 1)).all()
        )
        if ids.ndim != 1 or part.shape != (len(ids), len(CATEGORIES)) or not is_in_range:
            raise DataError(f"labels {source}: found {part.dtype} {part.shape}, expected {shape}")

    row_of = {str(sample_id): row for row, sample_id in enumerate(ids)}
    # Of two rows of a sample, nobody can say which is right.
    if len(row_of) < len(ids):
        twice = next(name for row, name in enumerate(map(str, ids)) if row_of[name] != row)
        raise DataError(f"labels {source}: sample {twice} has two rows, expected one")
    missing = [sample_id for sample_id in sample_ids if sample_id not in row_of]
    if missing:
        raise DataError(
            f"labels {source}: lacks {len(missing)} of {len(sample_ids)} samples, first "
            f"{missing[0]}; expected labels of all samples that train or select"
        )
    rows = [row_of[sample_id] for sample_id in sample_ids]
    # (n, 14): sounds first, as the model takes them apart.
    return np.concatenate(parts, 1)[rows].astype(np.float32)
