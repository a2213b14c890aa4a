"""The dataset ``local``: a folder of the user's own videos, searched recursively; no ground truth.

Every regular file that is not hidden becomes a clip, whatever its suffix. A file that is no media
(a README, a picture) then ends in the downloads table as missing with a reason, so that nothing is
skipped silently. Hidden files and folders, ``ignore`` patterns, devices and folders that cannot be
read are named in ``listing.json`` in the dataset's cache.

``listing.json`` also holds the size and modification time of each file, by which
``python -m pipeline refresh`` notices that the folder changed, and the durations that were read, so
that a second look at a large folder is quick.
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

import av.error
import pyarrow as pa

from earshot.errors import DataError, MediaError
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.parameters import IS_PATH
from pipeline.datasets.dataset import Attribute, Dataset
from pipeline.lists.rows import make_file_clip
from pipeline.media.files.container import open_container
from pipeline.media.files.timeline import choose_stream, find_duration
from pipeline.media.recordings import find_recordings

LISTING_NAME = "listing.json"
_LISTING_VERSION = 1
_UNSAFE = re.compile(r"[^\w.\-]+")
# File names hold 255 bytes. Shards and temporary files add prefixes and suffixes of their own.
_MAX_ID_BYTES = 120
# Ids of samples count milliseconds, so two samples must not share one.
MIN_EVERY_SECONDS = 0.002


@dataclass(frozen=True)
class Parameters:
    """Section ``sources.local`` of params.yaml."""

    folder: str = field(metadata=IS_PATH)  # where the videos are
    # null: one sample at the centre of each clip; N: one in the middle of every whole N seconds
    every_seconds: float | None = None
    ignore: tuple[str, ...] = ()  # patterns (`*.srt`, `old/*`) of relative paths to leave out
    split: str = "local"  # the split of all samples

    def __post_init__(self) -> None:
        if not self.folder.strip():
            raise ValueError("folder is empty, expected the path of a folder with videos")
        if self.every_seconds is not None and not self.every_seconds >= MIN_EVERY_SECONDS:
            raise ValueError(
                f"every_seconds is {self.every_seconds}, expected {MIN_EVERY_SECONDS} or more, "
                "or null"
            )


@dataclass
class Listing:
    """What is in a folder."""

    # Relative path -> [size in bytes, modification time in ns].
    files: dict[str, list[int]] = field(default_factory=dict)
    # Relative path -> why it is left out.
    skipped: dict[str, str] = field(default_factory=dict)


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

    # A duration costs opening the file, so find it only where samples depend on it.
    durations: dict[str, float | None] = {}
    if parameters.every_seconds is not None:
        durations = _find_durations(folder, listing, read_listing(cache_dir))

    clip_rows, sample_rows = [], []
    paths_by_id: dict[str, str] = {}
    for relative_path in listing.files:
        # Files in the cache are named by their clip, so two paths must not share an id.
        clip_id = clip_id_of(relative_path)
        if clip_id in paths_by_id:
            raise DataError(
                f"{folder}: {relative_path!r} and {paths_by_id[clip_id]!r} have one id, "
                f"{clip_id}; rename one"
            )
        paths_by_id[clip_id] = relative_path

        times: list[float | None] = [None]
        if parameters.every_seconds is not None:
            times = times_of(durations[relative_path], parameters.every_seconds)

        clip_rows.append(make_file_clip(clip_id, folder / relative_path, parameters.split))
        sample_rows += [
            _sample_row(clip_id, relative_path, time_seconds, parameters.split)
            for time_seconds in times
        ]

    # Last: after a build that fails, `refresh` still sees that the folder changed.
    _write_listing(cache_dir, folder, listing, durations)
    return (
        pa.Table.from_pylist(clip_rows, schema=CLIPS.columns),
        pa.Table.from_pylist(sample_rows, schema=SAMPLES.columns),
    )


def _find_durations(folder: Path, listing: Listing, known: dict) -> dict[str, float | None]:
    """Return the duration of each file; open only files that changed since the last listing."""
    durations: dict[str, float | None] = {}
    for relative_path, facts in listing.files.items():
        is_known = known.get("files", {}).get(relative_path) == facts
        if is_known and relative_path in known.get("durations", {}):
            durations[relative_path] = known["durations"][relative_path]
        else:
            durations[relative_path] = probe_duration(folder / relative_path)
    return durations


def _sample_row(clip_id: str, relative_path: str, time_seconds: float | None, split: str) -> dict:
    sample_id = clip_id
    if time_seconds is not None:
        # Milliseconds with leading zeros: sorted ids are in order of time.
        sample_id = f"{clip_id}@{round(time_seconds * 1000):08d}"

    return {
        "sample_id": sample_id,
        "clip_id": clip_id,
        "time_seconds": time_seconds,
        "splits": [split],
        "label": None,
        "boxes": [],
        "box_annotators": [],
        "audio_clip_id": None,
        "attributes": [("path", _printable(relative_path))],
    }


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
    walk = _FolderWalk(folder, parameters.ignore, own_caches - {os.path.realpath(folder)})
    walk.run()

    files = sorted(walk.listing.files.items(), key=lambda item: os.fsencode(item[0]))
    return Listing(dict(files), walk.listing.skipped)


class _FolderWalk:
    """One walk through a folder, depth first."""

    def __init__(self, folder: Path, ignore: tuple[str, ...], own_caches: set[str]) -> None:
        self.listing = Listing()
        self._folder, self._ignore, self._own_caches = folder, ignore, own_caches
        self._visited = {_identity(os.stat(folder))}
        # Relative paths of folders that are still to be listed.
        self._pending: list[str] = [""]
        self._linked: list[str] = []

    def run(self) -> None:
        """List all folders; those behind links last."""
        while self._pending or self._linked:
            if self._pending:
                self._list_entries(self._pending.pop())
                continue

            # Links come last, so that a file behind one keeps its own path.
            relative_path = self._linked.pop(0)
            identity = _identity(os.stat(os.path.join(self._folder, relative_path)))
            if identity in self._visited:
                self.listing.skipped[relative_path] = "folder already visited through another path"
            else:
                self._visited.add(identity)
                self._pending.append(relative_path)

    def _list_entries(self, relative_folder: str) -> None:
        try:
            entries = sorted(
                os.scandir(os.path.join(self._folder, relative_folder)),
                key=lambda entry: entry.name,
            )
        except OSError as error:
            self.listing.skipped[relative_folder] = f"folder cannot be read: {error.strerror}"
            return

        subfolders: list[str] = []
        for entry in entries:
            relative_path = os.path.join(relative_folder, entry.name)
            reason = self._add_entry(entry, relative_path, subfolders)
            if reason is not None:
                self.listing.skipped[relative_path] = reason

        # `run` takes the last one first, so reverse them to keep the order.
        self._pending.extend(reversed(subfolders))

    def _add_entry(
        self, entry: os.DirEntry[str], relative_path: str, subfolders: list[str]
    ) -> str | None:
        """Record one entry; return why it is left out, or None."""
        if entry.name.startswith("."):
            return "hidden"
        if any(fnmatch.fnmatchcase(relative_path, pattern) for pattern in self._ignore):
            return "ignored by parameter"

        try:
            facts = entry.stat()
        except OSError:
            # A link without a target becomes a clip that is missing.
            self.listing.files[relative_path] = [0, 0]
            return None

        if stat.S_ISREG(facts.st_mode):
            self.listing.files[relative_path] = [facts.st_size, facts.st_mtime_ns]
        elif not stat.S_ISDIR(facts.st_mode):
            return "neither a file nor a folder"
        elif os.path.realpath(entry.path) in self._own_caches:
            # Otherwise clips in the cache would come back as new videos.
            return "Earshot's own cache"
        elif entry.is_symlink():
            self._linked.append(relative_path)
        else:
            self._visited.add(_identity(facts))
            subfolders.append(relative_path)
        return None


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
    return (
        recorded.get("folder") != str(folder_of(parameters)).encode("utf-8", "replace").decode()
        or recorded.get("files") != files
    )


def clip_id_of(relative_path: str) -> str:
    """Return a stable id that is safe as a file name.

    It is the path itself where that is plain; else a safe form of the path plus a hash of it.
    """
    # macOS splits accents from letters (NFD). NFC gives one form on all systems.
    text = unicodedata.normalize("NFC", _printable(relative_path))
    safe = _UNSAFE.sub("_", text.replace("/", "__"))

    # A leading `-` would look like an option, and a leading `.` would hide the file.
    if (
        safe == relative_path
        and not safe.startswith(("-", "."))
        and len(safe.encode()) <= _MAX_ID_BYTES
    ):
        return safe

    # Keep the end of a long path: the file's own name tells most.
    digest = hashlib.sha256(os.fsencode(relative_path)).hexdigest()[:10]
    kept = safe.lstrip("-.").encode()[-_MAX_ID_BYTES:].decode(errors="ignore").lstrip("-.")
    return f"{kept}-{digest}" if kept else digest


def times_of(duration_seconds: float | None, every_seconds: float) -> list[float | None]:
    """Return the middles of the whole pieces of ``every_seconds``.

    Where there is no whole piece, the result is ``[None]``: the centre.
    """
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

            # Each recording of a file restarts the clock, so add their durations.
            recordings = find_recordings(path)
            if recordings is not None:
                return sum(recordings.durations_seconds)
            return find_duration(container)
    except (av.error.FFmpegError, OSError, ValueError, MediaError):
        return None  # the download stage probes again and records the reason


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _printable(relative_path: str) -> str:
    """Replace bytes of a name that are not UTF-8; no table can hold them."""
    return os.fsencode(relative_path).decode("utf-8", "replace")


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
    find_splits=lambda parameters: (parameters.split,),
    is_linked=True,
    may_share_clips=True,
    has_changed=has_changed,
    attributes={"path": Attribute({None: "file {}"})},
)
