"""Let one process at a time do something, with a lock file."""

import contextlib
import errno
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from earshot.errors import RunError

_POLL_SECONDS = 0.2
_SHORT_POLL_SECONDS = 0.01
# What file systems without locks answer: NFS without lockd, Lustre without flock, and others. The
# last number, ENOTSUPP of the kernel, has no name in Python.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524)


class LockHeldError(Exception):
    """Another process holds the lock, and the caller does not want to wait."""


@contextlib.contextmanager
def hold_lock(
    path: Path, *, on_wait: Callable[[], None] | None = None, limit_seconds: float = 0.0
) -> Iterator[None]:
    """Hold the lock file ``path`` while the body runs.

    The operating system frees the lock when its holder ends, also when it is killed.

    Args:
        path: The lock file. Its folder is created; the file is removed when the lock is free again.
        on_wait: Called once before waiting for another holder, as long as it takes. Without it,
            there is no such waiting.
        limit_seconds: How long another holder is waited for before that.

    Raises:
        LockHeldError: Another process (or another caller in this one) holds the lock, and
            ``on_wait`` is None.
        RunError: The file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not thread-local: a generator can end in another thread than it began in.
    lock = FileLock(path, thread_local=False)

    try:
        # filelock warns where it falls back to another kind of lock; the error below says more.
        with warnings.catch_warnings(action="ignore"):
            lock.acquire(timeout=limit_seconds, poll_interval=_SHORT_POLL_SECONDS)
    except Timeout:
        if on_wait is None:
            raise LockHeldError(f"{path} is held by another process") from None
        on_wait()
        lock.acquire(poll_interval=_POLL_SECONDS)
    except OSError as error:
        # Any other error, such as a full disk, says more by itself.
        if error.errno not in _NO_LOCKS:
            raise
        raise _explain_lack(path, str(error)) from None
    except NotImplementedError as error:
        raise _explain_lack(path, str(error)) from None

    # filelock's fallback is a file that a killed process leaves behind.
    if isinstance(lock, SoftFileLock):
        lock.release()
        raise _explain_lack(path, "flock is not implemented")

    try:
        yield
    finally:
        # Remove the file before the release. Another process may have opened it already. It then
        # locks a file without a name; filelock notices this and tries again with a new file.
        path.unlink(missing_ok=True)
        lock.release()


def _explain_lack(path: Path, answer: str) -> RunError:
    """Remove the lock file, and return the error of a file system without locks."""
    path.unlink(missing_ok=True)
    return RunError(
        f"{path.parent}: this file system has no locks ({answer}), and two processes that "
        "write there would damage each other's files; mount it with locks (NFS with lockd or "
        "local_lock=flock, Lustre with -o flock), or work on another disk"
    )
