"""Find which clip a sample of a WebDataset shard is, if its name does not say so.

In such a tar file, members with the same name up to the first dot are one sample: `0001.mp4`,
`0001.json`. The name is often a number. Then the JSON file identifies the clip: by an id, an
address, the start and the end.
"""

import contextlib
import json
import math
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from earshot.errors import DataError
from pipeline.base.archives import explain_damage, iter_tar

_MAX_JSON_BYTES = 1 << 20
_ID_KEYS = (
    *("clip_id", "video_id", "videoid", "videoID", "youtube_id", "ytid", "yt_id", "id"),
    *("filename", "file_name", "path", "__key__", "key"),
)
_URL_KEYS = ("url", "video_url", "webpage_url")
_START_KEYS = ("start_seconds", "start", "start_time", "start_sec", "begin")
_END_KEYS = ("end_seconds", "end", "end_time", "end_sec")


@dataclass(frozen=True)
class Description:
    """What the JSON file of a sample says about its clip."""

    names: tuple[str, ...] = ()  # that a file of the clip can have; those with times come first
    has_start: bool = False  # the sample is this section of its video, and no other one


def read_descriptions(tar_path: Path) -> dict[str, Description]:
    """Return key of the sample -> what is said of its clip, for samples with a JSON file.

    Only the JSON members are read. Those that are no JSON mapping are ignored. Where the tar file
    is damaged, reading ends without an error: reading its other members reports the damage.
    """
    found: dict[str, Description] = {}
    with contextlib.suppress(DataError):
        _read_all(tar_path, found)
    return found


def _read_all(tar_path: Path, found: dict[str, Description]) -> None:
    for member, stream, num_bytes in iter_tar(
        tar_path, on_refusal=lambda *_: None, is_seeking=True
    ):
        if member.suffix.lower() != ".json" or num_bytes > _MAX_JSON_BYTES:
            continue
        with explain_damage(f"{tar_path}: not a readable tar file"):
            content = stream.read()
        try:
            metadata = json.loads(content)
        except (ValueError, RecursionError):
            continue
        if isinstance(metadata, Mapping):
            names = tuple(dict.fromkeys(_list_names(metadata)))
            has_start = _find_times(metadata)[0] is not None
            found[key_of(member)] = Description(names, has_start=has_start)


def key_of(member: PurePosixPath) -> str:
    """Return the key of a member's sample: its path up to the first dot of its name."""
    return str(member.with_name(member.name.partition(".")[0] or member.name))


def _list_names(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that a file of the clip can have; those with times come first."""
    ids = [str(metadata[key]) for key in _ID_KEYS if _is_text(metadata.get(key))]
    ids = [PurePosixPath(text).name for text in ids]
    ids += [name for key in _URL_KEYS if (name := _find_id(metadata.get(key)))]

    start, end = _find_times(metadata)
    for name in ids:
        if start is not None and end is not None:
            yield f"{name}_{_format(start)}_{_format(end)}"
    for name in ids:
        if start is not None:
            yield f"{name}_{_format(start)}"
    for name in ids:
        yield name
        # An id can be the name of a file, with its suffix.
        yield name.rpartition(".")[0] or name


def _format(seconds: float) -> str:
    # `g` alone writes six digits: it rounds 1234.567 s, and writes milliseconds with an exponent.
    return f"{seconds:.12g}"


def _find_times(metadata: Mapping[str, Any]) -> tuple[float | None, float | None]:
    start, end = (
        next((value for key in keys if (value := _read_time(metadata.get(key))) is not None), None)
        for keys in (_START_KEYS, _END_KEYS)
    )

    # Some tools write a list of one [start, end].
    clips = metadata.get("clips")
    if start is None and isinstance(clips, list) and len(clips) == 1:
        pair = clips[0]
        if isinstance(pair, list) and len(pair) == 2:
            start, end = _read_time(pair[0]), _read_time(pair[1])
    return start, end


def _read_time(value: object) -> float | None:
    """Return the seconds of a number or a text such as ``30``, ``1:30`` or ``00:01:30.000``."""
    # True and False are numbers for Python, but no times.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parts = [float(part) for part in str(value).split(":")]
    except ValueError:
        return None

    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + part
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _find_id(url: object) -> str | None:
    """Return the id that an address names: of YouTube's video, else its last part."""
    if not isinstance(url, str) or "://" not in url:
        return None
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        # `urlsplit` refuses some texts, such as one with a single bracket.
        return None
    found = urllib.parse.parse_qs(parts.query).get("v")
    return found[0] if found else PurePosixPath(urllib.parse.unquote(parts.path)).name or None


def _is_text(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip() != ""
