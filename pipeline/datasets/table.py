"""Datasets of the kind ``table``: a file of yours that says which clips and samples there are.

CSV, JSON lines or Parquet, one row a sample:

| column | meaning |
|---|---|
| ``id`` | of the clip; rows with one id are samples of one clip and differ in ``time`` |
| ``url`` or ``path`` | where the video is; a path is relative to the file |
| ``audio_path`` | its sound, in a file of its own; then ``path`` may be a picture, too |
| ``start``, ``end`` | seconds; the clip is this section of the video |
| ``time`` | seconds on the clip's timeline; without it the sample lies at the centre |
| ``label`` | what sounds |
| ``split`` | names, with ``;`` between several; without it ``split`` of the parameters |
| ``boxes`` | ``[[x1, y1, x2, y2], ...]`` as parts of the frame |
| ``frame_width``, ``frame_height`` | if they are there, boxes are in pixels of such a frame |
| ``mask_path`` | a picture of what sounds |
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

from earshot.errors import DataError, MediaError, quote
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES, Schema
from pipeline.base.parameters import IS_PATH
from pipeline.base.progress import Progress
from pipeline.datasets.dataset import Dataset
from pipeline.lists.column_samples import read_split_names, read_tables
from pipeline.lists.masks import ATTRIBUTE, encode_mask, read_mask
from pipeline.lists.published_lists import log
from pipeline.lists.record_columns import UnusualError, iter_columns
from pipeline.lists.record_files import Record, read_records
from pipeline.lists.record_samples import (
    clip_id_of,
    find_likely_columns,
    find_video_id,
    make_sample,
    read_cell,
    read_path,
    read_seconds,
    read_splits,
    require,
    require_new_sample,
    warn_of_columns,
)
from pipeline.lists.selection import Chooser, Selection
from pipeline.media.joined_files import JoinedFiles
from pipeline.media.mux import mux, mux_still

_ROWS_PER_BATCH = 10_000
_STATE_NAME = "videos.json"  # as they were at the last build
_PICTURES = (".jpg", ".jpeg", ".png")


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


@dataclass
class _Files:
    """Files of rows besides their videos."""

    sounds: dict[str, Path] = field(default_factory=dict)  # by the id of the clip
    masks: list[Path] = field(default_factory=list)


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES in the order of the file's rows.

    Joins clips with sounds of their own in ``cache_dir/remote``.
    """
    path = Path(parameters.path).expanduser().absolute()
    chooser = Chooser(parameters)
    files = _Files()
    try:
        clips, samples = read_tables(path, default_split=parameters.split)
    except UnusualError:
        # Row by row, and the first wrong row is an error.
        clips, samples, files = _read_rows(path, default_split=parameters.split)
    _warn_of_columns(path, samples)
    if not chooser.takes_all:
        clips, samples = _choose(chooser, clips, samples)
    clips = chooser.finish(clips)

    # The files of the user, not the joined ones.
    videos = clips["url"].filter(pc.starts_with(clips["url"], "file:", ignore_case=True))
    others = [file.as_uri() for file in (*files.sounds.values(), *files.masks)]
    media = _describe_media([*videos.to_pylist(), *others])
    if files.sounds:
        clips = _join_sounds(clips, files.sounds, cache_dir=Path(cache_dir))

    # Last: after a build that fails, `refresh` still sees that a video changed.
    publish_text(Path(cache_dir) / _STATE_NAME, json.dumps(media) + "\n")
    return clips, samples


def _join_sounds(clips: pa.Table, sounds: Mapping[str, Path], *, cache_dir: Path) -> pa.Table:
    """Return the clips with the addresses of files that have picture and sound."""
    remote_dir = cache_dir.absolute() / "remote"
    joined_files = JoinedFiles(remote_dir)
    columns = clips.select(["clip_id", "video_id", "url"]).to_pydict()
    urls = columns["url"]
    chosen = [row for row, clip_id in enumerate(columns["clip_id"]) if clip_id in sounds]

    with Progress(len(chosen), "joining picture and sound", unit="clip") as progress:
        for row in chosen:
            # The id of such a clip's video is the path of its picture (`_read_source`).
            clip_id, picture = columns["clip_id"][row], Path(columns["video_id"][row])
            sources = (picture, sounds[clip_id])
            absent = next((path for path in sources if not path.is_file()), None)
            joined = None if absent else _join_one(clip_id, *sources, joined_files)

            # Where nothing was joined, the download stage says that there is no such file.
            file = joined or absent or remote_dir / f"{clip_id}.absent"
            urls[row] = file.as_uri()
            progress.update(num_failed=joined is None)

    joined_files.save()
    place = clips.schema.get_field_index("url")
    return clips.set_column(place, clips.schema.field(place), [urls])


def _join_one(clip_id: str, picture: Path, sound: Path, joined_files: JoinedFiles) -> Path | None:
    join = mux_still if picture.suffix.lower() in _PICTURES else mux
    try:
        return joined_files.make(clip_id, picture, sound, join=join)
    except MediaError as error:
        log.warning("%s: %s", clip_id, error)
        return None


def _read_rows(path: Path, *, default_split: str) -> tuple[pa.Table, pa.Table, _Files]:
    clips, samples, files = _Rows(CLIPS), _Rows(SAMPLES), _Files()
    # All rows of a clip name the same section of the same video. A hash stands for that, to
    # save room.
    hash_of_clip: dict[str, int] = {}
    sample_ids: set[str] = set()

    for record in read_records(path):
        clip, sample = _read_row(record, folder=path.parent, default_split=default_split)
        clip_id, splits = clip["clip_id"], tuple(clip["splits"])
        sound = _read_sound(record, path.parent)
        if sound is not None:
            files.sounds[clip_id] = sound
        if "mask_path" in record[1]:
            files.masks.append(read_path(*record, "mask_path", path.parent))
            sample["attributes"].append((ATTRIBUTE, _read_mask(record[0], files.masks[-1])))

        clip_hash = hash((*({**clip, "splits": splits}.values()), sound))
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
    return clips.make_table(), samples.make_table(), files


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
        path = read_path(where, values, "path", folder)
        return {"video_id": str(path), "url": path.as_uri()}

    url = read_cell(where, values, "url")
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError:
        # `urlsplit` refuses some texts, such as one with a single bracket.
        scheme = ""

    if scheme not in ("http", "https", "file"):
        raise DataError(f"{where}, column url: is {quote(url)}, expected http, https or file")
    return {"video_id": find_video_id(url), "url": url}


def _read_sound(record: Record, folder: Path) -> Path | None:
    """Return the file that has the sound of a row's video; None where the video has it."""
    where, values = record
    if "audio_path" not in values:
        return None
    if "path" not in values:
        raise DataError(
            f"{where}, column audio_path: is {quote(str(values['audio_path']))}, expected none: "
            "only a video or picture of the column path is joined with a sound"
        )
    return read_path(where, values, "audio_path", folder)


def _read_mask(where: str, path: Path) -> str:
    try:
        return encode_mask(read_mask(path))
    except DataError as error:
        raise DataError(f"{where}, column mask_path: {error}") from None


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
