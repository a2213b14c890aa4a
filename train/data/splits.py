"""The samples of a dataset's splits and their videos, from the tables."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa


def ids_in_split(samples: pa.Table, split: str) -> list[str]:
    """Ids of the samples that have ``split`` among their splits, in table order; none if no sample has it."""
    columns = samples.select(["sample_id", "splits"]).to_pydict()
    return [name for name, splits in zip(*columns.values(), strict=True) if split in (splits or ())]


def videos_of_samples(samples: pa.Table, clips: pa.Table) -> dict[str, str]:
    """Sample id -> video id: what training, selection and test sets must not share."""
    video_of = dict(zip(clips["clip_id"].to_pylist(), clips["video_id"].to_pylist(), strict=True))
    columns = samples.select(["sample_id", "clip_id"]).to_pydict()
    return {name: video_of[clip_id] for name, clip_id in zip(*columns.values(), strict=True)}


def boxes_of_samples(samples: pa.Table, sample_ids: list[str]) -> list:
    """The boxes of the named samples, in that order."""
    columns = samples.select(["sample_id", "boxes"]).to_pydict()
    boxes_of = dict(zip(*columns.values(), strict=True))
    return [boxes_of[sample_id] for sample_id in sample_ids]


def hold_out(
    sample_ids: Sequence[str], video_of: Mapping[str, str], *, num_samples: int
) -> tuple[list[str], list[str]]:
    """Split ``sample_ids`` into (training, validation) with about ``num_samples``, a tenth at most, held
    out for validation; all samples of a video go together.

    Which videos depends on their ids alone, so a longer list holds out the same ones first.
    """
    wanted = min(num_samples, len(sample_ids) // 10)
    by_video: dict[str, list[str]] = {}
    for sample_id in sample_ids:
        by_video.setdefault(video_of[sample_id], []).append(sample_id)
    held_out: set[str] = set()
    for video_id in sorted(by_video, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(held_out) >= wanted:
            break
        held_out.update(by_video[video_id])
    return [name for name in sample_ids if name not in held_out], [
        name for name in sample_ids if name in held_out
    ]
