"""Copy batches to a device, on a GPU while it computes."""

from collections.abc import Iterator
from typing import Any

import torch

from train.data.collate import Batch


def move_to(value: Any, device: torch.device) -> Any:
    """Return ``value`` with all its tensors on ``device``.

    Args:
        value: a tensor, or any nesting of dicts, lists and named tuples of tensors (a batch). What
            is none of them, such as a size, stays as it is.
        device: where to copy. Copies to a GPU do not wait until they are finished.
    """
    if isinstance(value, torch.Tensor):
        # A copy to the CPU must wait: the CPU could read it before it has arrived.
        return value.to(device, non_blocking=device.type == "cuda")
    if isinstance(value, dict):
        return {name: move_to(item, device) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(move_to(item, device) for item in value))
    return [move_to(item, device) for item in value] if isinstance(value, list) else value


def copy_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on a GPU; the next one is copied while the network works on this one."""
    stream = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        # On a stream of its own, so that the copy runs beside the network.
        with torch.cuda.stream(stream):
            moved = move_to(batch, device)
            is_copied = stream.record_event()

        # Hand out the batch before this one, whose copy has had time to finish.
        if waiting is not None:
            yield _take(*waiting)
        waiting = (moved, is_copied)

    if waiting is not None:
        yield _take(*waiting)


def _take(batch: Batch, is_copied: torch.cuda.Event) -> Batch:
    """Make the current stream wait for the copy, and tell the allocator that it uses the memory."""
    stream = torch.cuda.current_stream(is_copied.device)
    stream.wait_event(is_copied)
    _record_use(batch, stream)
    return batch


def _record_use(value: Any, stream: torch.cuda.Stream) -> None:
    if isinstance(value, torch.Tensor):
        value.record_stream(stream)
        return
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _record_use(item, stream)
