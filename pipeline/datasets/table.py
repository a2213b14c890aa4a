"""Datasets of the kind ``table``: a file of yours that says which clips and samples there are.

CSV, JSON lines or Parquet, one row a sample:

| column | meaning |
|---|---|
| ``id`` | of the clip; rows with one id are samples of one clip and differ in ``time`` |
| ``url`` or ``path`` | where the video is; a path is relative to the file |
| ``start``, ``end`` | seconds; the clip is this section of the video |
| ``time`` | seconds on the clip's timeline; without it the sample lies at the centre |
| ``label`` | what sounds |
| ``split`` | names, with ``;`` between several; without it ``split`` of the parameters |
| ``boxes`` | ``[[x1, y1, x2, y2], ...]`` as parts of the frame |
| ``frame_width``, ``frame_height`` | if they are there, boxes are in pixels of such a frame |
| any other | an attribute of the sample |
"""

import json
import math
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from earshot.errors import DataError, quote
from earshot.files import publish_text, sha256_of
from earshot.tables import CLIPS, SAMPLES
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.local import clip_id_of
from pipeline.lists.published_lists import decode_lines
from pipeline.lists.record_files import Record, read_records

_COLUMNS = (
    *("id", "url", "path", "start", "end", "time", "label", "split", "boxes"),
    *("frame_width", "frame_height"),
)
_STATE_NAME = "table.json"  # what the last build read
_BOX_TOLERANCE = 0.01  # boxes of published annotations reach a little beyond the frame


@dataclass(frozen=True)
class Parameters:
    """Section ``sources.NAME`` of params.yaml."""

    path: str  # the file
    kind: Literal["table"] = "table"  # makes a section of any name a dataset of this kind
    split: str = "table"  # of rows that name none
    ids: str | None = None  # a file with one id in each line: only these clips are used
    limit: int | None = None  # at most so many clips of each split, the first ones; null: all

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ValueError("path is empty, expected a CSV, JSON lines or Parquet file")
        if not self.split.strip():
            raise ValueError("split is empty, expected a name")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}, expected 1 or more, or null")


@dataclass
class _Tables:
    """The rows that were read so far."""

    clips: dict[str, dict[str, Any]] = field(default_factory=dict)  # by clip id
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)  # by sample id


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES in the order of the file's rows."""
    path = _find_file(parameters.path)
    wanted = None if parameters.ids is None else _read_wanted(_find_file(parameters.ids))

    tables = _Tables()
    for record in read_records(path):
        _add_record(tables, record, folder=path.parent, default_split=parameters.split)
    if wanted is not None:
        _require_known(wanted, tables, parameters)

    chosen = _choose_clips(tables, wanted, parameters.limit)
    clips = [tables.clips[name] for name in chosen]
    samples = [row for row in tables.samples.values() if row["clip_id"] in chosen]
    publish_text(Path(cache_dir) / _STATE_NAME, json.dumps(_describe_files(parameters)) + "\n")
    return (
        pa.Table.from_pylist(clips, schema=CLIPS.columns),
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
    )


def has_changed(parameters: Parameters, *, cache_dir: Path) -> bool:
    """Return whether the file, or the file of ids, differs from what the last build read."""
    try:
        recorded = json.loads((Path(cache_dir) / _STATE_NAME).read_text())
    except (FileNotFoundError, ValueError):
        return True
    return recorded != _describe_files(parameters)


def find_splits(parameters: Parameters) -> set[str] | None:
    """Return the splits that the file's rows name; None without the file."""
    path = Path(parameters.path).expanduser()
    if not path.is_file():
        return None
    records = read_records(path)
    return {name for record in records for name in _read_splits(record, parameters.split)}


def _describe_files(parameters: Parameters) -> dict[str, str]:
    paths = [parameters.path, *([parameters.ids] if parameters.ids else [])]
    return {name: sha256_of(_find_file(name)) for name in paths}


def _find_file(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a file")
    return path


def _read_wanted(path: Path) -> dict[str, int]:
    """Return the ids of a file and the lines in which they stand."""
    lines = ((number, line.strip()) for number, line in enumerate(decode_lines(path), start=1))
    return {text: number for number, text in lines if text}


def _require_known(wanted: Mapping[str, int], tables: _Tables, parameters: Parameters) -> None:
    # A mistyped id would only make the dataset smaller.
    for name, number in wanted.items():
        if name not in tables.clips:
            raise DataError(
                f"{parameters.ids}, line {number}: {parameters.path} has no clip {quote(name)}"
            )


def _choose_clips(
    tables: _Tables, wanted: Mapping[str, int] | None, limit: int | None
) -> dict[str, None]:
    """Return the clips that are used, in the order of the file."""
    chosen: dict[str, None] = {}
    num_of_split: dict[str, int] = {}
    for name, clip in tables.clips.items():
        if wanted is not None and name not in wanted:
            continue
        # A clip of several splits is used if one of them has room for it.
        if limit is None or any(num_of_split.get(split, 0) < limit for split in clip["splits"]):
            chosen[name] = None
            for split in clip["splits"]:
                num_of_split[split] = num_of_split.get(split, 0) + 1
    return chosen


def _add_record(tables: _Tables, record: Record, *, folder: Path, default_split: str) -> None:
    """Turn one row of the file into a sample, and into a clip if it is the clip's first."""
    where, values = record
    clip_id = _read_id(where, values)
    splits = _read_splits(record, default_split)

    # All rows of a clip name the same section of the same video.
    start, end = _read_section(where, values)
    clip = {
        "clip_id": clip_id,
        **_read_source(where, values, folder),
        "start_seconds": start,
        "end_seconds": end,
        "splits": splits,
    }
    if tables.clips.setdefault(clip_id, clip) != clip:
        raise DataError(
            f"{where}: clip {quote(clip_id)} has another source, section or split in a row before"
        )

    time_seconds = _read_seconds(where, values, "time")
    if start is not None and end is not None and time_seconds is not None:
        _require(where, "time", time_seconds, time_seconds <= end - start, "a time in the clip")
    sample_id = clip_id
    if time_seconds is not None:
        # Milliseconds with leading zeros: sorted ids are in order of time.
        sample_id = f"{clip_id}@{round(time_seconds * 1000):08d}"
    if sample_id in tables.samples:
        raise DataError(f"{where}: sample {quote(sample_id)} appears twice, expected other times")

    boxes = _read_boxes(where, values)
    tables.samples[sample_id] = {
        "sample_id": sample_id,
        "clip_id": clip_id,
        "time_seconds": time_seconds,
        "splits": splits,
        "label": None if values.get("label") is None else str(values["label"]),
        "boxes": boxes,
        "box_annotators": [0] * len(boxes),
        "audio_clip_id": None,
        "attributes": [
            (name, str(value)) for name, value in values.items() if name not in _COLUMNS
        ],
    }


def _read_splits(record: Record, default_split: str) -> list[str]:
    where, values = record
    splits = [name.strip() for name in str(values.get("split", default_split)).split(";")]
    if not all(splits):
        raise DataError(f"{where}, column split: is {quote(str(values['split']))}, expected names")
    return splits


def _read_id(where: str, values: Mapping[str, Any]) -> str:
    text = str(values.get("id", "")).strip()
    if not text:
        raise DataError(f"{where}, column id: is empty, expected an id")
    # Files in the cache have the clip's id as their name.
    if clip_id_of(text) != text:
        raise DataError(
            f"{where}, column id: is {quote(text)}, expected letters, digits, '_', '-' and '.'"
        )
    return text


def _read_source(where: str, values: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the columns ``video_id`` and ``url``: clips of one video share both."""
    if ("url" in values) == ("path" in values):
        found = "both" if "url" in values else "neither"
        raise DataError(f"{where}, columns url and path: has {found}, expected one of them")

    if "path" in values:
        path = Path(os.path.normpath(folder / Path(str(values["path"])).expanduser()))
        return {"video_id": str(path), "url": "file://" + urllib.parse.quote(os.fsencode(path))}

    url = str(values["url"])
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https", "file"):
        raise DataError(f"{where}, column url: is {quote(url)}, expected http, https or file")
    return {"video_id": _find_youtube_id(url) or url, "url": url}


def _find_youtube_id(url: str) -> str | None:
    """Return a YouTube video's id: one video has addresses of many forms."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    if host == "youtu.be":
        return parts.path.strip("/") or None
    if host == "youtube.com":
        return urllib.parse.parse_qs(parts.query).get("v", [None])[0]
    return None


def _read_section(where: str, values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    start, end = _read_seconds(where, values, "start"), _read_seconds(where, values, "end")
    if end is not None:
        _require(where, "end", end, end > (start or 0), f"more than start ({start or 0:g})")
    return start, end


def _read_seconds(where: str, values: Mapping[str, Any], column: str) -> float | None:
    if column not in values:
        return None
    return _read_number(where, column, values[column], "seconds, 0 or more", lowest=0)


def _read_number(where: str, column: str, value: Any, what: str, *, lowest: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    _require(where, column, value, math.isfinite(number) and number >= lowest, what)
    return number


def _require(where: str, column: str, value: Any, is_right: bool, what: str) -> None:
    if not is_right:
        raise DataError(f"{where}, column {column}: is {quote(str(value))}, expected {what}")


def _read_boxes(where: str, values: Mapping[str, Any]) -> list[list[float]]:
    """Return normalized x1 y1 x2 y2, clipped to the frame."""
    boxes = values.get("boxes", [])
    if isinstance(boxes, str):
        try:
            boxes = json.loads(boxes)
        except ValueError:
            boxes = None
    is_list = isinstance(boxes, list) and all(
        isinstance(box, list) and len(box) == 4 for box in boxes
    )
    _require(where, "boxes", values.get("boxes"), is_list, "[[x1, y1, x2, y2], ...]")

    scale = _read_frame_size(where, values) or (1.0, 1.0)
    unit = "parts of the frame, 0 to 1" if scale == (1.0, 1.0) else "pixels of the frame"
    result = []
    for box in boxes:
        numbers = [_read_number(where, "boxes", value, unit, lowest=-math.inf) for value in box]
        x1, y1, x2, y2 = (value / side for value, side in zip(numbers, scale * 2, strict=True))
        lowest, highest = min(x1, y1, x2, y2), max(x1, y1, x2, y2)
        is_inside = lowest >= -_BOX_TOLERANCE and highest <= 1 + _BOX_TOLERANCE
        _require(where, "boxes", box, is_inside, unit)
        _require(where, "boxes", box, x1 < x2 and y1 < y2, "x1 < x2 and y1 < y2")
        result.append([min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2)])
    return result


def _read_frame_size(where: str, values: Mapping[str, Any]) -> tuple[float, float] | None:
    names = ("frame_width", "frame_height")
    present = [name for name in names if name in values]
    if not present:
        return None
    if len(present) == 1:
        raise DataError(f"{where}: has {present[0]} alone, expected {' and '.join(names)}")
    width, height = (_read_number(where, name, values[name], "pixels", lowest=1) for name in names)
    return width, height


DATASET = Dataset(
    name="table",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    find_splits=find_splits,
    is_linked=True,
    has_changed=has_changed,
    path_parameters=("path", "ids"),
)
