"""Ground-truth maps on the 224x224 grid of all published evaluations, exact to the pixel.

A ground-truth map has values 0, 0.5 and 1. It is held as ``levels``, uint8 counts of halves (0, 1, 2), so that every
sum is exact. Sources, each as its authors' code does it (truncation towards zero, half-open boxes):

- ``union`` (VGG-SS, ``sample``): boxes clipped to 0..1, ``int(224 * v)``, value 1 in any box.
- ``consensus`` (Flickr-SoundNet): published integers on a 256 grid, ``int(224 * v / 256)``; the boxes' maps are summed,
  halved and clipped to 1, so that a pixel in two boxes counts fully and a pixel in one box half. The papers speak of
  annotators; all authors' code adds every box, and so does this module unless ``per_annotator`` is asked for.
- ``corner_size`` (Urbansas): ``int`` of each of x, y, width and height scaled to 224, value 1 in any box (FlowGrad).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earshot.errors import DataError

GRID = 224
NUM_PIXELS = GRID * GRID


@dataclass(frozen=True)
class GroundTruth:
    """Boxes of one sample in pixels of the grid, and how they add up.

    ``pixel_boxes`` ``(num_boxes, 4)`` int: x1 y1 x2 y2, half-open, within 0..224. ``is_consensus``: a pixel needs two
    of ``voters`` (one number a box; boxes of one voter count once) for the value 1.
    """

    pixel_boxes: np.ndarray
    is_consensus: bool = False
    voters: tuple[int, ...] | None = None

    def levels(self) -> np.ndarray:
        """The map in halves: uint8 ``(224, 224)`` of 0, 1 (only in a consensus) or 2."""
        levels = np.zeros((GRID, GRID), np.uint8)
        if not self.is_consensus:
            for x1, y1, x2, y2 in self.pixel_boxes:
                levels[y1:y2, x1:x2] = 2
            return levels
        if self.voters is None:
            for x1, y1, x2, y2 in self.pixel_boxes:
                levels[y1:y2, x1:x2] += 1
        else:
            for voter in sorted(set(self.voters)):
                voted = np.zeros((GRID, GRID), np.uint8)
                for (x1, y1, x2, y2), owner in zip(self.pixel_boxes, self.voters, strict=True):
                    if owner == voter:
                        voted[y1:y2, x1:x2] = 1
                levels += voted
        return np.minimum(levels, 2)


def make_ground_truth(
    boxes: Sequence[Sequence[float]],
    *,
    rule: str,
    annotators: Sequence[int] | None = None,
    frame_size: tuple[float, float] | None = None,
    per_annotator: bool = False,
) -> GroundTruth:
    """The ground truth of one sample from its normalized boxes (x1 y1 x2 y2, as in samples.parquet).

    ``frame_size`` (width, height in pixels of the annotated video) lets ``corner_size`` find the published decimals
    again: the width of a box is the difference of two rounded quotients, and ``int`` of it may otherwise fall on the
    wrong side of a whole pixel.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise DataError(
            f"boxes {boxes.tolist()} hold a value that is not a number, expected finite x1 y1 x2 y2"
        )
    if rule == "union":
        return GroundTruth((np.clip(boxes, 0, 1) * GRID).astype(np.int64))
    if rule == "consensus":
        voters = (
            tuple(int(a) for a in annotators) if per_annotator and annotators is not None else None
        )
        return GroundTruth(
            np.clip((boxes * GRID).astype(np.int64), 0, GRID), is_consensus=True, voters=voters
        )
    if rule == "corner_size":
        corners, sizes = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        if frame_size is not None:
            scale = np.asarray(frame_size, np.float64)
            corners, sizes = (np.round(values * scale, 6) / scale for values in (corners, sizes))
        first = (corners * GRID).astype(np.int64)
        last = first + (sizes * GRID).astype(np.int64)
        return GroundTruth(np.clip(np.concatenate([first, last], axis=1), 0, GRID))
    raise DataError(
        f"ground truth: unknown rule {rule!r}, expected union, consensus or corner_size"
    )


def ground_truths_of(
    samples, *, box_rule: str, per_annotator: bool = False
) -> dict[str, GroundTruth]:
    """Ground truth by sample id for the rows of a samples table (``pa.Table``) that have boxes.

    A row whose ``boxes`` are null or empty has no ground truth and is left out: ``local`` videos, negatives of the
    extended test sets.
    """
    columns = samples.select(["sample_id", "boxes", "box_annotators", "attributes"]).to_pydict()
    truths = {}
    for sample_id, boxes, annotators, attributes in zip(*columns.values(), strict=True):
        if not boxes:
            continue
        facts = dict(attributes or [])
        frame_size = (
            tuple(map(float, facts["annotated_size"].split("x")))
            if "annotated_size" in facts
            else None
        )
        try:
            truths[sample_id] = make_ground_truth(
                boxes,
                rule=box_rule,
                annotators=annotators,
                frame_size=frame_size,
                per_annotator=per_annotator,
            )
        except DataError as error:
            raise DataError(f"sample {sample_id}: {error}") from None
    return truths
