"""Weights by URL and SHA-256: fetched once, never trusted by name."""

import sys
import urllib.error
from pathlib import Path

from earshot.errors import DataError
from earshot.files import sha256_of
from pipeline.base.archives import fetch_archive
from pipeline.base.http import open_url
from pipeline.base.locks import hold_lock


def fetch_file(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    num_bytes: int | None = None,
    alternatives: str = "",
) -> Path:
    """``path``, fetched from ``url`` unless it is there; an interrupted transfer goes on where it stopped.

    Its SHA-256 must begin with ``sha256`` (None: whatever came is accepted, and the caller looks at it).
    ``num_bytes``: its size, asked of the server when not given. ``alternatives`` ends the message of a failed fetch:
    what else the user can do.
    """
    path = Path(path)
    suffix = f"; {alternatives}" if alternatives else ""
    lock_path = path.with_name(f".lock-{path.name}")
    with hold_lock(
        lock_path,
        on_wait=lambda: print(f"{path.name}: another process is fetching it", file=sys.stderr),
    ):
        if path.exists():
            _require_sha256(path, sha256)
            return path
        try:
            fetch_archive(url, path, num_bytes=num_bytes or _ask_size(url), sha256=sha256)
        except DataError as error:
            raise DataError(f"{error}{suffix}") from None
    return path


def _ask_size(url: str) -> int:
    """What the server says of the file's length."""
    try:
        with open_url(url) as response:
            announced = response.headers.get("Content-Length") or ""
    except urllib.error.HTTPError as error:
        raise DataError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{url}: cannot be fetched ({getattr(error, 'reason', error)})") from None
    if not announced.isdigit():
        raise DataError(f"{url}: the server does not say how long the file is")
    return int(announced)


def _require_sha256(path: Path, expected: str | None) -> None:
    found = sha256_of(path)
    if expected is not None and not found.startswith(expected):
        raise DataError(
            f"{path}: SHA-256 is {found[:16]}..., expected {expected[:16]}...; remove the file and fetch again"
        )
