"""Find boxes in another unit than shares of the frame: pixels, or pixels of a larger copy."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError

# Annotators draw a little beyond the frame; a video of half the size doubles every number.
_MARGIN = 0.02
# A box that is smaller marks nothing: evaluations use a grid of 224x224 pixels.
_SMALLEST_SIDE = 1 / 224
_NUM_EXAMPLES = 3


def check_boxes(samples: pa.Table, *, name: str) -> str:
    """Refuse boxes that are no shares of the frame, and count those that can never be found.

    Args:
        samples: table SAMPLES.
        name: of the dataset or file, for messages.

    Returns:
        A sentence about boxes that leave the frame or have no area; empty if there are none.

    Raises:
        DataError: that holds for more than half of the boxes.
    """
    has_boxes = pc.greater(pc.list_value_length(samples["boxes"]), 0)
    rows = samples.select(["sample_id", "boxes"]).filter(has_boxes).to_pydict()

    owners = [
        sample_id for sample_id, boxes in zip(*rows.values(), strict=True) for _ in boxes or ()
    ]
    boxes = np.array([box for boxes in rows["boxes"] for box in boxes or ()], np.float64)
    # Without any box the array has no second axis.
    boxes = boxes.reshape(-1, 4)

    is_outside = (boxes.min(axis=1) < -_MARGIN) | (boxes.max(axis=1) > 1 + _MARGIN)
    # A box counts once, also if it is outside and empty.
    is_empty = ((boxes[:, 2:] - boxes[:, :2]) < _SMALLEST_SIDE).any(axis=1) & ~is_outside
    num_outside, num_empty = int(is_outside.sum()), int(is_empty.sum())
    if num_outside + num_empty == 0:
        return ""

    counts = f"{num_outside} of {len(boxes)} boxes leave the frame and {num_empty} have no area"
    examples = ", ".join(
        f"{owners[place]} {np.round(boxes[place], 3).tolist()}"
        for place in np.flatnonzero(is_outside | is_empty)[:_NUM_EXAMPLES]
    )

    # Published lists have single boxes like these. If most are, they are in another unit.
    if 2 * (num_outside + num_empty) > len(boxes):
        raise DataError(
            f"{name}: {counts}, for example {examples}; expected x1 y1 x2 y2 as shares of the "
            "frame's width and height, 0 to 1. Are they in pixels, or drawn on videos of another "
            "size than these?"
        )
    return f"{name}: {counts}, for example {examples}"
