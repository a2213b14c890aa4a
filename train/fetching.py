"""Weights by URL and SHA-256: fetched once, never trusted by name."""

import urllib.error
import urllib.request
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files import publish, sha256_of
from pipeline.progress import Progress

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def fetch_file(url: str, path: Path, *, sha256_prefix: str, alternatives: str = "", is_quiet: bool = False) -> Path:
    """``path``, fetched from ``url`` unless it is there; its SHA-256 must begin with ``sha256_prefix`` (or equal it).

    ``alternatives`` ends the message of a failed fetch: what else the user can do.
    """
    path = Path(path)
    suffix = f"; {alternatives}" if alternatives else ""
    if path.exists():
        _require_sha256(path, sha256_prefix, str(path))
        return path
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, publish(path) as temporary_path:
            size = int(response.headers.get("Content-Length") or 0)
            with (
                open(temporary_path, "wb") as file,
                Progress(size // _BLOCK_BYTES or None, f"fetch {path.name}", unit="MiB", is_quiet=is_quiet) as progress,
            ):
                while block := response.read(_BLOCK_BYTES):
                    file.write(block)
                    progress.update()
            _require_sha256(temporary_path, sha256_prefix, url)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{url}: cannot be fetched ({reason}){suffix}") from None
    return path


def _require_sha256(path: Path, prefix: str, what: str) -> None:
    found = sha256_of(path)
    if not found.startswith(prefix):
        raise DataError(
            f"{what}: SHA-256 is {found[:16]}..., expected {prefix[:16]}...; remove the file and fetch again"
        )
