"""Pseudo-labels that need no other weights: the clusters of a trained run's features.

The vectors of a clip's frame and sound are joined, and all clips are clustered by k-means. Each
centre then has a part of frames and one of sounds, so that a cluster of frames matches one of
sounds. A frame has the label of the nearest part of frames, a sound that of the nearest of sounds.

Clusters have no names but their numbers. Another machine may round vectors otherwise, and then find
or number them otherwise. So labels that were made once can be taken over (``copies``).
"""

import functools
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2, vq

from earshot.errors import DataError, ParameterError
from earshot.files import publish
from pipeline.base.locks import hold_lock
from pipeline.base.progress import Progress
from train.data.feature_readers import choose_usable, open_readers
from train.neighbours.clip_encoders import ClipEncoder, Side, encode_clips, open_encoder
from train.networks.sound_categories import CATEGORIES
from train.runs.run_key import describe_arrays

_VERSION = 1  # of what this module computes
_NUM_CLUSTERS = len(CATEGORIES)  # as many as the heads of CoarseToFine
_NUM_STARTS = 10  # of k-means; the tightest clusters are taken
_SIDES: tuple[Side, Side] = ("frames", "sounds")


def obtain_labels(
    path: Path,
    run_dir: str,
    train_ids: Sequence[str],
    other_ids: Sequence[str],
    features_dirs: Mapping[str, Path],
    *,
    copies: Iterable[Path] = (),
    weights_dir: Path | None,
    device: torch.device,
) -> None:
    """Write labels as ``read_category_labels`` reads them, unless the file has the present ones.

    Args:
        path: of the file, an ``.npz``.
        run_dir: folder of the run whose features are clustered.
        train_ids: samples that are clustered.
        other_ids: samples that only get labels, such as those that select.
        features_dirs: features that the run reads -> their folders.
        copies: files that other runs may have kept. One with the present labels is taken.
        weights_dir: folder for fetched weights; None: torch's own.
        device: where to compute.

    Raises:
        ParameterError: there are too few samples.
        DataError: the run cannot be opened, a feature that it reads is not cached, or ``path`` is a
            file of the user's own.
    """
    encoders = {side: open_encoder(run_dir, side, weights_dir=weights_dir) for side in _SIDES}
    # A sample that the run cannot read gets no label; who reads the file names it.
    readers = open_readers(features_dirs, encoders["sounds"].reads)
    train_ids, other_ids = (choose_usable(ids, readers)[0] for ids in (train_ids, other_ids))
    if len(train_ids) < _NUM_CLUSTERS:
        raise ParameterError(
            f"{len(train_ids)} training samples make no {_NUM_CLUSTERS} clusters of labels"
        )

    splits = {"train": train_ids, "others": other_ids}
    facts = [_VERSION, encoders["sounds"].key, splits, describe_arrays(features_dirs, splits)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    report = functools.partial(print, f"{path}: waits for its labels", file=sys.stderr)
    # Of several processes the first one makes the labels.
    with hold_lock(path.with_name(f"lock-{path.stem}"), on_wait=report):
        present_key = _read_key(path)
        if present_key == key:
            return
        if present_key is None and path.exists():
            raise DataError(
                f"labels {path}: not written by a training, so the clusters of {run_dir} do not "
                "replace it; name another path, or remove the file"
            )
        for copy in copies:
            if _read_key(copy) == key:
                copy_labels(copy, path)
                return

        sample_ids = [*train_ids, *other_ids]
        vectors = [
            _encode(encoders[side], side, sample_ids, features_dirs, device=device)
            for side in _SIDES
        ]
        pictures, sounds = label_by_clusters(*vectors, num_train=len(train_ids))
        with publish(path) as temporary_path, open(temporary_path, "wb") as file:
            np.savez(
                file,
                sample_ids=np.array(sample_ids),
                sound=sounds,
                picture=pictures,
                key=np.array(key),
            )


def _encode(
    encoder: ClipEncoder,
    side: Side,
    sample_ids: list[str],
    features_dirs: Mapping[str, Path],
    *,
    device: torch.device,
) -> np.ndarray:
    with Progress(len(sample_ids), f"{side} of {encoder.name}", unit="sample") as progress:
        vectors = encode_clips(encoder, sample_ids, features_dirs, device=device, progress=progress)
    return vectors.cpu().numpy().astype(np.float64)


def copy_labels(source: Path, path: Path) -> None:
    """Publish a copy of a file of labels."""
    with publish(path) as temporary_path:
        shutil.copyfile(source, temporary_path)


def label_by_clusters(
    frames: np.ndarray, sounds: np.ndarray, *, num_train: int, num_clusters: int = _NUM_CLUSTERS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of frames and of sounds, each (n, num_clusters), 1 in one column.

    Args:
        frames: vectors (n, c) of unit norm.
        sounds: those of the same clips.
        num_train: the first clips, which are clustered; the others only get labels.
        num_clusters: how many clusters.
    """
    joined = np.concatenate([frames, sounds], 1)
    centres = _find_centres(joined[:num_train], num_clusters)
    size = frames.shape[1]
    return (
        _choose_nearest(frames, centres[:, :size]),
        _choose_nearest(sounds, centres[:, size:]),
    )


def _find_centres(vectors: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return the centres of the tightest of several clusterings, the same in every process."""
    found = (kmeans2(vectors, num_clusters, minit="++", rng=seed) for seed in range(_NUM_STARTS))
    centres, _ = min(found, key=lambda one: np.square(vectors - one[0][one[1]]).sum())
    return centres


def _choose_nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.eye(len(centres), dtype=np.float32)[vq(vectors, centres)[0]]


def _read_key(path: Path) -> str | None:
    """Return from what a file of labels was made; None: there is none, or it is another file."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return str(content["key"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
