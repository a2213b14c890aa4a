"""Make ground-truth maps on the grid of 224x224 pixels that all published evaluations use.

A ground-truth map has the values 0, 0.5 and 1. It is held as ``levels``: uint8 counts of halves
(0, 1, 2), so that every sum is exact. Each rule does what its authors' code does. All of them
truncate towards zero, and boxes are half open: ``[x1, x2)`` and ``[y1, y2)``.

- ``union`` (VGG-SS, ``sample``): boxes are clipped to 0..1 and become ``int(224 * v)``. The value
  is 1 in any box.
- ``consensus`` (Flickr-SoundNet): published integers on a 256 grid become ``int(224 * v / 256)``.
  The maps of the boxes are summed, halved and clipped to 1: a pixel in two boxes has the value 1,
  a pixel in one box 0.5. The papers speak of annotators, but all authors' code adds every box. So
  does this module, unless ``per_annotator`` is set.
- ``corner_size`` (Urbansas): x, y, width and height are scaled to 224 and each is truncated
  (FlowGrad). The value is 1 in any box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from pipeline.lists.masks import ATTRIBUTE, decode_mask

GRID = 224
NUM_PIXELS = GRID * GRID


@dataclass(frozen=True)
class GroundTruth:
    """The boxes of one sample in pixels of the grid, and how they add up."""

    pixel_boxes: np.ndarray  # int (num_boxes, 4): x1 y1 x2 y2, half open, within 0..224
    is_consensus: bool = False  # a pixel needs two votes for the value 1
    # In a consensus: who votes with each box. Boxes of one voter count once. None: each box votes.
    voters: tuple[int, ...] | None = None
    # In place of boxes: bool (224, 224).
    mask: np.ndarray | None = None

    def levels(self) -> np.ndarray:
        """Return the map in halves: uint8 ``(224, 224)`` of 0, 1 (only in a consensus) or 2."""
        levels = np.zeros((GRID, GRID), np.uint8)
        if self.mask is not None:
            levels[self.mask] = 2
            return levels
        if not self.is_consensus:
            for x1, y1, x2, y2 in self.pixel_boxes:
                levels[y1:y2, x1:x2] = 2
            return levels

        voters = range(len(self.pixel_boxes)) if self.voters is None else self.voters

        # First unite the boxes of a voter, then add up the voters.
        for voter in sorted(set(voters)):
            voted = np.zeros((GRID, GRID), np.uint8)
            for (x1, y1, x2, y2), owner in zip(self.pixel_boxes, voters, strict=True):
                if owner == voter:
                    voted[y1:y2, x1:x2] = 1
            levels += voted
        # One voter makes a pixel half, two or more make it full.
        return np.minimum(levels, 2)


def make_ground_truth(
    boxes: Sequence[Sequence[float]] | np.ndarray,
    *,
    rule: str,
    annotators: Sequence[int] | None = None,
    frame_size: tuple[float, float] | None = None,
    per_annotator: bool = False,
) -> GroundTruth:
    """Turn the boxes of one sample into its ground truth.

    Args:
        boxes: normalized x1 y1 x2 y2, as in samples.parquet.
        rule: ``union``, ``consensus`` or ``corner_size``; see the module's docstring.
        annotators: who drew each box, for ``per_annotator``.
        frame_size: width and height in pixels of the annotated video, for ``corner_size``. It
            restores the published decimals: the width of a box is the difference of two rounded
            quotients, and ``int`` of it could fall on the wrong side of a whole pixel.
        per_annotator: in a consensus, count the boxes of one annotator once.

    Returns:
        The boxes in whole pixels of the 224x224 grid, clipped to it. Without boxes the map is 0.

    Raises:
        DataError: the rule is unknown, or a value is not finite.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise DataError(
            f"boxes {boxes.tolist()} hold a value that is not a number, expected finite x1 y1 x2 y2"
        )

    if rule == "union":
        # As published: clip first, then cut off the fraction, int(224 * v).
        return GroundTruth((np.clip(boxes, 0, 1) * GRID).astype(np.int64))

    if rule == "consensus":
        # Boxes are v / 256, which is exact, so this is the published int(224 * v / 256).
        pixel_boxes = np.clip((boxes * GRID).astype(np.int64), 0, GRID)
        voters = None
        if per_annotator and annotators is not None:
            voters = tuple(int(annotator) for annotator in annotators)
        return GroundTruth(pixel_boxes, is_consensus=True, voters=voters)

    if rule == "corner_size":
        corners, sizes = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        # Round in pixels of the video, where the published values have few decimals.
        if frame_size is not None:
            scale = np.asarray(frame_size, np.float64)
            corners, sizes = (np.round(values * scale, 6) / scale for values in (corners, sizes))

        # Corner and size are truncated one by one, so the end is not always int(224 * x2).
        first = (corners * GRID).astype(np.int64)
        last = first + (sizes * GRID).astype(np.int64)
        return GroundTruth(np.clip(np.concatenate([first, last], axis=1), 0, GRID))

    raise DataError(
        f"ground truth: unknown rule {rule!r}, expected union, consensus or corner_size"
    )


def ground_truths_of(
    samples: pa.Table, *, box_rule: str, per_annotator: bool = False
) -> dict[str, GroundTruth]:
    """Return the ground truth of each sample that has boxes, or else a mask.

    Args:
        samples: SAMPLES rows. Rows without any are left out: the videos of ``local``, and
            negatives of the extended test sets.
        box_rule: the rule of the samples' dataset (``Dataset.box_rule``).
        per_annotator: see ``make_ground_truth``.

    Returns:
        Ground truth by sample id.

    Raises:
        DataError: names the sample whose boxes are not numbers.
    """
    columns = samples.select(["sample_id", "boxes", "box_annotators", "attributes"]).to_pydict()
    truths = {}
    for sample_id, boxes, annotators, attributes in zip(*columns.values(), strict=True):
        facts = dict(attributes or [])
        # Some datasets publish masks instead of boxes.
        if not boxes:
            if ATTRIBUTE in facts:
                mask = decode_mask(facts[ATTRIBUTE], where=f"sample {sample_id}")
                truths[sample_id] = GroundTruth(np.zeros((0, 4), np.int64), mask=mask)
            continue

        # The size of the video in which the boxes were drawn.
        frame_size = None
        if "annotated_size" in facts:
            width, height = map(float, facts["annotated_size"].split("x"))  # "1280x720"
            frame_size = width, height

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
