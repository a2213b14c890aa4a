"""Let processes that were started together agree on whether to train.

They meet before Lightning connects them.
"""

import datetime
import time

import torch.distributed as dist

from earshot.errors import RunError
from train.fitting.launcher import Launch

_WAIT = datetime.timedelta(days=30)  # for a stage that trains the same weights
_CONNECT = datetime.timedelta(minutes=10)
_POLL_SECONDS = 0.5


def share_decision(launch: Launch, decision: bool | None, *, num_starts: int, key: str) -> bool:
    """Let the first process decide for all that were started with it.

    If each process decided by itself, one could find a run that another stage has just finished,
    while the others begin to train and wait for it for ever.

    Args:
        launch: the processes.
        decision: of the first process; None in the others, which wait for it.
        num_starts: how many processes were started from outside.
        key: of the decision; each key is used once.

    Returns:
        The decision of the first process.

    Raises:
        RunError: the processes cannot meet, or the first one ended without a decision.
    """
    assert launch.address is not None and launch.port is not None
    # torchrun has a store. Elsewhere the first process opens one beside the port of the training.
    is_host = launch.store_prefix is None and decision is not None
    port = launch.port if launch.store_prefix is not None else launch.port + 1
    place = f"{launch.address} port {port}"

    try:
        store: dist.Store = dist.TCPStore(
            launch.address, port, is_master=is_host, timeout=_CONNECT, wait_for_workers=False
        )
        store = dist.PrefixStore(launch.store_prefix or "earshot", store)
        if decision is None:
            return _hear(store, key)
        _tell(store, key, decision, num_others=num_starts - 1)
        return decision
    except RuntimeError as error:  # torch's errors of stores are RuntimeErrors
        reason = str(error).partition("\n")[0]
        raise RunError(
            f"the {num_starts} processes that train together lost each other at {place} before "
            f"they began ({reason}); see the message of the first one"
        ) from None


def _tell(store: dist.Store, key: str, decision: bool, *, num_others: int) -> None:
    store.set(key, str(int(decision)))

    # The store may end with this process, so wait until nobody needs it.
    end = time.monotonic() + _CONNECT.total_seconds()
    # Adding 0 reads the counter.
    while store.add(f"{key}/heard", 0) < num_others:
        if time.monotonic() > end:
            raise RuntimeError("not all of them were started")
        time.sleep(_POLL_SECONDS)


def _hear(store: dist.Store, key: str) -> bool:
    # The first process decides when it has the lock, for which it may wait as long as a training.
    store.wait([key], _WAIT)
    decision = store.get(key) == b"1"
    store.add(f"{key}/heard", 1)
    return decision
