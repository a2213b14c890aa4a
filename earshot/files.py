"""Write files so that a crash at any instant leaves the old file or the new one, never a part."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def publish(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path, and rename the file written there to ``path`` on success.

    The file is synced to the disk first. If the body raises, the temporary file is removed and
    ``path`` stays as it was.

    The temporary name keeps the suffix of ``path``, because some writers choose the format by it.
    It begins with ``.tmp-``, so that listings can skip it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system.
    temporary_path = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")

    try:
        yield temporary_path
        # The bytes before the name: after a power cut, the name must not lead to an empty file.
        sync(temporary_path)
        os.replace(temporary_path, path)
    except BaseException:
        temporary_path.unlink(missing_ok=True)
        raise

    # The new name is on the disk only when its folder is.
    sync(path.parent)


def publish_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically.

    Args:
        path: Where the file appears. Its folder is created, and an older file is replaced.
        data: The content of the file.
    """
    with publish(path) as temporary_path:
        temporary_path.write_bytes(data)


def publish_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically.

    Args:
        path: Where the file appears. Its folder is created, and an older file is replaced.
        text: The content of the file. Line ends are written as they are.
    """
    publish_bytes(path, text.encode())


def sync(path: Path) -> None:
    """Flush a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path | str) -> int:
    """Remove the temporary files of killed writers from ``folder``.

    Call this only while no other process writes into the folder.

    Args:
        folder: A folder into which ``publish`` writes. Its subfolders are not searched.

    Returns:
        The number of the removed files.
    """
    leftovers = list(Path(folder).glob(".tmp-*"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def sha256_of(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
