"""The samples of a dataset's splits and their videos, from the tables."""

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
