"""Turn the columns of a table of the user's own (``record_columns.py``) into clips and samples.

The result is that of ``record_samples.py`` for the same rows. At anything unusual, right or wrong,
this module raises ``UnusualError``, and the rows are read one by one.
"""

import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.table_filters import number_values
from pipeline.lists.record_columns import (
    Columns,
    UnusualError,
    iter_columns,
    read_numbers,
    read_text,
)
from pipeline.lists.record_samples import (
    COLUMNS,
    MAX_ID_BYTES,
    MAX_SECONDS,
    find_video_id,
    read_boxes,
    read_splits,
)

# Ids and addresses of these characters need no look at each one. ASCII, because what is a letter
# elsewhere is a matter of Unicode's version.
_PLAIN_ID = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"
_PLAIN_URL = r"^(https?|file)://[A-Za-z0-9_.~:/?#@!$&'()*+,;=%\-]*$"
_CLIP_COLUMNS = ("video_id", "url", "start_seconds", "end_seconds", "splits_number")


@dataclass
class _SplitLists:
    """The lists of splits that rows name, each once."""

    default: str
    numbers_by_text: dict[str, int] = field(default_factory=dict)
    numbers_by_list: dict[tuple[str, ...], int] = field(default_factory=dict)

    def find_numbers(self, texts: pa.Array) -> pa.Array:
        """Return the number of each row's list."""
        encoded = pc.fill_null(texts, self.default).dictionary_encode()
        for text in encoded.dictionary.to_pylist():
            if text not in self.numbers_by_text:
                names = tuple(read_splits(("", {"split": text}), self.default))
                number = self.numbers_by_list.setdefault(names, len(self.numbers_by_list))
                self.numbers_by_text[text] = number
        numbers = [self.numbers_by_text[text] for text in encoded.dictionary.to_pylist()]
        return pa.array(numbers, pa.int32()).take(encoded.indices)

    def make_column(self, numbers: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the lists of rows, by their numbers."""
        lists = pa.array(list(self.numbers_by_list), pa.list_(pa.string()))
        return pa.chunked_array([lists.take(chunk) for chunk in numbers.chunks], lists.type)


def read_tables(path: Path, *, default_split: str) -> tuple[pa.Table, pa.Table]:
    """Return the CLIPS and SAMPLES rows of a table, in the order of its rows.

    Args:
        path: Of a CSV, JSON lines or Parquet file; paths in it are relative to its folder.
        default_split: Of rows that name none.

    Raises:
        UnusualError: Something in it is wrong, or not as this module expects it.
    """
    splits = _SplitLists(default_split)
    try:
        batches = [
            _make_rows(num_rows, columns, splits, path.parent)
            for num_rows, columns in iter_columns(path)
            if num_rows
        ]
    except (DataError, ValueError, pa.ArrowException) as error:
        # A ValueError: half of a surrogate pair in the name of a column.
        raise UnusualError from error
    if not batches:
        raise UnusualError

    rows = pa.Table.from_batches(batches)
    del batches
    if pc.count_distinct(rows["sample_id"]).as_py() != len(rows):
        raise UnusualError
    clips = _find_clips(rows)

    clips = clips.append_column("splits", splits.make_column(clips["splits_number"]))
    samples = rows.append_column("splits", splits.make_column(rows["splits_number"]))
    samples = samples.append_column("audio_clip_id", pa.nulls(len(rows), pa.string()))
    return (
        clips.select(CLIPS.columns.names).cast(CLIPS.columns),
        samples.select(SAMPLES.columns.names).cast(SAMPLES.columns),
    )


def read_split_names(path: Path, *, default_split: str) -> set[str]:
    """Return the splits that the rows of a table name.

    Raises:
        UnusualError: As ``read_tables``.
    """
    splits = _SplitLists(default_split)
    try:
        for num_rows, columns in iter_columns(path):
            splits.find_numbers(_find_text(columns, "split", num_rows))
    except DataError as error:
        raise UnusualError from error
    if not splits.numbers_by_list:
        raise UnusualError
    return {name for names in splits.numbers_by_list for name in names}


def _make_rows(
    num_rows: int, columns: Columns, splits: _SplitLists, folder: Path
) -> pa.RecordBatch:
    """Return what some rows say of their clips and samples."""
    # Pictures and sounds are read one by one.
    if not columns.keys().isdisjoint(("audio_path", "mask_path")):
        raise UnusualError

    # Ids and times as the rule for one row wants them.
    clip_ids = _find_text(columns, "id", num_rows)
    is_plain = pc.and_(
        pc.match_substring_regex(clip_ids, _PLAIN_ID),
        pc.less_equal(pc.binary_length(clip_ids), MAX_ID_BYTES),
    )
    _require(pc.fill_null(is_plain, False))

    start, end, time = (_find_numbers(columns, name, num_rows) for name in ("start", "end", "time"))
    _require(pc.greater(end, pc.fill_null(start, 0.0)))
    _require(pc.less_equal(time, pc.subtract(end, start)))
    for seconds in (start, end, time):
        _require(pc.less(seconds, MAX_SECONDS))

    video_ids, urls = _find_sources(columns, num_rows, folder)
    boxes = _read_all_boxes(columns, num_rows)

    # Clips and samples together: both tables are made from these rows when all have been read.
    box_type, annotator_type = (SAMPLES.columns.field(n).type for n in ("boxes", "box_annotators"))
    return pa.RecordBatch.from_pydict(
        {
            "clip_id": clip_ids,
            "video_id": video_ids,
            "url": urls,
            "start_seconds": start,
            "end_seconds": end,
            "splits_number": splits.find_numbers(_find_text(columns, "split", num_rows)),
            "sample_id": _make_sample_ids(clip_ids, time),
            "time_seconds": time,
            "label": _find_text(columns, "label", num_rows),
            "boxes": pa.array(boxes, box_type),
            "box_annotators": pa.array([[0] * len(one) for one in boxes], annotator_type),
            "attributes": _make_attributes(columns, num_rows),
        }
    )


def _require(is_right: pa.Array) -> None:
    # Where a value is absent, there is nothing to compare.
    if pc.all(is_right).as_py() is False:
        raise UnusualError


def _find_text(columns: Columns, name: str, num_rows: int) -> pa.Array:
    return read_text(columns[name]) if name in columns else pa.nulls(num_rows, pa.string())


def _find_numbers(columns: Columns, name: str, num_rows: int) -> pa.Array:
    return read_numbers(columns[name]) if name in columns else pa.nulls(num_rows, pa.float64())


def _find_sources(columns: Columns, num_rows: int, folder: Path) -> tuple[pa.Array, pa.Array]:
    """Return the videos and addresses of rows, each of which has a url or a path."""
    urls, paths = (_find_text(columns, name, num_rows) for name in ("url", "path"))
    _require(pc.xor(pc.is_valid(urls), pc.is_valid(paths)))
    _require(pc.match_substring_regex(urls, _PLAIN_URL))

    # A video can have addresses of several forms (`find_video_id`); most are their own id.
    has_forms = pc.match_substring_regex(urls, "youtu|^file:|#t=", ignore_case=True)
    has_forms = pc.fill_null(has_forms, False)
    found = [find_video_id(url) for url in urls.filter(has_forms).to_pylist()]
    video_ids = pc.replace_with_mask(urls, has_forms, pa.array(found, pa.string()))
    if not paths.null_count < num_rows:
        return video_ids, urls

    is_path = pc.is_valid(paths)
    files = [_normalize(text, folder) for text in paths.filter(is_path).to_pylist()]
    addresses = ["file://" + urllib.parse.quote(os.fsencode(file)) for file in files]
    return (
        pc.replace_with_mask(video_ids, is_path, pa.array(files, pa.string())),
        pc.replace_with_mask(urls, is_path, pa.array(addresses, pa.string())),
    )


def _normalize(text: str, folder: Path) -> str:
    if not text or text.startswith("~") or "\0" in text:
        raise UnusualError
    return os.path.normpath(os.path.join(folder, text))


def _make_sample_ids(clip_ids: pa.Array, time: pa.Array) -> pa.Array:
    """Return the ids of samples, as ``sample_id_of`` makes them."""
    if time.null_count == len(time):
        return clip_ids
    milliseconds = np.rint(np.nan_to_num(time.to_numpy(zero_copy_only=False) * 1000))
    text = pa.array(milliseconds.astype(np.int64)).cast(pa.string())
    return pc.if_else(
        pc.is_valid(time),
        pc.binary_join_element_wise(clip_ids, pc.utf8_lpad(text, 8, "0"), "@"),
        clip_ids,
    )


def _read_all_boxes(columns: Columns, num_rows: int) -> list[list[list[float]]]:
    """Return the boxes of each row; most rows of a large table have none, and share one list."""
    nothing: list[list[float]] = []
    found = [nothing] * num_rows
    names = [name for name in ("boxes", "frame_width", "frame_height") if name in columns]
    if not names:
        return found

    is_set = np.zeros(num_rows, bool)
    for name in names:
        is_set |= columns[name].is_valid().to_numpy(zero_copy_only=False)
    numbers = np.flatnonzero(is_set)
    values = [columns[name].take(pa.array(numbers)).to_pylist() for name in names]
    for number, *row in zip(numbers, *values, strict=True):
        record: Mapping[str, Any] = {
            name: value for name, value in zip(names, row, strict=True) if value is not None
        }
        found[number] = read_boxes("", record)
    return found


def _make_attributes(columns: Columns, num_rows: int) -> pa.Array:
    """Return the columns without a meaning of their own as attributes of each row."""
    names = [name for name in columns if name not in COLUMNS]
    kind = SAMPLES.columns.field("attributes").type
    if not names:
        return pa.array([()] * num_rows, kind)

    texts = [read_text(columns[name]) for name in names]
    is_set = np.stack([text.is_valid().to_numpy(zero_copy_only=False) for text in texts], axis=1)
    rows, places = np.nonzero(is_set)  # row by row, as a map holds them
    offsets = np.concatenate([[0], np.cumsum(is_set.sum(axis=1))])
    values = pa.concat_arrays(texts).take(pa.array(places * num_rows + rows))
    keys = pa.array(names, pa.string()).take(pa.array(places))
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, values).cast(kind)


def _find_clips(rows: pa.Table) -> pa.Table:
    """Return the first row of each clip; all rows of a clip must say the same of it."""
    if pc.count_distinct(rows["clip_id"]).as_py() == len(rows):
        return rows

    numbers = number_values(rows["clip_id"])
    _, first = np.unique(numbers, return_index=True)
    for name in _CLIP_COLUMNS:
        values = number_values(rows[name])
        if (values[first][numbers] != values).any():
            raise UnusualError
    return rows.take(pa.array(first))
