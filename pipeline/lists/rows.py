"""The clips and samples tables of list-based datasets, made column by column so that large lists stay light.

A clip that is in many splits is one row. Rows of one combination of splits share one tuple, rows without boxes share
the empty one: 300,000 rows take some tens of megabytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from earshot.tables import CLIPS, SAMPLES

_NOTHING: tuple = ()


@dataclass(frozen=True)
class Truth:
    """What is known of a sample: ``boxes`` normalized x1 y1 x2 y2, the number of each box's annotator, a label."""

    label: str | None = None
    boxes: Sequence[Sequence[float]] = _NOTHING
    box_annotators: Sequence[int] = _NOTHING


_NO_TRUTH = Truth()


@dataclass
class Membership:
    """Which splits each id is in: ids in order of first appearance."""

    names: list[str] = field(default_factory=list)
    masks: dict[str, int] = field(default_factory=dict)

    def add(self, split: str, ids: Iterable[str]) -> None:
        """Enter ``ids`` in ``split``."""
        if split not in self.names:
            self.names.append(split)
        bit = 1 << self.names.index(split)
        masks = self.masks
        for clip_id in ids:
            masks[clip_id] = masks.get(clip_id, 0) | bit

    def column(self) -> list[tuple[str, ...]]:
        """The splits of each id, in order."""
        known: dict[int, tuple[str, ...]] = {}
        column = []
        for mask in self.masks.values():
            if mask not in known:
                known[mask] = tuple(name for bit, name in enumerate(self.names) if mask >> bit & 1)
            column.append(known[mask])
        return column


def make_clips(
    membership: Membership,
    *,
    video_id_of: Callable[[str], str],
    url_of: Callable[[str], str],
    range_of: Callable[[str], tuple[float | None, float | None]],
) -> pa.Table:
    """CLIPS rows of all ids of a membership."""
    ids = list(membership.masks)
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
    """SAMPLES rows, one a clip: the sample has the clip's id."""
    ids = list(membership.masks)
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
    """SAMPLES rows of negatives: ``(video id, audio id)`` -> splits. Nothing in the picture makes the sound: no boxes.

    Where both ids are one, the clip's own sound belongs to nothing that is seen; ``audio_clip_id`` is null then.
    """
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
