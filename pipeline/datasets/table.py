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

import contextlib
import json
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError, quote
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES, Schema
from pipeline.base.parameters import IS_PATH
from pipeline.datasets.dataset import Dataset
from pipeline.lists.column_samples import read_split_names, read_tables
from pipeline.lists.record_columns import UnusualError, iter_columns
from pipeline.lists.record_files import Record, read_records
from pipeline.lists.record_samples import (
    clip_id_of,
    find_likely_columns,
    find_video_id,
    make_sample,
    read_cell,
    read_seconds,
    read_splits,
    require,
    require_new_sample,
    warn_of_columns,
)
from pipeline.lists.selection import Chooser, Selection

_ROWS_PER_BATCH = 10_000
_STATE_NAME = "videos.json"  # as they were at the last build


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.NAME`` of params.yaml."""

    path: str = field(metadata=IS_PATH)  # the file
    kind: Literal["table"] = "table"  # makes a section of any name a dataset of this kind
    split: str = "table"  # of rows that name none

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path.strip():
            raise ValueError("path is empty, expected a CSV, JSON lines or Parquet file")
        if not all(name.strip() for name in self.split.split(";")):
            raise ValueError(f"split is {self.split!r}, expected a name, with ';' between several")


class _Rows:
    """The rows of a table that were read so far."""

    def __init__(self, schema: Schema):
        self._schema = schema.columns
        # In batches, because rows as Python values take ten times the memory of a table.
        self._batches: list[pa.RecordBatch] = []
        self._rest: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Enter a row."""
        self._rest.append(row)
        if len(self._rest) >= _ROWS_PER_BATCH:
            self._close_batch()

    def make_table(self) -> pa.Table:
        """Return all rows, in the order in which they were entered."""
        self._close_batch()
        return pa.Table.from_batches(self._batches, self._schema)

    def _close_batch(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rest, self._schema))
        self._rest = []


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES in the order of the file's rows."""
    path = Path(parameters.path).expanduser().absolute()
    chooser = Chooser(parameters)
    try:
        clips, samples = read_tables(path, default_split=parameters.split)
    except UnusualError:
        # Row by row, and the first wrong row is an error.
        clips, samples = _read_rows(path, default_split=parameters.split)
    _warn_of_columns(path, samples)
    if not chooser.takes_all:
        clips, samples = _choose(chooser, clips, samples)
    clips = chooser.finish(clips)

    # Last: after a build that fails, `refresh` still sees that a video changed.
    files = clips["url"].filter(pc.starts_with(clips["url"], "file:", ignore_case=True))
    media = _describe_media(files.to_pylist())
    publish_text(Path(cache_dir) / _STATE_NAME, json.dumps(media) + "\n")
    return clips, samples


def _read_rows(path: Path, *, default_split: str) -> tuple[pa.Table, pa.Table]:
    clips, samples = _Rows(CLIPS), _Rows(SAMPLES)
    # All rows of a clip name the same section of the same video. A hash stands for that, to
    # save room.
    hash_of_clip: dict[str, int] = {}
    sample_ids: set[str] = set()

    for record in read_records(path):
        clip, sample = _read_row(record, folder=path.parent, default_split=default_split)
        clip_id, splits = clip["clip_id"], tuple(clip["splits"])
        clip_hash = hash(tuple({**clip, "splits": splits}.values()))
        if clip_id not in hash_of_clip:
            hash_of_clip[clip_id] = clip_hash
            clips.add(clip)
        elif hash_of_clip[clip_id] != clip_hash:
            raise DataError(
                f"{record[0]}: clip {quote(clip_id)} has another source, section or split in a row "
                "before"
            )

        require_new_sample(sample["sample_id"], sample_ids, record[0])
        sample_ids.add(sample["sample_id"])
        samples.add(sample)
    return clips.make_table(), samples.make_table()


def _warn_of_columns(path: Path, samples: pa.Table) -> None:
    keys = pa.chunked_array([chunk.keys for chunk in samples["attributes"].chunks], pa.string())
    attributes = find_likely_columns(pc.unique(keys).to_pylist())
    # Most files have no such attribute, so their columns need no further look.
    if attributes:
        try:
            columns = set(next(iter_columns(path))[1])
        except UnusualError:
            columns = {name for _, values in read_records(path) for name in values}
        warn_of_columns(path, attributes, columns)


def _choose(chooser: Chooser, clips: pa.Table, samples: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the rows that are used, with the splits in which they are."""
    names = zip(clips["clip_id"].to_pylist(), clips["splits"].to_pylist(), strict=True)
    used = chooser.choose_splits(dict(names))
    ids = pa.array(list(used), pa.string())
    splits = pa.array(list(used.values()), pa.list_(pa.string()))

    chosen = []
    for table in (clips, samples):
        places = pc.index_in(table["clip_id"], ids)
        rows = table.filter(pc.is_valid(places))
        place = rows.schema.get_field_index("splits")
        chosen.append(
            rows.set_column(place, rows.schema.field(place), splits.take(places.drop_null()))
        )
    return chosen[0], chosen[1]


def has_changed(parameters: Parameters, *, cache_dir: Path) -> bool:
    """Return whether a video on this machine differs from the last build, by size or time."""
    try:
        recorded = json.loads((Path(cache_dir) / _STATE_NAME).read_text())
    except (FileNotFoundError, ValueError):
        # Nobody knows what the tables were made from.
        return True
    # The keys of the record are the addresses of the videos.
    return recorded != _describe_media(recorded)


def find_splits(parameters: Parameters) -> set[str] | None:
    """Return the splits that the file's rows name; None without the file."""
    path = Path(parameters.path).expanduser()
    if not path.is_file():
        return None
    with contextlib.suppress(UnusualError):
        return read_split_names(path, default_split=parameters.split)
    return {name for record in read_records(path) for name in read_splits(record, parameters.split)}


def _describe_media(urls: Iterable[str]) -> dict[str, list[int] | None]:
    """Return size in bytes and modification time in ns of the videos on this machine."""
    facts: dict[str, list[int] | None] = {}
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "file":
            try:
                # As bytes: names of files need not be UTF-8.
                status = os.stat(urllib.parse.unquote_to_bytes(parts.path))
                facts[url] = [status.st_size, status.st_mtime_ns]
            except (OSError, ValueError):  # a name with a zero byte
                facts[url] = None
    return facts


def _read_row(
    record: Record, *, folder: Path, default_split: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the clip and the sample that one row of the file describes."""
    where, values = record
    clip_id = _read_id(where, values)
    splits = read_splits(record, default_split)

    start, end = _read_section(where, values)
    clip = {
        "clip_id": clip_id,
        **_read_source(where, values, folder),
        "start_seconds": start,
        "end_seconds": end,
        "splits": splits,
    }

    sample = make_sample(record, clip_id, splits)
    time_seconds = sample["time_seconds"]
    if start is not None and end is not None and time_seconds is not None:
        require(where, "time", time_seconds, time_seconds <= end - start, "a time in the clip")
    return clip, sample


def _read_id(where: str, values: Mapping[str, Any]) -> str:
    text = read_cell(where, values, "id").strip() if "id" in values else ""
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
        # Without `..`: rows that name one file in two ways must agree.
        # Not by `Path`, which has no path for a `~name` of nobody.
        text = read_cell(where, values, "path")
        path = Path(os.path.normpath(folder / os.path.expanduser(text)))
        return {"video_id": str(path), "url": "file://" + urllib.parse.quote(os.fsencode(path))}

    url = read_cell(where, values, "url")
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError:
        # `urlsplit` refuses some texts, such as one with a single bracket.
        scheme = ""

    if scheme not in ("http", "https", "file"):
        raise DataError(f"{where}, column url: is {quote(url)}, expected http, https or file")
    return {"video_id": find_video_id(url), "url": url}


def _read_section(where: str, values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    start, end = read_seconds(where, values, "start"), read_seconds(where, values, "end")
    if end is not None:
        require(where, "end", end, end > (start or 0), f"more than start ({start or 0:g})")
    return start, end


DATASET = Dataset(
    name="table",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    find_splits=find_splits,
    is_linked=True,
    # A list of AVE or AVSBench has videos that VGG-Sound has, too, under other ids.
    may_share_clips=True,
    has_changed=has_changed,
    path_parameters=("path",),
)
