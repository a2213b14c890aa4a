"""Let one process at a time do something, with a lock file."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.2


class LockHeldError(Exception):
    """Another process holds the lock, and the caller does not want to wait."""


@contextlib.contextmanager
def hold_lock(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file ``path`` while the body runs.

    The operating system frees the lock when its holder ends, also when it is killed.

    Args:
        path: The lock file. Its folder is created; the file is removed when the lock is free again.
        on_wait: Called once before waiting for another holder. Without it, there is no waiting.

    Raises:
        LockHeldError: Another process (or another caller in this one) holds the lock, and
            ``on_wait`` is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)

    try:
        lock.acquire(blocking=False)
    except Timeout:
        if on_wait is None:
            raise LockHeldError(path) from None
        on_wait()
        lock.acquire(poll_interval=_POLL_SECONDS)

    try:
        yield
    finally:
        # Remove the file before the release. Another process may have opened it already. It then
        # locks a file without a name; filelock notices this and tries again with a new file.
        path.unlink(missing_ok=True)
        lock.release()
