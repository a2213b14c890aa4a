"""Read cached features from any code, and use what the project makes of them.

Reading needs NumPy, h5py and pyarrow only. In reading order:

- ``open``: a dataset of the cache: its splits, labels, boxes and features
- ``cached_dataset``: ``CachedDataset``, ``Sample``: what ``open`` returns
- ``reader``: ``FeatureReader`` returns the arrays of a feature by sample id
- ``torch``: ``Samples``, ``ShardOrder``: a PyTorch dataset and an order that resumes (needs torch)
- ``order``: ``draw_epoch_order``: an order that reads few files at a time
- ``tables``: ``CLIPS``, ``SAMPLES``, ``DOWNLOADS``, ``INDEX``; ``read_table``, ``write_table``
- ``shard_format``: the layout of a shard; ``write_shard``, ``read_layout``, ``read_row``
- ``shard_names``: a shard's name tells which task wrote it, and whether it is whole
- ``files``: ``publish`` and its kin write a file completely or not at all
- ``cached_property``: ``cached_property``: a result that is computed once, without a lock
- ``errors``: ``EarshotError`` and its subclasses

``score`` and ``localize`` need the rest of the project (``upper_rooms``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from earshot.cached_dataset import CachedDataset


def open(root: Path | str, *, samples_path: Path | str | None = None) -> CachedDataset:
    """Open a dataset of the cache, for example ``cache/vggsound``.

    Raises:
        DataError: There is no such folder, or no table of samples.
    """
    from earshot.cached_dataset import CachedDataset

    return CachedDataset(root, samples_path=samples_path)


def score(
    maps: Mapping[str, np.ndarray],
    boxes: Mapping[str, Sequence[Sequence[float]]],
    *,
    protocol: str = "earshot",
    box_rule: str = "union",
) -> dict[str, Any]:
    """Score localization maps under a published protocol.

    Args:
        maps: Sample id -> map (h, w) of any size, larger = more likely.
        boxes: Sample id -> boxes x1 y1 x2 y2, as parts of the frame. Every sample with boxes
            counts; one without a map is counted as missing.
        protocol: One of those in docs/protocols.md.
        box_rule: How boxes become ground truth: ``union``, as in VGG-SS; ``consensus``, as in
            Flickr-SoundNet; ``corner_size``, as in FlowGrad's code for Urbansas.

    Returns:
        ``n``, ``missing``, the metrics, and the ends of their 95 % intervals (``auc_low``).

    Raises:
        DataError: A map is not finite, a box is no box, or another ``eval`` is in the way.
        ParameterError: There is no such protocol.
    """
    from earshot.upper_rooms import import_room

    score_arrays = import_room("eval.score_arrays").score_arrays
    return score_arrays(maps, boxes, protocol=protocol, box_rule=box_rule)


def localize(model: Path | str, video: Path | str, output: Path | str) -> tuple[Path, Path]:
    """Write a copy of a video with the model's map over it, and the maps.

    Args:
        model: The folder of a run, for example ``cache/runs/htf``.
        video: Any media file with picture and sound.
        output: Folder to write; created.

    Returns:
        The paths of the copy, ``NAME.localized.mp4``, and of the maps, ``NAME.maps.npz``.

    Raises:
        DataError: There is no model, or another ``train`` is in the way.
        MediaError: The video has no picture or no sound.
    """
    from earshot.upper_rooms import import_room

    return import_room("train.localize").localize(Path(model), Path(video), Path(output))
