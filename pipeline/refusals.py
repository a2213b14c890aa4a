"""What the system refuses whatever a program does, told in one sentence: a full disk, a path that is not ours."""

import errno
import os

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "make it writable",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
}


def describe_refusal(error: OSError) -> str | None:
    """The sentence; None for what is no refusal and needs its traceback."""
    if error.errno not in _REMEDIES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{os.strerror(error.errno).lower()}; {_REMEDIES[error.errno]} and run the same command again"
