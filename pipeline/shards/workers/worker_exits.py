"""Keep how worker processes of a local cluster ended: an exit code, a signal, too much memory.

Dask's nanny starts a worker and sees its end, but does not report it. Workers of a remote scheduler
end on other machines. How they ended is known only from what Dask prints there.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator

from distributed import Nanny

from pipeline.base.os_errors import describe_exit

# How each worker ended, by its address. Nannies live in the process of the client.
_EXITS: dict[str, str] = {}
_TOO_MUCH_MEMORY = "it used more memory than cluster.memory_limit_gib allows"


class WatchedNanny(Nanny):
    """A nanny that notes how its worker ended."""

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        address = self.worker_address
        # The code is 0 where the worker was asked to end.
        if address is not None and exitcode:
            # If Dask itself ended it because of its memory, that was noted before and stays.
            _EXITS.setdefault(address, describe_exit(exitcode))
        super()._on_worker_exit_sync(exitcode)

    def log_event(self, topic: str, msg: dict) -> None:
        """Note that Dask ends a worker because of its memory."""
        if topic == "worker-restart-memory":
            _EXITS[msg["worker"]] = f"{_TOO_MUCH_MEMORY} ({msg['rss'] / 2**30:.2f} GiB)"
        super().log_event(topic, msg)


def list_exits() -> dict[str, str]:
    """Return how workers ended that this process started, by address."""
    return dict(_EXITS)


@contextlib.contextmanager
def shown_log_of_nannies() -> Iterator[None]:
    """Print Dask's warnings about its workers, which it otherwise keeps to itself."""
    logger = logging.getLogger("distributed.nanny")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("Dask: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
