"""Keep the samples of a whole data set in memory, as a few stacked tensors."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch

from train.data.collate import Batch, ShapeGroup


class _Images(NamedTuple):
    """All arrays of one image feature: a stack for each kind of ``ShapeGroup``.

    It also says where each sample is in them.
    """

    stack_of: np.ndarray  # (n,) number of the sample's stack
    row_of: np.ndarray  # (n,) its row there
    stacks: list[torch.Tensor]
    frame_sizes: list[tuple[int, int] | None]  # of each stack, see ``ShapeGroup``


class SamplesInMemory:
    """All samples of a source on one device; gives the same batches as reading them from shards.

    Args:
        parts: batches (without crops) that together hold all samples in their order.
        device: where the arrays are kept.
    """

    def __init__(self, parts: Sequence[Batch], device: torch.device):
        self._device = device
        self._tensors: dict[str, torch.Tensor] = {}
        self._images: dict[str, _Images] = {}
        for name, value in parts[0].items():
            values = [part[name] for part in parts]
            if isinstance(value, torch.Tensor):
                self._tensors[name] = torch.cat(values).to(device)
            else:
                self._images[name] = _stack_images(values, device)

    def read(self, positions: np.ndarray, names: Collection[str] | None = None) -> Batch:
        """Return some samples as one batch.

        Args:
            positions: int (k,), places in the source that was loaded.
            names: of the batch's features; None: all.
        """
        index = self._move_index(positions)
        batch: Batch = {
            name: values[index]
            for name, values in self._tensors.items()
            if names is None or name in names
        }

        for name, images in self._images.items():
            if names is not None and name not in names:
                continue

            # A stack has one shape: what is chosen from one stack is one group of the batch.
            stack_of = images.stack_of[positions]
            groups = []
            for number in np.unique(stack_of):
                places = np.flatnonzero(stack_of == number)
                rows = self._move_index(images.row_of[positions[places]])
                arrays = images.stacks[number][rows]
                frame_size = images.frame_sizes[number]
                groups.append(ShapeGroup(self._move_index(places), arrays, frame_size))
            batch[name] = groups
        return batch

    def _move_index(self, index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(index).to(self._device, non_blocking=True)


def _stack_images(parts: Sequence[Sequence[ShapeGroup]], device: torch.device) -> _Images:
    """Collect arrays of equal shape, whichever part they come from."""
    stacks: dict[tuple, list[torch.Tensor]] = {}  # by shape and size of the frames
    stack_of, row_of = [], []
    for groups in parts:
        size = sum(len(group.places) for group in groups)
        part_stacks, part_rows = np.zeros(size, np.int64), np.zeros(size, np.int64)

        for group in groups:
            key = (tuple(group.arrays.shape[1:]), group.frame_size)
            stack = stacks.setdefault(key, [])
            # Its rows follow those of the parts before.
            first_row = sum(len(arrays) for arrays in stack)
            stack.append(group.arrays)

            places = group.places.numpy()
            # Dicts keep their order: the place of the key is the number of its stack.
            part_stacks[places] = list(stacks).index(key)
            part_rows[places] = first_row + np.arange(len(places))

        stack_of.append(part_stacks)
        row_of.append(part_rows)

    tensors = [torch.cat(stack).to(device) for stack in stacks.values()]
    frame_sizes = [frame_size for _, frame_size in stacks]
    return _Images(np.concatenate(stack_of), np.concatenate(row_of), tensors, frame_sizes)
