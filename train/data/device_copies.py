"""Batches to a device: as they are, or copied ahead while a GPU works."""

from collections.abc import Iterator

import torch


def move_to(value, device: torch.device):
    """A batch's tensors on ``device``."""
    if isinstance(value, torch.Tensor):
        # towards the host, a copy that is not waited for may be read before it is there
        return value.to(device, non_blocking=device.type == "cuda")
    if isinstance(value, dict):
        return {name: move_to(item, device) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(move_to(item, device) for item in value))
    return [move_to(item, device) for item in value]


def copy_ahead(batches: Iterator[dict], device: torch.device) -> Iterator[dict]:
    """Batches on a GPU, the next one copied on a stream of its own while the network works on the current one."""
    stream = torch.cuda.Stream(device)
    waiting = None
    for batch in batches:
        with torch.cuda.stream(stream):
            moved = move_to(batch, device)
            is_copied = stream.record_event()
        if waiting is not None:
            yield _take(*waiting)
        waiting = (moved, is_copied)
    if waiting is not None:
        yield _take(*waiting)


def _take(batch, is_copied):
    """Let the current stream wait for a copy, and the allocator know who uses its memory."""
    stream = torch.cuda.current_stream(is_copied.device)
    stream.wait_event(is_copied)
    _record_use(batch, stream)
    return batch


def _record_use(value, stream) -> None:
    if isinstance(value, torch.Tensor):
        value.record_stream(stream)
        return
    for item in value.values() if isinstance(value, dict) else value:
        _record_use(item, stream)
