"""The ``local`` dataset: a folder of the user's own videos, searched recursively; no ground truth.

Every regular file that is not hidden becomes a clip, whatever its suffix: what is not media (a README, a picture) then
ends in the downloads table as missing with a reason, and is not passed over in silence. Hidden files and folders,
``ignore`` patterns, devices and folders that cannot be read are counted and named in ``listing.json`` beside the cache.

``listing.json`` also holds the size and modification time of each file, by which ``python -m pipeline refresh`` sees
that the folder changed, and the durations that were probed, so that a second look at a large folder is quick.
"""

import fnmatch
import hashlib
import json
import math
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import av.error
import pyarrow as pa

from earshot.errors import DataError, MediaError
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES
from pipeline.datasets.dataset import Attribute, Dataset
from pipeline.media.container import open_container
from pipeline.media.mpegts_joins import find_recordings
from pipeline.media.timeline import choose_stream, find_duration

LISTING_NAME = "listing.json"
_LISTING_VERSION = 1
_UNSAFE = re.compile(r"[^\w.\-]+")
_MAX_ID_BYTES = (
    120  # file names hold 255 bytes; shards and temporary files add their own prefixes and suffixes
)


@dataclass(frozen=True)
class Parameters:
    """Section ``sources.local``.

    ``folder``: where the videos are. ``every_seconds``: None gives one sample at the centre of each clip, a number N
    one sample in the middle of every whole N seconds. ``ignore``: patterns (``*.srt``, ``old/*``) of relative paths
    that are left out. ``split``: the name under which the samples are found.
    """

    folder: str
    every_seconds: float | None = None
    ignore: tuple[str, ...] = ()
    split: str = "local"

    def __post_init__(self):
        if not self.folder.strip():
            raise ValueError("folder is empty, expected the path of a folder with videos")
        if self.every_seconds is not None and not (
            math.isfinite(self.every_seconds) and self.every_seconds > 0
        ):
            raise ValueError(
                f"every_seconds is {self.every_seconds}, expected a number > 0 or null"
            )


@dataclass
class Listing:
    """What is in a folder: ``files`` maps relative path -> [size in bytes, mtime in ns]; ``skipped`` path -> why."""

    files: dict[str, list[int]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """CLIPS and SAMPLES, in the order of the relative paths; writes ``cache_dir/listing.json``."""
    folder = folder_of(parameters)
    listing = list_folder(parameters, cache_dir=cache_dir)
    if not listing.files:
        raise DataError(
            f"{folder}: holds no file to use ({len(listing.skipped)} skipped), expected videos"
        )
    known = read_listing(cache_dir)
    durations = {}
    clip_rows, sample_rows, paths_by_id = [], [], {}
    for relative_path, facts in listing.files.items():
        clip_id = clip_id_of(relative_path)
        if clip_id in paths_by_id:
            raise DataError(
                f"{folder}: {relative_path!r} and {paths_by_id[clip_id]!r} have one id, {clip_id}; rename one"
            )
        paths_by_id[clip_id] = relative_path
        path = folder / relative_path
        clip_rows.append(
            {
                "clip_id": clip_id,
                "video_id": clip_id,
                "url": "file://" + quote(os.fsencode(path)),
                "start_seconds": None,
                "end_seconds": None,
                "splits": [parameters.split],
            }
        )
        times = [None]
        if parameters.every_seconds is not None:
            if known.get("files", {}).get(relative_path) == facts and relative_path in known.get(
                "durations", {}
            ):
                durations[relative_path] = known["durations"][relative_path]
            else:
                durations[relative_path] = probe_duration(path)
            times = times_of(durations[relative_path], parameters.every_seconds)
        for time_seconds in times:
            sample_rows.append(
                {
                    "sample_id": clip_id
                    if time_seconds is None
                    else f"{clip_id}@{round(time_seconds * 1000):08d}",
                    "clip_id": clip_id,
                    "time_seconds": time_seconds,
                    "splits": [parameters.split],
                    "label": None,
                    "boxes": [],
                    "box_annotators": [],
                    "audio_clip_id": None,
                    "attributes": [("path", _printable(relative_path))],
                }
            )
    _write_listing(cache_dir, folder, listing, durations)
    return (
        pa.Table.from_pylist(clip_rows, schema=CLIPS.columns),
        pa.Table.from_pylist(sample_rows, schema=SAMPLES.columns),
    )


def folder_of(parameters: Parameters) -> Path:
    """The absolute path of the folder; refuses what is not a folder."""
    folder = Path(parameters.folder).expanduser().absolute()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(
            f"sources.local.folder is {parameters.folder!r}: found {found}, expected a folder with videos"
        )
    return folder


def list_folder(parameters: Parameters, *, cache_dir: Path) -> Listing:
    """Every file below the folder, sorted by relative path.

    Links to files and folders are followed, those to folders last, so that a file keeps its own path; a folder that
    was already visited (a loop, or a link beside its target) is not entered again. Earshot's own ``cache_dir`` is left
    out where the folder contains it.
    """
    folder = folder_of(parameters)
    listing = Listing()
    own_caches = {os.path.realpath(cache_dir), os.path.realpath(Path(cache_dir).parent)} - {
        os.path.realpath(folder)
    }
    visited = {_identity(os.stat(folder))}
    pending, linked_folders = [""], []
    while pending or linked_folders:
        if not pending:
            relative_path = linked_folders.pop(0)
            identity = _identity(os.stat(os.path.join(folder, relative_path)))
            if identity in visited:
                listing.skipped[relative_path] = "folder already visited through another path"
                continue
            visited.add(identity)
            pending.append(relative_path)
        relative_folder = pending.pop()
        try:
            entries = sorted(
                os.scandir(os.path.join(folder, relative_folder)), key=lambda entry: entry.name
            )
        except OSError as error:
            listing.skipped[relative_folder] = f"folder cannot be read: {error.strerror}"
            continue
        subfolders = []
        for entry in entries:
            relative_path = os.path.join(relative_folder, entry.name)
            if entry.name.startswith("."):
                listing.skipped[relative_path] = "hidden"
                continue
            if any(fnmatch.fnmatchcase(relative_path, pattern) for pattern in parameters.ignore):
                listing.skipped[relative_path] = "ignored by parameter"
                continue
            try:
                facts = entry.stat()
            except OSError:  # a link without a target is accounted for as a clip that cannot be had
                listing.files[relative_path] = [0, 0]
                continue
            if stat.S_ISDIR(facts.st_mode):
                if os.path.realpath(entry.path) in own_caches:
                    listing.skipped[relative_path] = "Earshot's own cache"
                elif entry.is_symlink():
                    linked_folders.append(relative_path)
                else:
                    visited.add(_identity(facts))
                    subfolders.append(relative_path)
            elif stat.S_ISREG(facts.st_mode):
                listing.files[relative_path] = [facts.st_size, facts.st_mtime_ns]
            else:
                listing.skipped[relative_path] = "neither a file nor a folder"
        pending.extend(reversed(subfolders))
    listing.files = dict(sorted(listing.files.items(), key=lambda item: os.fsencode(item[0])))
    return listing


def read_listing(cache_dir: Path) -> dict:
    """What the last build recorded; an empty mapping when there is none (or one of another version)."""
    try:
        recorded = json.loads((Path(cache_dir) / LISTING_NAME).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return (
        recorded
        if isinstance(recorded, dict) and recorded.get("version") == _LISTING_VERSION
        else {}
    )


def has_changed(parameters: Parameters, *, cache_dir: Path) -> bool:
    """Whether the folder holds other files (by path, size or time) than at the last build."""
    recorded = read_listing(cache_dir)
    return (
        recorded.get("folder") != str(folder_of(parameters)).encode("utf-8", "replace").decode()
        or recorded.get("files") != list_folder(parameters, cache_dir=cache_dir).files
    )


def clip_id_of(relative_path: str) -> str:
    """A stable id that is safe as a file name: the path itself where it is plain, else made safe plus a hash of it."""
    text = unicodedata.normalize("NFC", _printable(relative_path))
    safe = _UNSAFE.sub("_", text.replace("/", "__"))
    if (
        safe == relative_path
        and not safe.startswith(("-", "."))
        and len(safe.encode()) <= _MAX_ID_BYTES
    ):
        return safe
    digest = hashlib.sha256(os.fsencode(relative_path)).hexdigest()[:10]
    kept = safe.lstrip("-.").encode()[-_MAX_ID_BYTES:].decode(errors="ignore").lstrip("-.")
    return f"{kept}-{digest}" if kept else digest


def times_of(duration_seconds: float | None, every_seconds: float) -> list[float | None]:
    """The middles of the whole pieces of ``every_seconds``; ``[None]`` (the centre) where there is none."""
    if duration_seconds is None or duration_seconds < every_seconds:
        return [None]
    num_pieces = math.floor(duration_seconds / every_seconds + 1e-9)
    return [round((index + 0.5) * every_seconds, 6) for index in range(num_pieces)]


def probe_duration(path: Path) -> float | None:
    """Return the seconds that a video lasts; None for what is no readable video."""
    try:
        with open_container(path) as container:
            if choose_stream(container, "video") is None:
                return None
            recordings = find_recordings(path)
            if recordings is not None:
                return sum(recordings.durations_seconds)
            return find_duration(container)
    except (av.error.FFmpegError, OSError, ValueError, MediaError):
        return None  # the download stage probes again and records the reason


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _printable(relative_path: str) -> str:
    """Names that are not UTF-8 reach Python as lone surrogates, which no table can hold."""
    return os.fsencode(relative_path).decode("utf-8", "replace")


def _write_listing(cache_dir: Path, folder: Path, listing: Listing, durations: dict) -> None:
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
    is_linked=True,
    may_share_clips=True,
    has_changed=has_changed,
    attributes={"path": Attribute({None: "file {}"})},
)
