"""Decide whether a file is damaged, or this machine cannot read it.

FFmpeg reports "Input/output error" and "Cannot allocate memory" also for damaged files. Its errors
about open files, rights and stale handles come from the system, so they concern the machine.
"""

import errno
import os
from pathlib import Path

import av

from pipeline.base.os_errors import is_machine_error

# In a damaged header a size can be any number. FFmpeg uses EPERM for what it does not support.
_FFMPEGS_OWN = frozenset([errno.EIO, errno.ENOMEM, errno.EPERM])
_SOME_MEMORY_BYTES = 1 << 26
_NO_MEMORY = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def is_machine_to_blame(error: BaseException | None, path: Path) -> bool:
    """Return whether a file could not be read because of this machine.

    FFmpeg's error alone cannot always tell. Then this function reads the whole file and allocates
    some memory, to see whether the machine fails again.

    Args:
        error: What reading the file raised. None is no error of the machine.
        path: The file.
    """
    if not is_machine_error(error):
        return False
    if not is_ffmpegs_own(error):
        return True
    return getattr(error, "errno", None) != errno.EPERM and find_machine_error(path) is not None


def is_ffmpegs_own(error: BaseException | None) -> bool:
    """Return whether FFmpeg may give this error for a damaged file."""
    code = getattr(error, "errno", None)
    return isinstance(error, av.FFmpegError) and code in _FFMPEGS_OWN


def find_machine_error(path: Path) -> OSError | None:
    """Read a file and allocate some memory, to see whether this machine prevents it.

    Args:
        path: The file. A file that does not exist is no error of the machine.

    Returns:
        The error that was raised; None if everything worked.
    """
    try:
        with open(path, "rb") as file:
            # In pieces, because media files can be larger than the memory.
            while file.read(_SOME_MEMORY_BYTES):
                pass
    except FileNotFoundError:
        return None  # it was not found before, too
    except OSError as error:
        return error
    except MemoryError:
        return _NO_MEMORY
    return _NO_MEMORY if lacks_memory() else None


def lacks_memory() -> bool:
    """Return whether this process cannot take some memory now."""
    try:
        bytearray(_SOME_MEMORY_BYTES)
    except MemoryError:
        return True
    return False
