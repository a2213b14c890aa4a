"""How commands and stages end on an error: one sentence, also for what the system refuses whatever a program does."""

import errno
import sys

from earshot.errors import EarshotError, RunError

REFUSALS = {  # what is told, and the remedy
    errno.ENOSPC: ("no space left on the device", "make room"),
    errno.EDQUOT: ("the disk quota is exceeded", "make room"),
    errno.EFBIG: ("the limit on the size of files is too small", "raise it"),
    errno.EROFS: ("the file system is read-only", "make it writable"),
    errno.EACCES: ("this user has no right to it", "grant it"),
    errno.EPERM: ("this user has no right to it", "grant it"),
}


def report_error(error: Exception) -> int:
    """Print the sentence of a user's error or of a refusal; return the exit code. Raises any other error again."""
    if isinstance(error, EarshotError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        raise error
    text, remedy = REFUSALS[error.errno]
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{text}; {remedy} and run the same command again", file=sys.stderr)
    return RunError.exit_code
