"""Decide which samples are for training, selection and test, and check that no video is in two."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from earshot.errors import DataError

_NUM_EXAMPLES = 3  # shared videos that an error names


def find_split_ids(samples: pa.Table, split: str) -> list[str]:
    """Return the ids of the samples that belong to ``split``, in table order.

    Args:
        samples: rows of the schema SAMPLES, at least ``sample_id`` and ``splits``.
        split: name of a split. A split that no sample belongs to gives an empty list.
    """
    columns = samples.select(["sample_id", "splits"]).to_pydict()
    rows = zip(columns["sample_id"], columns["splits"], strict=True)
    return [sample_id for sample_id, splits in rows if split in (splits or ())]


def find_videos(samples: pa.Table, clips: pa.Table) -> dict[str, str]:
    """Find the video of each sample.

    Args:
        samples: rows of the schema SAMPLES.
        clips: rows of the schema CLIPS; each clip of ``samples`` is among them.

    Returns:
        Sample id -> video id.
    """
    video_of = dict(zip(clips["clip_id"].to_pylist(), clips["video_id"].to_pylist(), strict=True))
    columns = samples.select(["sample_id", "clip_id"]).to_pydict()
    rows = zip(columns["sample_id"], columns["clip_id"], strict=True)
    return {sample_id: video_of[clip_id] for sample_id, clip_id in rows}


def find_boxes(samples: pa.Table, sample_ids: Sequence[str]) -> list:
    """Find the boxes of some samples.

    Args:
        samples: rows of the schema SAMPLES that hold all of ``sample_ids``.
        sample_ids: which samples.

    Returns:
        A list of boxes, or None, for each sample in the order of ``sample_ids``.
    """
    columns = samples.select(["sample_id", "boxes"]).to_pydict()
    boxes_of = dict(zip(columns["sample_id"], columns["boxes"], strict=True))
    return [boxes_of[sample_id] for sample_id in sample_ids]


def hold_out(
    sample_ids: Sequence[str], video_of: Mapping[str, str], *, num_samples: int
) -> tuple[list[str], list[str]]:
    """Split training samples into (training, validation) by video.

    All samples of a video go to the same side. The hash of its id decides which videos are held
    out, so a longer list holds out the same videos first.

    Args:
        sample_ids: the training samples.
        video_of: sample id -> video id.
        num_samples: about how many samples to hold out, at most about a tenth of all.

    Returns:
        The ids for training and those for validation, both in their order in ``sample_ids``.
    """
    # At most a tenth, so that a small set keeps enough to train on.
    num_wanted = min(num_samples, len(sample_ids) // 10)
    ids_of_video: dict[str, list[str]] = {}
    for sample_id in sample_ids:
        ids_of_video.setdefault(video_of[sample_id], []).append(sample_id)

    held_out: set[str] = set()
    for video_id in sorted(ids_of_video, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(held_out) >= num_wanted:
            break
        held_out.update(ids_of_video[video_id])

    train_ids = [sample_id for sample_id in sample_ids if sample_id not in held_out]
    val_ids = [sample_id for sample_id in sample_ids if sample_id in held_out]
    return train_ids, val_ids


def require_disjoint(
    sets: Mapping[str, Sequence[str]], *, video_of: Mapping[str, str] | None, selection: str = "val"
) -> None:
    """Fail when two sets of samples share a video.

    Args:
        sets: name (``train``, ``val``, ``test``) -> sample ids.
        video_of: sample id -> video id. None compares sample ids instead of videos.
        selection: the set that selects the weights. With ``test`` the validation set is not used,
            so it is not checked.

    Raises:
        DataError: two sets share a video, or a sample has no video id.
    """
    # Selecting on the test set puts the same samples into both; `run.json` says so.
    names = [name for name in sets if not (name == "val" and selection == "test")]
    videos = {name: {_find_video(item, video_of) for item in sets[name]} for name in names}

    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = sorted(videos[first] & videos[second])
            if not shared:
                continue

            what = "samples" if video_of is None else "videos"
            examples = ", ".join(shared[:_NUM_EXAMPLES])
            more = ", ..." if len(shared) > _NUM_EXAMPLES else ""
            raise DataError(
                f"the {first} and {second} splits share {len(shared)} {what} ({examples}{more}); "
                "expected none, because shared videos make results look better than they are"
            )


def _find_video(sample_id: str, video_of: Mapping[str, str] | None) -> str:
    if video_of is None:
        return sample_id
    if sample_id not in video_of:
        raise DataError(f"sample {sample_id!r} has no video id")
    return video_of[sample_id]
