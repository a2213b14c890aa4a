"""The dataset ``local``: a folder of the user's own videos, searched recursively.

A table beside the folder (``annotations``) may give labels, boxes, times and splits to files of it.

Every regular file that is not hidden becomes a clip, whatever its suffix. A file that is no media
(a README, a picture) then ends in the downloads table as missing with a reason, so that nothing is
skipped silently. Hidden files and folders, ``ignore`` patterns, devices and folders that cannot be
read are named in ``listing.json`` in the dataset's cache.

``listing.json`` also holds the size and modification time of each file, by which
``earshot refresh`` notices that the folder changed, and the durations that were read, so that a
second look at a large folder is quick.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av.error
import pyarrow as pa

from earshot.errors import DataError, MediaError, quote
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.parameters import IS_PATH
from pipeline.datasets.dataset import Attribute, Dataset
from pipeline.lists.folder_walk import FolderWalk, Listing
from pipeline.lists.record_files import Record, read_records
from pipeline.lists.record_samples import (
    COLUMNS,
    MIN_EVERY_SECONDS,
    clip_id_of,
    find_likely_columns,
    make_sample,
    printable,
    read_splits,
    require,
    require_new_sample,
    sample_id_of,
    times_of,
    warn_of_columns,
)
from pipeline.lists.rows import make_file_clip, make_sample_row
from pipeline.lists.selection import Chooser, Selection
from pipeline.media.files.container import open_container
from pipeline.media.files.timeline import choose_stream, find_duration
from pipeline.media.recordings import find_recordings, may_have_recordings

LISTING_NAME = "listing.json"
_LISTING_VERSION = 1
# Of annotations: a clip is a whole file of the folder.
_REFUSED_COLUMNS = ("url", "start", "end", "id", "audio_path", "mask_path")


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.local`` of params.yaml."""

    folder: str = field(metadata=IS_PATH)  # where the videos are
    # null: one sample at the centre of each clip; N: one in the middle of every whole N seconds
    every_seconds: float | None = None
    ignore: tuple[str, ...] = ()  # patterns (`*.srt`, `old/*`) of relative paths to leave out
    split: str = "local"  # of files to which `annotations` gives none
    # A table (CSV, JSON lines or Parquet) with the column path, relative to the folder, and any of
    # time, label, split, boxes, frame_width, frame_height
    annotations: str | None = field(default=None, metadata=IS_PATH)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folder.strip():
            raise ValueError("folder is empty, expected the path of a folder with videos")
        if self.every_seconds is not None and not self.every_seconds >= MIN_EVERY_SECONDS:
            raise ValueError(
                f"every_seconds is {self.every_seconds}, expected {MIN_EVERY_SECONDS} or more, "
                "or null"
            )


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES in the order of the relative paths.

    Writes ``cache_dir/listing.json``.
    """
    folder = folder_of(parameters)
    listing = list_folder(parameters, cache_dir=cache_dir)
    if not listing.files:
        raise DataError(
            f"{folder}: holds no file to use ({len(listing.skipped)} skipped), expected videos"
        )

    # Which clips there are, and which of them are used.
    paths = _find_ids(folder, listing)
    annotated = _read_annotations(parameters, folder, paths)
    # All rows of a clip have the same splits (`_read_annotations`).
    splits = {name: rows[0]["splits"] for name, rows in annotated.items()}
    chooser = Chooser(parameters)
    used = chooser.choose_splits({name: splits.get(name, [parameters.split]) for name in paths})

    # A duration costs opening the file, so find it only where samples depend on it.
    durations: dict[str, float | None] = {}
    if parameters.every_seconds is not None:
        durations = _find_durations(folder, listing, read_listing(cache_dir))

    clip_rows, sample_rows = [], []
    for clip_id, clip_splits in used.items():
        relative_path = paths[clip_id]
        clip_rows.append(make_file_clip(clip_id, folder / relative_path, clip_splits))

        # Rows of the table are samples of their own. All other files have theirs by the clock.
        rows = annotated.get(clip_id)
        if rows is None:
            rows = [
                make_sample_row(
                    sample_id_of(clip_id, time_seconds),
                    clip_id,
                    time_seconds=time_seconds,
                    splits=clip_splits,
                    attributes=[("path", printable(relative_path))],
                )
                for time_seconds in times_of(durations.get(relative_path), parameters.every_seconds)
            ]
        sample_rows += [row | {"splits": clip_splits} for row in rows]

    # Last: after a build that fails, `refresh` still sees that the folder changed.
    _write_listing(cache_dir, folder, listing, durations)
    return (
        chooser.finish(pa.Table.from_pylist(clip_rows, schema=CLIPS.columns)),
        pa.Table.from_pylist(sample_rows, schema=SAMPLES.columns),
    )


def _find_ids(folder: Path, listing: Listing) -> dict[str, str]:
    """Return the relative path of each clip by its id."""
    paths: dict[str, str] = {}
    for relative_path in listing.files:
        # Files in the cache are named by their clip, so two paths must not share an id.
        clip_id = clip_id_of(relative_path)
        if clip_id in paths:
            raise DataError(
                f"{folder}: {relative_path!r} and {paths[clip_id]!r} have one id, {clip_id}; "
                "rename one"
            )
        paths[clip_id] = relative_path
    return paths


def _read_annotations(
    parameters: Parameters, folder: Path, paths: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the SAMPLES rows that the table gives, by clip id."""
    if parameters.annotations is None:
        return {}

    path = Path(parameters.annotations).expanduser().absolute()
    columns: set[str] = set()
    samples: dict[str, dict[str, Any]] = {}
    for record in read_records(path):
        columns |= record[1].keys()
        clip_id = _find_clip(record, folder, paths)
        splits = read_splits(record, parameters.split)
        sample = make_sample(record, clip_id, splits)
        sample["attributes"].insert(0, ("path", printable(paths[clip_id])))
        require_new_sample(sample["sample_id"], samples, record[0])
        samples[sample["sample_id"]] = sample

    attributes = sorted(columns.difference(COLUMNS))
    warn_of_columns(path, find_likely_columns(attributes), columns.union(_REFUSED_COLUMNS))

    rows: dict[str, list[dict[str, Any]]] = {}
    for sample in samples.values():
        rows.setdefault(sample["clip_id"], []).append(sample)
    # Splits are those of a clip: all its samples are in them.
    for clip_id, found in rows.items():
        splits = list(dict.fromkeys(split for row in found for split in row["splits"]))
        if any(set(row["splits"]) != set(splits) for row in found):
            raise DataError(
                f"{parameters.annotations}: {quote(paths[clip_id])} is in other splits in another "
                "row, expected the same in all its rows"
            )
    return rows


def _find_clip(record: Record, folder: Path, paths: Mapping[str, str]) -> str:
    """Return the clip that a row is about."""
    where, values = record
    for column in _REFUSED_COLUMNS:
        if column in values:
            raise DataError(
                f"{where}, column {column}: is {quote(str(values[column]))}, expected no such "
                "column: a clip is a whole file of the folder, which the column path names (a "
                "dataset of kind table has more columns)"
            )

    found = str(values.get("path", ""))
    clip_id = clip_id_of(os.path.normpath(found)) if found else ""
    require(where, "path", found, clip_id in paths, f"a file of {folder}")
    return clip_id


def _find_durations(folder: Path, listing: Listing, known: dict) -> dict[str, float | None]:
    """Return the duration of each file; open only files that changed since the last listing."""
    durations: dict[str, float | None] = {}
    for relative_path, facts in listing.files.items():
        # The same size and time: the duration that was read then still holds.
        is_known = known.get("files", {}).get(relative_path) == facts
        if is_known and relative_path in known.get("durations", {}):
            durations[relative_path] = known["durations"][relative_path]
        else:
            durations[relative_path] = probe_duration(folder / relative_path)
    return durations


def folder_of(parameters: Parameters) -> Path:
    """Return the absolute path of the folder.

    Raises:
        DataError: There is no such folder.
    """
    folder = Path(parameters.folder).expanduser().absolute()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(
            f"sources.local.folder is {parameters.folder!r}: found {found}, "
            "expected a folder with videos"
        )
    return folder


def list_folder(parameters: Parameters, *, cache_dir: Path) -> Listing:
    """List every file below the folder, sorted by relative path.

    Links to files and folders are followed, those to folders last, so that a file keeps its own
    path. A folder that was visited already (a loop, or a link beside its target) is not entered
    again. Earshot's own cache is left out where the folder contains it.
    """
    folder = folder_of(parameters)
    own_caches = {os.path.realpath(cache_dir), os.path.realpath(Path(cache_dir).parent)}
    # A user can name a cache as the folder. It is then what they want.
    walk = FolderWalk(folder, parameters.ignore, own_caches - {os.path.realpath(folder)})
    walk.run()

    files = sorted(walk.listing.files.items(), key=lambda item: os.fsencode(item[0]))
    return Listing(dict(files), walk.listing.skipped)


def read_listing(cache_dir: Path) -> dict:
    """Return what the last build recorded.

    The mapping is empty if there is no record, or one of another version.
    """
    try:
        recorded = json.loads((Path(cache_dir) / LISTING_NAME).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    is_readable = isinstance(recorded, dict) and recorded.get("version") == _LISTING_VERSION
    return recorded if is_readable else {}


def has_changed(parameters: Parameters, *, cache_dir: Path) -> bool:
    """Return whether the folder's files differ from the last build, by path, size or time.

    Raises:
        DataError: There is no such folder, or it is empty.
    """
    recorded = read_listing(cache_dir)
    files = list_folder(parameters, cache_dir=cache_dir).files
    # A disk that is not mounted leaves an empty folder.
    if not files:
        raise DataError(f"{folder_of(parameters)}: holds no file, expected videos")

    # The record is JSON, so it has the folder's name as UTF-8.
    return (
        recorded.get("folder") != str(folder_of(parameters)).encode("utf-8", "replace").decode()
        or recorded.get("files") != files
    )


def find_splits(parameters: Parameters) -> set[str] | None:
    """Return the splits of all files; None without the table that names them."""
    if parameters.annotations is None:
        return {parameters.split}
    path = Path(parameters.annotations).expanduser()
    if not path.is_file():
        return None

    # Files without a row are in the split of the parameters.
    named = {
        name for record in read_records(path) for name in read_splits(record, parameters.split)
    }
    return {parameters.split, *named}


def probe_duration(path: Path) -> float | None:
    """Return the seconds that a video lasts; None for what is no readable video."""
    try:
        with open_container(path) as container:
            if choose_stream(container, "video") is None:
                return None

            # Each recording of a file restarts the clock, so add their durations.
            may_be_several = may_have_recordings(container.format.name)
            recordings = find_recordings(path) if may_be_several else None
            if recordings is not None:
                return sum(recordings.durations_seconds)
            return find_duration(container)
    except (av.error.FFmpegError, OSError, ValueError, MediaError):
        return None  # the download stage probes again and records the reason


def _write_listing(
    cache_dir: Path, folder: Path, listing: Listing, durations: dict[str, float | None]
) -> None:
    content = {
        "version": _LISTING_VERSION,
        "folder": str(folder).encode("utf-8", "replace").decode(),
        "files": listing.files,
        "skipped": listing.skipped,
        "durations": durations,
    }
    publish_text(Path(cache_dir) / LISTING_NAME, json.dumps(content, indent=0) + "\n")


DATASET = Dataset(
    name="local",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    find_splits=find_splits,
    is_linked=True,
    may_share_clips=True,
    has_changed=has_changed,
    path_parameters=("annotations",),
    attributes={"path": Attribute({None: "file {}"})},
)
