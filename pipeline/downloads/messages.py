"""What the download engine and its workers say to each other: parameters, errors, outcomes, and names of files."""

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from pipeline.downloads.reasons import classify
from pipeline.media.validate import ValidationParameters

SOURCE_STEM = "source"  # of the file in the work folder that a video arrives in
_KNOWN_SUFFIXES = {
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
}


@dataclass(frozen=True)
class FetchParameters:
    """What a worker needs to know; built by the engine from ``DownloadParameters``."""

    max_height: int
    format: str | None
    ffmpeg: str
    cookies_path: str | None
    proxy: str | None
    num_site_retries: int
    socket_timeout_seconds: float
    time_limit_seconds: float
    section_above_seconds: float
    max_gigabytes: float
    validation: ValidationParameters


class FetchError(Exception):
    """A video could not be had; ``text`` is raw. ``reason`` None: to be read from the text."""

    def __init__(
        self, text: str, *, reason: str | None = None, retry_after_seconds: float | None = None
    ):
        super().__init__(text)
        self.text, self.reason, self.retry_after_seconds = text, reason, retry_after_seconds


def failed_outcome(reason: str | None, text: str) -> dict:
    """A clip's result when there is none; ``reason`` None: to be read from the text."""
    if reason is not None:
        return {"outcome": "failed", "reason": reason, "text": text, "by": "check"}
    return {"outcome": "failed", "reason": classify(text), "text": text, "by": "text"}


def path_of_file_url(url: str) -> Path:
    """The local path of a ``file://`` URL; percent-encoded bytes of any file name survive."""
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(
            f"{url}: names the host {parts.netloc}, expected file:///path", reason="unknown"
        )
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(parts.path)))


def printable(path: Path | str) -> str:
    """A path as text that every table can hold (names need not be UTF-8)."""
    return os.fsencode(path).decode("utf-8", "replace")


def suffix_of(name: str, content_type: str = "") -> str:
    """The suffix of a media file, by its name or else by what a server calls it; ``.mp4`` where neither helps."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _KNOWN_SUFFIXES:
        return suffix
    return {"video/webm": ".webm", "video/x-matroska": ".mkv", "video/quicktime": ".mov"}.get(
        content_type, ".mp4"
    )
