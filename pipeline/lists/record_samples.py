"""Turn rows of a table of the user's own (``record_files.py``) into samples.

Each error names the line, the column, the value, and what was expected.
"""

import hashlib
import json
import math
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from earshot.errors import DataError, quote
from pipeline.lists.published_lists import log
from pipeline.lists.record_files import Record
from pipeline.lists.rows import Truth, make_sample_row

# Columns with a meaning; any other is an attribute of the sample.
COLUMNS = (
    *("id", "url", "path", "start", "end", "time", "label", "split", "boxes"),
    *("frame_width", "frame_height", "audio_path", "mask_path"),
)
# Names of columns in other people's tables, and in those of this project.
_OTHER_NAMES = {
    "start": ("start_seconds", "start_time", "start_sec", "starts", "begin", "onset"),
    "end": ("end_seconds", "end_time", "end_sec", "ends", "offset"),
    "time": ("time_seconds", "timestamp", "times"),
    "label": ("labels", "class", "class_name", "category"),
    "split": ("splits", "set", "subset", "partition"),
    "boxes": ("box", "bbox", "bboxes"),
}
_BOX_TOLERANCE = 0.01  # boxes of published annotations reach a little beyond the frame
_UNSAFE = re.compile(r"[^\w.\-]+")
# File names hold 255 bytes. Shards and temporary files add prefixes and suffixes of their own.
MAX_ID_BYTES = 120
# Ids of samples count milliseconds, so two samples must not share one.
MIN_EVERY_SECONDS = 0.002
MAX_SECONDS = 1e9  # ids count milliseconds, and a video of thirty years is a mistake


def clip_id_of(relative_path: str) -> str:
    """Return a stable id that is safe as a file name.

    It is the path itself where that is plain; else a safe form of the path plus a hash of it.
    """
    # macOS splits accents from letters (NFD). NFC gives one form on all systems.
    text = unicodedata.normalize("NFC", printable(relative_path))
    safe = _UNSAFE.sub("_", text.replace("/", "__"))

    # A leading `-` would look like an option, and a leading `.` would hide the file.
    if (
        safe == relative_path
        and not safe.startswith(("-", "."))
        and len(safe.encode()) <= MAX_ID_BYTES
    ):
        return safe

    # Keep the end of a long path: the file's own name tells most.
    digest = hashlib.sha256(os.fsencode(relative_path)).hexdigest()[:10]
    kept = safe.lstrip("-.").encode()[-MAX_ID_BYTES:].decode(errors="ignore").lstrip("-.")
    return f"{kept}-{digest}" if kept else digest


def printable(relative_path: str) -> str:
    """Return a name with its bytes that are not UTF-8 replaced; no table can hold them."""
    return os.fsencode(relative_path).decode("utf-8", "replace")


def sample_id_of(clip_id: str, time_seconds: float | None) -> str:
    """Return the id of a sample at a time of a clip.

    Args:
        clip_id: Of its clip.
        time_seconds: From the beginning of the clip's file; None: at its centre.
    """
    if time_seconds is None:
        return clip_id
    # Milliseconds with leading zeros: sorted ids are in order of time.
    return f"{clip_id}@{round(time_seconds * 1000):08d}"


def times_of(duration_seconds: float | None, every_seconds: float | None) -> list[float | None]:
    """Return the middles of the whole pieces of ``every_seconds`` of a clip.

    Args:
        duration_seconds: Of the clip; None: it is not known.
        every_seconds: At least ``MIN_EVERY_SECONDS``; None: no pieces.

    Returns:
        The times. Where there is no whole piece, it is ``[None]``: the centre.
    """
    if every_seconds is None or duration_seconds is None or duration_seconds < every_seconds:
        return [None]
    # A rounding error must not cost the last piece.
    num_pieces = math.floor(duration_seconds / every_seconds + 1e-9)
    return [round((index + 0.5) * every_seconds, 6) for index in range(num_pieces)]


def make_sample(record: Record, clip_id: str, splits: list[str]) -> dict[str, Any]:
    """Make the SAMPLES row of one row of a table.

    Args:
        record: The row.
        clip_id: Of its clip.
        splits: Of its clip (``read_splits``).

    Returns:
        Column -> value. Boxes are normalized and clipped to the frame.

    Raises:
        DataError: A value is not as expected.
    """
    where, values = record
    time_seconds = read_seconds(where, values, "time")
    boxes = read_boxes(where, values)
    label = None if values.get("label") is None else read_cell(where, values, "label")
    return make_sample_row(
        sample_id_of(clip_id, time_seconds),
        clip_id,
        time_seconds=time_seconds,
        splits=splits,
        truth=Truth.of_one(label, boxes),
        attributes=((name, str(value)) for name, value in values.items() if name not in COLUMNS),
    )


def read_path(where: str, values: Mapping[str, Any], column: str, folder: Path) -> Path:
    """Return the path in a column; relative ones begin at a folder.

    Args:
        where: Place of the row, for error messages.
        values: Column -> value of the row.
        column: One that the row has.
        folder: An absolute path.

    Raises:
        DataError: It is no text.
    """
    # Without `..`: rows that name one file in two ways must agree.
    # Not by `Path`, which has no path for a `~name` of nobody.
    text = read_cell(where, values, column)
    return Path(os.path.normpath(folder / os.path.expanduser(text)))


def require_new_sample(sample_id: str, known: Collection[str], where: str) -> None:
    """Check that no row before is the same sample.

    Args:
        sample_id: Of a row.
        known: Ids of the rows before.
        where: Its place in the user's file.

    Raises:
        DataError: A row before has the same clip and time.
    """
    if sample_id in known:
        raise DataError(f"{where}: sample {quote(sample_id)} appears twice, expected other times")


def find_likely_columns(names: Iterable[str]) -> dict[str, str]:
    """Return which column with a meaning each name can stand for; other names are left out."""
    meanings = {other: column for column, others in _OTHER_NAMES.items() for other in others}
    meanings |= {column: column for column in COLUMNS}
    return {name: meanings[name.lower()] for name in names if name.lower() in meanings}


def warn_of_columns(path: Path, attributes: Mapping[str, str], columns: Collection[str]) -> None:
    """Name attributes that can stand for a column which the file does not have.

    Args:
        path: Of the file.
        attributes: From ``find_likely_columns``.
        columns: All columns of the file.
    """
    for name, column in attributes.items():
        if column not in columns:
            log.warning(
                "%s: column %s is an attribute of the samples; if it is meant to be %s, give it "
                "that name",
                *(path, quote(name), column),
            )


def read_splits(record: Record, default_split: str) -> list[str]:
    """Return the splits that a row names, separated by ``;``.

    Args:
        record: The row.
        default_split: Where it names none.

    Raises:
        DataError: One of the names is empty.
    """
    where, values = record
    found = values.get("split", default_split)
    # JSON and Parquet have lists.
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        splits = [name.strip() for name in found]
    else:
        text = read_cell(where, values, "split") if "split" in values else default_split
        splits = [name.strip() for name in text.split(";")]

    require(where, "split", found, bool(splits) and all(splits), "names")
    return list(dict.fromkeys(splits))


def read_cell(where: str, values: Mapping[str, Any], column: str) -> str:
    """Return the text of a column: of a text or a number.

    Args:
        where: Place of the row, for error messages.
        values: Column -> value of the row.
        column: One that the row has.

    Raises:
        DataError: It is something else, such as a list of JSON.
    """
    value = values[column]
    is_text = isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)
    require(where, column, value, is_text, "a text or a number")
    return str(value)


def read_seconds(where: str, values: Mapping[str, Any], column: str) -> float | None:
    """Return the time in a column; None where the column is empty.

    Args:
        where: Place of the row, for error messages.
        values: Column -> value of the row.
        column: The column to read.

    Raises:
        DataError: It is no number of seconds, or below 0.
    """
    if column not in values:
        return None
    what = "seconds, 0 or more"
    seconds = _read_number(where, column, values[column], what, lowest=0)
    require(where, column, values[column], seconds < MAX_SECONDS, f"less than {MAX_SECONDS:g} s")
    return seconds


def find_video_id(url: str) -> str:
    """Return the id of the video that an address names: one video has addresses of many forms.

    Args:
        url: An address with http, https or file.

    Returns:
        The id that YouTube gives, the path of a file, or the address without a time in it.
    """
    parts = urllib.parse.urlsplit(url)
    # A row that gives the path itself has the same video.
    if parts.scheme == "file":
        return os.path.normpath(urllib.parse.unquote(parts.path))
    # `#t=10,20` is a section of the video. Other fragments can name a video.
    is_section = parts.fragment.startswith("t=")
    return _find_youtube_id(parts) or (url.partition("#")[0] if is_section else url)


def _find_youtube_id(parts: urllib.parse.SplitResult) -> str | None:
    host = re.sub(r"^(www|m|music)\.", "", parts.hostname or "")
    if host == "youtu.be":
        return parts.path.strip("/") or None
    if host not in ("youtube.com", "youtube-nocookie.com"):
        return None
    in_path = re.fullmatch(r"/(?:shorts|embed|live|v)/([^/]+)/?", parts.path)
    return in_path[1] if in_path else urllib.parse.parse_qs(parts.query).get("v", [None])[0]


def require(where: str, column: str, value: Any, is_right: bool, what: str) -> None:
    """Raise an error that names place, column and value unless the value is right.

    Args:
        where: Place of the row, for example ``birds.csv, line 3``.
        column: Where in the row the value is.
        value: What was found.
        is_right: Whether the value is as expected.
        what: What was expected, in words.

    Raises:
        DataError: ``is_right`` is False.
    """
    if not is_right:
        raise DataError(f"{where}, column {column}: is {quote(str(value))}, expected {what}")


def _read_number(where: str, column: str, value: Any, what: str, *, lowest: float) -> float:
    try:
        # `float` turns True into 1.0, and reads "nan" and "inf".
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    require(where, column, value, math.isfinite(number) and number >= lowest, what)
    return number


def read_boxes(where: str, values: Mapping[str, Any]) -> list[list[float]]:
    """Return the boxes of a row, normalized x1 y1 x2 y2 and clipped to the frame.

    Args:
        where: Place of the row, for error messages.
        values: Column -> value of the row.

    Raises:
        DataError: They are no boxes, or lie outside of the frame.
    """
    boxes = values.get("boxes", [])
    if isinstance(boxes, str):
        try:
            boxes = json.loads(boxes)
        except (ValueError, RecursionError):
            boxes = None

    is_list = isinstance(boxes, list) and all(
        isinstance(box, list) and len(box) == 4 for box in boxes
    )
    require(where, "boxes", values.get("boxes"), is_list, "[[x1, y1, x2, y2], ...]")

    scale = _read_frame_size(where, values) or (1.0, 1.0)
    unit = "parts of the frame, 0 to 1" if scale == (1.0, 1.0) else "pixels of the frame"
    result = []
    for box in boxes:
        numbers = [_read_number(where, "boxes", value, unit, lowest=-math.inf) for value in box]
        # x is a part of the width, y of the height.
        x1, y1, x2, y2 = (value / side for value, side in zip(numbers, scale * 2, strict=True))
        lowest, highest = min(x1, y1, x2, y2), max(x1, y1, x2, y2)
        is_inside = lowest >= -_BOX_TOLERANCE and highest <= 1 + _BOX_TOLERANCE
        require(where, "boxes", box, is_inside, unit)
        require(where, "boxes", box, x1 < x2 and y1 < y2, "x1 < x2 and y1 < y2")
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
