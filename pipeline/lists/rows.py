"""Make the clips and samples tables of list-based datasets, column by column.

A clip that is in many splits is one row. Rows with the same splits share one tuple, and rows
without boxes share the empty one: 300,000 rows take some tens of megabytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.tables import CLIPS, SAMPLES

_NOTHING: tuple = ()


@dataclass(frozen=True)
class Truth:
    """What the annotations say of a sample."""

    label: str | None = None
    boxes: Sequence[Sequence[float]] = _NOTHING  # normalized x1 y1 x2 y2
    box_annotators: Sequence[int] = _NOTHING  # the number of each box's annotator

    @classmethod
    def of_one(cls, label: str | None, boxes: Sequence[Sequence[float]]) -> "Truth":
        """Return what one annotator says."""
        return cls(label, boxes, [0] * len(boxes))


_NO_TRUTH = Truth()


@dataclass
class Membership:
    """Which splits each id is in."""

    names: list[str] = field(default_factory=list)  # of the splits
    # Id -> bit k is set if the id is in split k; ids in the order in which they first appear.
    masks: dict[str, int] = field(default_factory=dict)

    def add(self, split: str, ids: Iterable[str]) -> None:
        """Enter ids in a split."""
        if split not in self.names:
            self.names.append(split)

        bit = 1 << self.names.index(split)
        masks = self.masks
        for clip_id in ids:
            masks[clip_id] = masks.get(clip_id, 0) | bit

    def column(self) -> list[tuple[str, ...]]:
        """Return the splits of each id, in the order of the ids."""
        known: dict[int, tuple[str, ...]] = {}
        column = []
        for mask in self.masks.values():
            # Ids with the same splits share one tuple.
            if mask not in known:
                known[mask] = tuple(name for bit, name in enumerate(self.names) if mask >> bit & 1)
            column.append(known[mask])
        return column


def make_file_clip(clip_id: str, path: Path, splits: Sequence[str]) -> dict[str, Any]:
    """Make the CLIPS row of a whole file on this machine.

    Args:
        clip_id: Also the id of the video.
        path: Absolute. Its name may hold any bytes.
        splits: That the clip is in.

    Returns:
        Column -> value.
    """
    return {
        "clip_id": clip_id,
        "video_id": clip_id,
        "url": path.as_uri(),
        "start_seconds": None,
        "end_seconds": None,
        "splits": splits,
    }


def make_sample_row(
    sample_id: str,
    clip_id: str,
    *,
    time_seconds: float | None,
    splits: Sequence[str],
    truth: Truth = _NO_TRUTH,
    attributes: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Make the SAMPLES row of a sample that has the sound of its own clip.

    Args:
        sample_id: Its id.
        clip_id: Of its clip.
        time_seconds: From the beginning of the clip's file; None: at its centre.
        splits: Of its clip.
        truth: Label and boxes.
        attributes: Names and values.

    Returns:
        Column -> value.
    """
    return {
        "sample_id": sample_id,
        "clip_id": clip_id,
        "time_seconds": time_seconds,
        "splits": splits,
        "label": truth.label,
        "boxes": truth.boxes,
        "box_annotators": truth.box_annotators,
        "audio_clip_id": None,
        "attributes": list(attributes),
    }


def make_clips(
    membership: Membership,
    *,
    video_id_of: Callable[[str], str],
    url_of: Callable[[str], str],
    range_of: Callable[[str], tuple[float | None, float | None]],
) -> pa.Table:
    """Make the CLIPS rows of all ids of a membership.

    Args:
        membership: Ids and their splits.
        video_id_of: Clip id -> video id.
        url_of: Clip id -> address.
        range_of: Clip id -> start and end in the video in seconds; None where the clip is whole.

    Returns:
        One row an id, in the order of the membership.
    """
    ids = list(membership.masks)

    # Once for both columns.
    ranges = [range_of(clip_id) for clip_id in ids]
    return pa.Table.from_pydict(
        {
            "clip_id": ids,
            "video_id": [video_id_of(clip_id) for clip_id in ids],
            "url": [url_of(clip_id) for clip_id in ids],
            "start_seconds": [start for start, _ in ranges],
            "end_seconds": [end for _, end in ranges],
            "splits": membership.column(),
        },
        schema=CLIPS.columns,
    )


def make_samples(
    membership: Membership,
    *,
    time_of: Callable[[str], float | None],
    truths: Mapping[str, Truth],
    attributes: Mapping[str, Mapping[str, str]],
) -> pa.Table:
    """Make SAMPLES rows, one for each clip; the sample has the clip's id.

    Args:
        membership: Ids and their splits.
        time_of: Clip id -> time in the clip in seconds; None is its centre.
        truths: Clip id -> label and boxes, where there are some.
        attributes: Clip id -> attributes, where there are some.

    Returns:
        One row an id, in the order of the membership.
    """
    ids = list(membership.masks)
    # Most samples of a large list have no annotation. They share one empty truth.
    found = [truths.get(clip_id, _NO_TRUTH) for clip_id in ids]

    return pa.Table.from_pydict(
        {
            "sample_id": ids,
            "clip_id": ids,
            "time_seconds": [time_of(clip_id) for clip_id in ids],
            "splits": membership.column(),
            "label": [truth.label for truth in found],
            "boxes": [truth.boxes for truth in found],
            "box_annotators": [truth.box_annotators for truth in found],
            # null: the sound of the clip itself.
            "audio_clip_id": pa.nulls(len(ids), pa.string()),
            "attributes": [
                tuple(attributes[clip_id].items()) if clip_id in attributes else _NOTHING
                for clip_id in ids
            ],
        },
        schema=SAMPLES.columns,
    )


def make_negatives(
    pairs: Mapping[tuple[str, str], Sequence[str]], *, time_of: Callable[[str], float | None]
) -> pa.Table:
    """Make SAMPLES rows of negatives.

    Nothing in their picture makes the sound, so they have no boxes.

    Args:
        pairs: ``(video id, audio id)`` -> splits. If both ids are equal, the clip's own sound
            comes from nothing in the picture; ``audio_clip_id`` is null then.
        time_of: Video id -> time in the clip in seconds; None is its centre.

    Returns:
        One row a pair, in the order of ``pairs``.
    """
    # A video can be in several negatives, so the id names both clips.
    return pa.Table.from_pydict(
        {
            "sample_id": [f"{video}+{audio}" for video, audio in pairs],
            "clip_id": [video for video, _ in pairs],
            "time_seconds": [time_of(video) for video, _ in pairs],
            "splits": list(pairs.values()),
            "label": pa.nulls(len(pairs), pa.string()),
            "boxes": [_NOTHING] * len(pairs),
            "box_annotators": [_NOTHING] * len(pairs),
            "audio_clip_id": [audio if audio != video else None for video, audio in pairs],
            "attributes": [(("negative", "true"),)] * len(pairs),
        },
        schema=SAMPLES.columns,
    )
