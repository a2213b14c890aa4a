"""Fetch weights by address and SHA-256, once for all processes of this machine."""

import datetime
import json
import os
import re
import sys
from pathlib import Path

from earshot.errors import DataError
from earshot.files import publish_text, sha256_of, sync
from pipeline.base.http import describe_error, fetch_large_file
from pipeline.base.locks import hold_lock

DRIVE_SCHEME = "gdrive:"  # and the id of a public file on Google Drive
RECORDS_NAME = "first_fetch.json"  # beside the fetched files
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_NUM_RETRIES = 5
_TIMEOUT_SECONDS = 30.0


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
        url: An ``http://`` or ``https://`` address, or ``gdrive:ID``.
        path: Of the file.
        sha256: First digits of the hexadecimal digest that the file must have. None accepts any
            file; then the caller has to check it.
        num_bytes: Size of the file. None asks the server.
        alternatives: What else the user can do when the file cannot be fetched. The error message
            ends with it.

    Returns:
        ``path``.

    Raises:
        DataError: The file cannot be fetched or has another size or digest.
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
            if url.startswith(DRIVE_SCHEME):
                _fetch_from_drive(url, path, sha256=sha256, num_bytes=num_bytes)
            else:
                fetch_large_file(url, path, num_bytes=num_bytes, sha256=sha256)
        except DataError as error:
            suffix = f"; {alternatives}" if alternatives else ""
            raise DataError(f"{error}{suffix}") from None
    return path


def is_drive_address(url: str) -> bool:
    """Return whether ``url`` is ``gdrive:`` and something that can be the id of a file."""
    scheme, _, file_id = url.partition(":")
    return f"{scheme}:" == DRIVE_SCHEME and _DRIVE_ID.fullmatch(file_id) is not None


def require_first_sha256(url: str, path: Path, sha256: str) -> bool:
    """Record a fetched file of which nobody published a hash; refuse another one later.

    Args:
        url: Its address.
        path: The file. Its folder holds the record of all files that were fetched there.
        sha256: Its digest.

    Returns:
        Whether this was the first time.

    Raises:
        DataError: The file fetched first from this address had another digest.
    """
    records_path = path.with_name(RECORDS_NAME)
    lock_path = records_path.with_name(f".lock-{RECORDS_NAME}")

    # Two stages may write the file at once, and neither may lose what the other recorded.
    with hold_lock(lock_path, on_wait=lambda: None):
        records = _read_records(records_path)
        known = records.get(url)
        if known is not None and known["sha256"] != sha256:
            raise DataError(
                f"{url}: SHA-256 is {sha256}, but the file fetched on {known['date']} had "
                f"{known['sha256']}; if you trust the new one, set sha256 of its entry to that"
            )
        if known is None:
            date = datetime.date.today().isoformat()
            records[url] = {"sha256": sha256, "num_bytes": path.stat().st_size, "date": date}
            publish_text(records_path, json.dumps(records, indent=1) + "\n")
    return known is None


def _read_records(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DataError(
            f"{path}: not valid JSON ({error}); expected the hashes of what was fetched; correct "
            "or remove it"
        ) from None


def _fetch_from_drive(url: str, path: Path, *, sha256: str | None, num_bytes: int | None) -> None:
    """Fetch a public file of Google Drive, whose page asks about large files first."""
    import gdown
    import requests

    path.parent.mkdir(parents=True, exist_ok=True)
    # gdown keeps what has arrived beside it, and goes on there.
    part_path = path.with_name(f".drive-{path.name}")
    try:
        gdown.download(
            id=url.removeprefix(DRIVE_SCHEME),
            output=os.fspath(part_path),
            resume=True,
            quiet=not sys.stderr.isatty(),
            # The file is public: no account of the user takes part.
            use_cookies=False,
            retries=_NUM_RETRIES,
            timeout=_TIMEOUT_SECONDS,
        )
    except (gdown.exceptions.DownloadError, requests.RequestException, OSError) as error:
        raise DataError(f"{url}: cannot be fetched: {_shorten(error)}") from None

    found = part_path.stat().st_size
    if num_bytes is not None and found != num_bytes:
        part_path.unlink()
        raise DataError(f"{url}: has {found} bytes, expected {num_bytes}")

    try:
        _require_sha256(part_path, sha256)
    except DataError:
        part_path.unlink()
        raise
    # The name says that a file is whole, so it comes last.
    sync(part_path)
    os.replace(part_path, path)
    sync(path.parent)


def _shorten(error: Exception) -> str:
    """Return the reason without gdown's advice, on one line."""
    text = describe_error(error)
    return text.removeprefix("Failed to retrieve file url: ").partition(" You may still be")[0]


def _require_sha256(path: Path, expected: str | None) -> None:
    digest = sha256_of(path)
    if expected is not None and not digest.startswith(expected):
        raise DataError(
            f"{path}: SHA-256 is {digest[:16]}..., expected {expected[:16]}...; remove the file "
            "and fetch again"
        )
