"""Join the arrays of several samples into one batch.

A batch maps the name of a feature to

- a list of ``ShapeGroup`` for images (frames, flow): their shapes differ between samples,
- one tensor, samples first, for sounds (spectrograms, waveforms): they all have the same shape.

With flow it has ``native_height`` (n,); when training it has ``crop`` (n, 3), see ``random_crops``,
where a network reads two views of each frame ``second_crop`` (n, 3),
what else a loss needs of samples (``VALUES``), and ``neighbours``, a batch of the same length.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from earshot.errors import DataError

Batch: TypeAlias = dict[str, Any]

VALUES = ("labels",)  # further tensors of a batch, which go to the network as they are
_IMAGE_NDIM = 3  # frames are (h, w, 3), flow (2, h, w); spectrograms are (bins, times)


class ShapeGroup(NamedTuple):
    """The samples of a batch whose arrays have one shape (and whose frames have one size)."""

    places: torch.Tensor  # (k,) where in the batch these samples are
    arrays: torch.Tensor  # (k, ...)
    # (height, width) of the stored frames of these samples, which decides their working size. None:
    # that of ``arrays``. Flow has it, because its own stored size is rounded in another way.
    frame_size: tuple[int, int] | None = None


def collate(
    arrays: Mapping[str, Sequence[np.ndarray]],
    *,
    ids: Sequence[str],
    native_heights: Sequence[float] | None = None,
) -> Batch:
    """Join arrays, one for each sample, into a batch without crops.

    Args:
        arrays: feature -> the arrays of the samples, as they are stored.
        ids: of the samples, for messages.
        native_heights: height in pixels of the frames that flow was computed from. Needed with
            flow.

    Returns:
        feature -> groups of equal shape for images, one tensor for sounds; see the module's
        docstring.

    Raises:
        DataError: sounds differ in shape, or flow has an unexpected shape.
    """
    batch: Batch = {}
    for feature, values in arrays.items():
        if feature == "flow":
            _check_flow(values, ids)
            batch["native_height"] = torch.tensor(native_heights, dtype=torch.float32)

        is_image = len(values) > 0 and values[0].ndim == _IMAGE_NDIM
        if is_image:
            # Flow is cropped as its frame is, so samples of a group must agree in the frame's size,
            # too.
            frames = arrays.get("frames") if feature == "flow" else None
            batch[feature] = _group_by_shape(values, frames)
        else:
            batch[feature] = _stack(feature, values, ids)
    return batch


def _group_by_shape(
    arrays: Sequence[np.ndarray], frames: Sequence[np.ndarray] | None
) -> list[ShapeGroup]:
    """Group images by their shape and, where ``frames`` are given, by the size of those."""
    places: dict[tuple, list[int]] = {}
    for place, array in enumerate(arrays):
        frame_size = None if frames is None else frames[place].shape[:2]
        places.setdefault((array.shape, frame_size), []).append(place)

    groups = []
    for (_, frame_size), members in places.items():
        stacked = np.stack([arrays[place] for place in members])
        groups.append(ShapeGroup(torch.tensor(members), torch.from_numpy(stacked), frame_size))
    return groups


def _stack(feature: str, arrays: Sequence[np.ndarray], ids: Sequence[str]) -> torch.Tensor:
    for sample_id, array in zip(ids, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{feature}: {sample_id} has shape {array.shape}, {ids[0]} has {arrays[0].shape}; "
                "one set of parameters gives one shape"
            )
    return torch.from_numpy(np.stack(arrays))


def _check_flow(arrays: Sequence[np.ndarray], ids: Sequence[str]) -> None:
    for sample_id, array in zip(ids, arrays, strict=True):
        if array.ndim != 3 or array.shape[0] not in (1, 2):
            raise DataError(
                f"flow: {sample_id} has shape {array.shape}, expected (2, h, w) or (1, h, w)"
            )
