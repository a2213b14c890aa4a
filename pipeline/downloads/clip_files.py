"""Names, places and sources of clip files, and moving a finished clip to its place."""

import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from earshot.files import sha256_of, sync
from pipeline.downloads.account.history import History
from pipeline.downloads.messages import FetchError

SOURCE_STEM = "source"  # a fetched video is called source.<suffix> in its work folder

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".flv",
        ".ts",
        ".mpg",
        ".mpeg",
        ".3gp",
        ".ogv",
        ".wmv",
    ]
)
_SUFFIX_BY_CONTENT_TYPE = {
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/quicktime": ".mov",
}

_MAX_STEM_BYTES = 150
_PLAIN = re.compile(rb"[A-Za-z0-9._\-]")


def make_file_stem(clip_id: str) -> str:
    """Return the name of a clip's file without suffix.

    Plain characters stay, all others are percent-encoded. Long names end in a hash.
    """
    # Names of files need not be UTF-8, so each byte is encoded by itself.
    data = clip_id.encode("utf-8", "surrogateescape")
    stem = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in data)
    if stem.startswith("."):  # would be a hidden file or a temporary name
        stem = "%2E" + stem[1:]
    if len(stem) > _MAX_STEM_BYTES:
        stem = stem[:_MAX_STEM_BYTES] + "~" + hashlib.sha256(data).hexdigest()[:16]
    return stem


def choose_suffix(name: str, content_type: str = "") -> str:
    """Return a video's suffix: from its name, else from its content type, else ``.mp4``.

    Args:
        name: A file name or the path of an address.
        content_type: What the server says, without parameters, for example ``video/webm``.

    Returns:
        One of ``VIDEO_SUFFIXES``, with its dot.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in VIDEO_SUFFIXES:
        return suffix
    return _SUFFIX_BY_CONTENT_TYPE.get(content_type, ".mp4")


def path_of_file_url(url: str) -> Path:
    """Return the path of a ``file://`` URL; percent-encoded names need not be UTF-8.

    Raises:
        FetchError: The address names another host than ``localhost``.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(
            f"{url}: names the host {parts.netloc}, expected file:///path", reason="unknown"
        )
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(parts.path)))


def format_path(path: Path | str) -> str:
    """Return a path as text that every table can hold; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def publish_clip(history: History, clips_dir: Path) -> None:
    """Move the file of a clip's last success from its work folder to its place.

    The older file of the clip is removed if it has another name.

    Args:
        history: Of the clip; its last success must be in the ledger and not be moved yet.
        clips_dir: The folder with the dataset's media files.
    """
    assert history.ok is not None
    staged_path = clips_dir / history.ok["file"]["staged"]
    path = clips_dir / history.ok["file"]["path"]
    os.replace(staged_path, path)

    # If both names are hard links of one file, `os.replace` does nothing and leaves both.
    staged_path.unlink(missing_ok=True)
    _remove_replaced(history, clips_dir)
    sync(clips_dir)


def publish_staged_clips(histories: Iterable[History], clips_dir: Path) -> None:
    """Move the clips that a killed run had entered in the ledger but not moved.

    A file moves only if it still has the hash that the ledger says.

    Args:
        histories: Of all clips of the dataset.
        clips_dir: The folder with the dataset's media files.
    """
    for history in histories:
        if history.ok is None:
            continue
        if history.ok["file"].get("staged"):
            staged_path = clips_dir / history.ok["file"]["staged"]
            if staged_path.exists() and sha256_of(staged_path) == history.ok["file"]["sha256"]:
                publish_clip(history, clips_dir)

        if history.replaced_path is not None and history.has_file(clips_dir):
            _remove_replaced(history, clips_dir)


def _remove_replaced(history: History, clips_dir: Path) -> None:
    """Remove the older file of a clip that now has one with another suffix."""
    if history.replaced_path is None or history.ok is None:
        return
    if history.replaced_path != history.ok["file"]["path"]:
        (clips_dir / history.replaced_path).unlink(missing_ok=True)
    history.replaced_path = None


def forget_if_source_changed(history: History) -> None:
    """Drop the attempts of a ``file://`` clip if its source has changed since the last one."""
    # Imported clips have no source: nothing can have changed.
    if history.last is None or "source" not in history.last:
        return

    before, now = history.last["source"], describe_source(history.url)
    # A source that is gone changes nothing: the clip that was made from it is kept.
    if before == now or now is None:
        return

    is_same_size = history.ok is not None and before is not None and before["bytes"] == now["bytes"]
    if history.ok is not None and is_same_size:
        sha256 = sha256_of(path_of_file_url(history.url))
        if sha256 == history.ok["file"].get("source_sha256"):
            return  # written again with the same content
    history.forget()


def describe_source(url: str) -> dict[str, int] | None:
    """Return size and time of the file that a ``file://`` URL names; None if there is none."""
    try:
        facts = os.stat(path_of_file_url(url))
    except (OSError, FetchError, ValueError):
        return None
    return {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
