"""Turn errors into one-line messages and exit codes: a full disk, a process that crashed."""

import codecs
import contextlib
import errno
import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from earshot.errors import READ_ERRORS, EarshotError, RunError


class OsErrorText(NamedTuple):
    """How a message names an OS error, and what the user can do about it."""

    text: str
    remedy: str


_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{8}-")  # what `earshot.files.publish` puts before a name

# Errors of the operating system that no program can prevent. Any other OSError may be a bug, so it
# keeps its traceback.
OS_ERRORS = {
    errno.ENOSPC: OsErrorText("no space left on the device", "make room"),
    errno.EDQUOT: OsErrorText("the disk quota is exceeded", "make room"),
    errno.EFBIG: OsErrorText("the limit on the size of files is too small", "raise it"),
    errno.EROFS: OsErrorText("the file system is read-only", "make it writable"),
    errno.EACCES: OsErrorText("this user has no right to it", "grant it"),
    errno.EPERM: OsErrorText("this user has no right to it", "grant it"),
}

# A name of the command line or of params.yaml that is none of a file or folder, or of another kind.
# Files that a site or an archive names have their own checks.
_NAME_ERRORS = frozenset(
    [errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP]
)

# What a machine lacks for a while: the task that met it may succeed later, and what it worked on is
# not to blame.
MACHINE_ERRORS = frozenset([*OS_ERRORS, *READ_ERRORS])

# What usually sends a signal.
_SIGNAL_HINTS = {
    signal.SIGKILL: ", as by a system that is out of memory",
    signal.SIGSEGV: ", a crash in a decoder or library",
    signal.SIGABRT: ", a decoder or library gave up",
    signal.SIGBUS: ", a file that was cut off while it was read, or a full disk",
}


def is_machine_error(error: BaseException | None) -> bool:
    """Return whether ``error`` is this machine's trouble: memory, rights, or one of its disks."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, OSError) and error.errno in MACHINE_ERRORS


def is_os_error(error: BaseException) -> bool:
    """Return whether ``error`` is one of ``OS_ERRORS``."""
    return isinstance(error, OSError) and error.errno in OS_ERRORS


def report_error(error: Exception) -> int:
    """Print a one-line message for ``error`` and return the exit code.

    Args:
        error: What stopped a stage or a command.

    Returns:
        The exit code of an ``EarshotError``, 1 for one of ``OS_ERRORS`` or ``MACHINE_ERRORS``, or
        2 for a name that can be none of a file.

    Raises:
        Exception: ``error`` itself when it is neither: it is a bug and needs its traceback.
    """
    if isinstance(error, EarshotError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code

    if not isinstance(error, OSError):
        raise error
    # The user knows the name that the file would have got, not that of `publish` before it.
    name = _TEMPORARY.sub("", str(error.filename or ""))
    where = f"{name}: " if name else ""

    # Without the name, nobody could give another one.
    if name and error.errno in _NAME_ERRORS:
        words = str(error.strerror).lower()
        print(f"error: {where}{words}; give another name, or move what is there", file=sys.stderr)
        return EarshotError.exit_code

    if error.errno not in MACHINE_ERRORS:
        raise error
    # For others than these, nobody knows more than the system says.
    unknown = OsErrorText(str(error.strerror).lower(), "mend it")
    text, remedy = OS_ERRORS.get(error.errno, unknown)
    print(f"error: {where}{text}; {remedy} and run the same command again", file=sys.stderr)
    return RunError.exit_code


def escape_unprintable() -> None:
    """Let this process print any text: names of files need not be text in its encoding.

    What UTF-8 cannot hold are bytes of a file's name, which come out as they are. Other encodings
    get ``\\xe4`` for what they lack.
    """
    stream = sys.stdout
    # None: the shell has closed it. Tests and notebooks have others, which take any text.
    if isinstance(stream, io.TextIOWrapper):
        is_utf8 = codecs.lookup(stream.encoding).name == "utf-8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


@contextlib.contextmanager
def explain_os_errors(folder: Path) -> Iterator[None]:
    """Turn one of ``OS_ERRORS`` in the body into a ``RunError`` that names ``folder``.

    The message says that finished work in ``folder`` is kept, so only use this around code that
    publishes its results one by one.

    Raises:
        RunError: The body raised one of ``OS_ERRORS``. Any other error passes unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in OS_ERRORS:
            raise

        text, remedy = OS_ERRORS[error.errno]
        raise RunError(
            f"{folder}: {text}; whatever was finished is kept: {remedy} and run the same command "
            "again"
        ) from None


def describe_exit(exit_code: int) -> str:
    """Return how a process ended in words; signals are negative exit codes."""
    if exit_code >= 0:
        return f"it ended with exit code {exit_code}"

    try:
        number = signal.Signals(-exit_code)
    except ValueError:
        return f"it was ended by signal {-exit_code}"
    return f"it was ended by {number.name}{_SIGNAL_HINTS.get(number, '')}"
