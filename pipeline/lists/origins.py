"""Which published clips a sample is made from, where its list says so.

Test sets of still pictures are made from videos that training lists can hold. The attribute
``origin`` of such a sample has the clips of VGG-Sound (``<video>_<6 digits>``) or, where a list
does not say which seconds it took, the videos of YouTube that it is made from. A sample without the
attribute comes from nobody knows where.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa

ATTRIBUTE = "origin"  # of a sample
_VIDEO_LENGTH = 11  # letters of a YouTube id
_VIDEO, _CLIP = re.compile(r"[A-Za-z0-9_-]{11}"), re.compile(r"[A-Za-z0-9_-]{11}_[0-9]{6}")

# Clip id -> clips and videos that it is made from; none: not known.
Origins = Mapping[str, Sequence[str]]


def encode_origins(words: Iterable[str]) -> dict[str, str]:
    """Return the attribute of a sample that is made from these clips or videos.

    If a word is neither, the sample has no attribute: its origin is then not known.
    """
    words = list(words)
    is_known = all(is_clip(word) or _VIDEO.fullmatch(word) for word in words)
    return {ATTRIBUTE: " ".join(words)} if words and is_known else {}


def read_origins(samples: pa.Table) -> dict[str, tuple[str, ...]]:
    """Read what each clip of a table SAMPLES is made from; an empty tuple: not known."""
    columns = samples.select(["clip_id", "attributes"]).to_pydict()
    return {
        clip_id: tuple(dict(attributes or ()).get(ATTRIBUTE, "").split())
        for clip_id, attributes in zip(*columns.values(), strict=True)
    }


def find_made_from(origins: Origins, train_clip_ids: Collection[str]) -> set[str]:
    """Return the clips that are made from clips of VGG-Sound that are in the training data.

    Where only the video is known, any training clip of it counts: that the seconds differ is not
    known.

    Args:
        origins: of the test clips.
        train_clip_ids: clips of VGG-Sound.
    """
    train_clip_ids = set(train_clip_ids)
    train_videos = {find_video(clip_id) for clip_id in train_clip_ids}
    return {
        clip_id
        for clip_id, words in origins.items()
        if any(word in (train_clip_ids if is_clip(word) else train_videos) for word in words)
    }


def is_clip(word: str) -> bool:
    """Return whether an origin is a clip; otherwise it is a whole video."""
    return _CLIP.fullmatch(word) is not None


def find_video(word: str) -> str:
    """Return the YouTube id of a clip or video."""
    return word[:_VIDEO_LENGTH]
