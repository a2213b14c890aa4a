"""Find or fetch a release of Urbansas, and read its media and annotations.

Layouts differ between copies, so everything is found by its name, wherever it lies:
``video_annotations.csv`` and ``audio_annotations.csv``, ``<id>.wav``, and ``<id>.mp4`` below a
folder named like ``video_24fps``.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from earshot.errors import DataError, quote
from pipeline.base.archives import is_archive, safe_name, unpack_archive
from pipeline.base.http import fetch_file, fetch_large_file
from pipeline.base.user_files import walk_files
from pipeline.lists.published_lists import decode_lines, log, read_json

# Of the release that this module was written for.
_KNOWN_MD5 = {
    "annotations.zip": "02a1ce5a50857aa46dfceb2f43279c76",
    "audio.zip": "a870dcd7791df99c8a19ed6da864f8ca",
}
_VIDEO_COLUMNS = [
    "x",
    "y",
    "w",
    "h",
    "visibility",
    "label",
    "filename",
    "city",
    "location_id",
    "time",
    "night",
    "subset",
]
_AUDIO_COLUMNS = ["filename", "label", "non_identifiable_vehicle_sound", "start", "end"]
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"}
_AUDIO_SUFFIXES = {".wav", ".flac"}
_CLIP_ID = re.compile(r"\w[\w.\-]{0,119}")


@dataclass
class ClipMedia:
    """The files of one clip."""

    videos: dict[str, Path] = field(default_factory=dict)  # by the name of their folder
    audio: Path | None = None


def find_release(folder: str) -> Path:
    """Return the absolute path of the user's own release.

    Raises:
        DataError: There is no such folder.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise DataError(
            f"sources.urbansas.folder is {folder!r}: found no such folder, "
            "expected a release of Urbansas (null fetches it from Zenodo)"
        )
    return root


def fetch_release(
    record_url: str, release_dir: Path, *, archives: Sequence[str], keep_archives: bool
) -> Path:
    """Fetch and unpack the files of a Zenodo record, each once.

    A run that was stopped continues where it stopped.

    Args:
        record_url: Of the record in Zenodo's API.
        release_dir: Where files and folders are put.
        archives: Patterns of the files to fetch.
        keep_archives: Keep an archive after it is unpacked.

    Returns:
        The absolute path of ``release_dir``.

    Raises:
        DataError: The record is not readable, a file cannot be fetched, or no file is named.
    """
    record_path = release_dir / ".record.json"
    # Fetched in each run, because Zenodo can have another version of the record by now.
    try:
        fetch_file(record_url, record_path)
    except DataError as error:
        # What is unpacked needs no network.
        if not record_path.is_file():
            raise
        log.warning("%s; the record that was fetched before is used", error)

    files = [
        entry
        for entry in read_record(record_path)
        if any(fnmatchcase(entry["key"], p) for p in archives)
    ]
    if not files:
        raise DataError(f"{record_url}: has no file that sources.urbansas.archives names")

    for entry in files:
        key, md5 = entry["key"], entry["md5"]
        # A file that is not known here is compared with itself.
        if _KNOWN_MD5.get(key, md5) != md5:
            log.warning(
                "%s: the record's md5 is %s, of the release known here %s: another version",
                key,
                md5,
                _KNOWN_MD5[key],
            )

        # A folder carries the hash of its archive, so another version is another folder.
        folder = release_dir / f"{key.split('.')[0]}-{md5[:8]}"
        path = release_dir / key
        if folder.is_dir() if is_archive(key) else path.is_file():
            continue

        # A run that was stopped may have fetched the archive and not unpacked it.
        if not path.is_file():
            fetch_large_file(entry["url"], path, num_bytes=entry["size"], md5=md5)
        if is_archive(key):
            unpack_archive(path, folder)
            if not keep_archives:
                path.unlink()
    return release_dir.absolute()


def read_record(path: Path) -> list[dict]:
    """Read the JSON of a Zenodo record, and log the record's licence.

    Returns:
        ``key``, ``size``, ``md5`` and ``url`` of each file.

    Raises:
        DataError: Names the file of the record that is wrong.
    """
    record = read_json(path)

    # Sources disagree on the licence, so the user reads what the record says.
    metadata = record.get("metadata", {}) if isinstance(record, dict) else {}
    licence = metadata.get("license") if isinstance(metadata, dict) else None
    licence = licence.get("id") if isinstance(licence, dict) else licence
    log.warning("Urbansas: the record says its licence is %s", licence or "not stated")

    entries = record.get("files") if isinstance(record, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: the record has no list of files")
    return [_read_entry(entry, path, number) for number, entry in enumerate(entries)]


def _read_entry(entry: Any, path: Path, number: int) -> dict:
    """Check one file of a record."""
    where = f"{path}, file {number}"
    try:
        key, size, checksum = str(entry["key"]), int(entry["size"]), str(entry["checksum"])
        links = entry["links"]
        # The name of the link differs between versions of Zenodo's interface.
        url = str(links.get("content") or links.get("download") or links["self"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise DataError(f"{where}: expected key, size, checksum and links") from None

    # The key becomes a file name on this machine.
    if len(safe_name(key, path).parts) != 1 or key.startswith("."):
        raise DataError(f"{where}: key is {quote(key)}, expected a plain file name")

    if not re.fullmatch(r"md5:[0-9a-fA-F]{32}", checksum):
        raise DataError(f"{where} ({key}): checksum is {quote(checksum)}, expected md5:...")
    return {"key": key, "size": size, "md5": checksum[4:].lower(), "url": url}


def find_media(root: Path) -> dict[str, ClipMedia]:
    """Return the files of each clip of a release, by clip id.

    Raises:
        DataError: There is no video.
    """
    media: dict[str, ClipMedia] = {}
    unusable: list[Path] = []
    for path in walk_files(root):
        suffix = path.suffix.lower()
        if suffix not in _VIDEO_SUFFIXES | _AUDIO_SUFFIXES:
            continue
        if not _CLIP_ID.fullmatch(path.stem):
            unusable.append(path)
            continue

        # The first file of a name wins: files are visited in a fixed order.
        entry = media.setdefault(path.stem, ClipMedia())
        if suffix in _AUDIO_SUFFIXES:
            entry.audio = entry.audio or path
        else:
            entry.videos.setdefault(path.parent.name, path)

    if unusable:
        log.warning(
            "%s: left out %d files whose names are no clip ids (letters, digits, _ . -), for "
            "example %s",
            root,
            len(unusable),
            quote(str(unusable[0].relative_to(root))),
        )
    if not any(entry.videos for entry in media.values()):
        raise DataError(
            f"{root}: holds no videos, "
            "expected folders such as video_24fps or video_2fps with <id>.mp4"
        )
    return media


def read_video_annotations(root: Path) -> list[dict]:
    """Read the boxes: rows of ``_VIDEO_COLUMNS``, with numbers as floats."""
    path = _find_one(root, "video_annotations.csv")
    return _read_csv(path, _VIDEO_COLUMNS, ("x", "y", "w", "h", "time"))


def read_audio_annotations(root: Path) -> list[dict]:
    """Read the sound events: rows of ``_AUDIO_COLUMNS``, with numbers as floats."""
    path = _find_one(root, "audio_annotations.csv")
    return _read_csv(path, _AUDIO_COLUMNS, ("start", "end"))


def _find_one(root: Path, name: str) -> Path:
    found = [path for path in walk_files(root) if path.name == name]
    if len(found) != 1:
        raise DataError(
            f"{root}: holds {len(found)} files named {name}, expected one (in annotations/)"
        )
    return found[0]


def _read_csv(path: Path, columns: list[str], numbers: tuple[str, ...]) -> list[dict]:
    """Read the named columns of a CSV; numbers and flags become floats.

    Other columns, such as an unnamed leading index, are ignored.
    """
    flags = [name for name in ("visibility", "non_identifiable_vehicle_sound") if name in columns]

    rows = []
    reader = csv.DictReader(decode_lines(path), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        absent = [name for name in columns if name not in header]
        if absent:
            raise DataError(
                f"{path}, line 1: has no column {absent[0]}, expected {', '.join(columns)}"
            )

        reader.fieldnames = header
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            rows.append(_check_row(row, columns, [*numbers, *flags], where))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {max(reader.line_num, 1)}: not readable CSV: {error}"
        ) from None

    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def _check_row(row: dict, columns: list[str], numbers: list[str], where: str) -> dict:
    """Return the named columns of a row; numbers become floats."""
    # csv.DictReader collects surplus fields under None, and fills absent ones with None.
    if None in row or any(row[name] is None for name in columns):
        raise DataError(
            f"{where}: has {'more' if None in row else 'fewer'} fields than the header has columns"
        )

    checked: dict = {name: row[name].strip() for name in columns}
    for name in numbers:
        try:
            checked[name] = float(checked[name])
        except ValueError:
            raise DataError(
                f"{where}: {name} is {quote(checked[name])}, expected a number"
            ) from None
        if not math.isfinite(checked[name]):
            raise DataError(f"{where}: {name} is {checked[name]}, expected a finite number")

    if not _CLIP_ID.fullmatch(checked["filename"]):
        raise DataError(
            f"{where}: filename is {quote(checked['filename'])}, expected the name of a clip"
        )

    # A row may name the file of the sound or of the video instead of the clip.
    checked["filename"] = re.sub(r"\.(wav|mp4)$", "", checked["filename"])
    return checked
