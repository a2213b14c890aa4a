"""Publishing files so that a crash at any instant leaves the old file or the new one, never half of one."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def publish(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success sync it and rename it to ``path``; on an exception remove it.

    The temporary name keeps the suffix of ``path`` (writers choose formats by it) and begins with ``.tmp-``, so that
    listings can skip it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary_path
        sync(temporary_path)
        os.replace(temporary_path, path)
    except BaseException:
        temporary_path.unlink(missing_ok=True)
        raise
    sync(path.parent)


def publish_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with publish(path) as temporary_path:
        temporary_path.write_bytes(data)


def publish_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    publish_bytes(path, text.encode())


def sync(path: Path) -> None:
    """Flush a file or a folder entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path | str) -> int:
    """Remove the ``.tmp-`` files that a killed writer left in ``folder``; return how many there were.

    Only for a folder that has one owner at a time.
    """
    leftovers = list(Path(folder).glob(".tmp-*"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def sha256_of(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
