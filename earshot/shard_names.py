"""Names of shards: which task computed a shard, and whether its bytes are still those it wrote.

A name is ``<task>-<content>.h5``: 12 hexadecimal digits of the hash of the requested keys, and 20
of the SHA-256 of the file. It therefore tells whether any byte has changed.
"""

import hashlib
import re
from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{12})-([0-9a-f]{20})\.h5")


def shard_name(task: str, content: bytes) -> str:
    """Return the name of the shard with the bytes ``content`` that ``task`` computed."""
    return f"{task[:12]}-{hashlib.sha256(content).hexdigest()[:20]}.h5"


def task_of(name: str) -> str | None:
    """Return the task part of a shard's name; None when ``name`` is not the name of a shard."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def has_named_content(path: Path, name: str | None = None) -> bool:
    """Return whether a file has the SHA-256 that is in the name of a shard.

    The name holds the first 20 digits of the hash (``shard_name``).

    Args:
        path: An existing file.
        name: The name of the shard. None: that of ``path``.

    Returns:
        False also if the name is not the name of a shard.
    """
    match = _NAME.fullmatch(name or path.name)
    if match is None:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(match[2])
