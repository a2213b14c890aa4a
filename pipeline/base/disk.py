"""Give files a second name without copying them, and check that there is room for more."""

import os
import shutil
from pathlib import Path
from typing import Literal

from earshot.errors import DataError, RunError

_SPARE_BYTES = 1 << 28  # left free for the tables and logs that are written beside large files


def link_file(source: Path, target: Path, *, otherwise: Literal["copy", "symlink"]) -> None:
    """Make ``target`` a second name (hard link) of the file ``source``.

    A file that is already at ``target`` is replaced.

    Args:
        source: An existing file. A symbolic link stands for the file that it leads to.
        target: The new name.
        otherwise: What to make where hard links are impossible, for example across file systems.
            A copy appears as a whole; a symbolic link avoids copying a user's large files.
    """
    # A hard link to a symbolic link would break when the user moves the file behind it.
    source = Path(os.path.realpath(source))

    # `os.link` refuses an existing name, also that of a dead link, which `exists` would miss.
    if os.path.lexists(target):
        if target.exists() and not target.is_symlink() and target.samefile(source):
            return
        target.unlink()

    try:
        os.link(source, target)
    except OSError:
        if otherwise == "symlink":
            target.symlink_to(source)
            return

        temporary_path = target.with_name(f".tmp-{target.name}")
        shutil.copyfile(source, temporary_path)
        os.replace(temporary_path, target)


def require_space(folder: Path, num_bytes: int, why: str) -> None:
    """Check that ``num_bytes`` more and a spare fit on the disk of ``folder``.

    Args:
        folder: Where the bytes will be written. It is made where it does not exist.
        num_bytes: Size of what will be written.
        why: Completes the message, for example "a.zip unpacks to 9000 bytes".

    Raises:
        DataError: The disk has too little space.
    """
    # `disk_usage` needs a folder that exists.
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if num_bytes + _SPARE_BYTES > free_bytes:
        raise DataError(
            f"{folder}: {free_bytes} bytes are free, but {why}; make room and run again"
        )


def require_free(folder: Path, num_bytes: int, min_free_bytes: float) -> None:
    """Check that the disk keeps ``min_free_bytes`` when ``num_bytes`` are written.

    Args:
        folder: An existing folder on the disk.
        num_bytes: Size of what will be written.
        min_free_bytes: How much must stay free: ``download.min_free_gigabytes``, in bytes.

    Raises:
        RunError: It would have less.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes - num_bytes < min_free_bytes:
        raise RunError(
            f"{folder}: {free_bytes} bytes are free, {num_bytes} are to be written, and "
            f"{min_free_bytes:.0f} must stay free (download.min_free_gigabytes); make room and run "
            "again"
        )
