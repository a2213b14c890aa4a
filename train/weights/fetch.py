"""Fetch weights by URL and SHA-256, once for all processes of this machine."""

import sys
from pathlib import Path

from earshot.errors import DataError
from earshot.files import sha256_of
from pipeline.base.http import fetch_large_file
from pipeline.base.locks import hold_lock


def fetch_weights(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    num_bytes: int | None = None,
    alternatives: str = "",
) -> Path:
    """Fetch ``url`` to ``path`` unless the file exists; resume an interrupted transfer.

    Args:
        url: An ``http://`` or ``https://`` address.
        path: Of the file.
        sha256: First digits of the hexadecimal digest that the file must have. None accepts any
            file; then the caller has to check it.
        num_bytes: Size of the file. None asks the server.
        alternatives: What else the user can do when the file cannot be fetched. The error message
            ends with it.

    Returns:
        ``path``.

    Raises:
        DataError: The file cannot be fetched or has another digest.
    """
    path = Path(path)
    lock_path = path.with_name(f".lock-{path.name}")

    def report_waiting() -> None:
        print(f"{path.name}: another process is fetching it", file=sys.stderr)

    with hold_lock(lock_path, on_wait=report_waiting):
        # Another process may have fetched it while this one waited.
        if path.exists():
            _require_sha256(path, sha256)
            return path

        try:
            fetch_large_file(url, path, num_bytes=num_bytes, sha256=sha256)
        except DataError as error:
            suffix = f"; {alternatives}" if alternatives else ""
            raise DataError(f"{error}{suffix}") from None
    return path


def _require_sha256(path: Path, expected: str | None) -> None:
    digest = sha256_of(path)
    if expected is not None and not digest.startswith(expected):
        raise DataError(
            f"{path}: SHA-256 is {digest[:16]}..., expected {expected[:16]}...; remove the file "
            "and fetch again"
        )
