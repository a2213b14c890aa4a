"""Make the history of each clip of a list from the ledger, and from a table that was pulled."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from earshot.errors import DataError, quote
from pipeline.downloads.account.history import History, Requests
from pipeline.downloads.account.ledger import Ledger, find_fault


def read_histories(
    clips: pa.Table,
    entries: Ledger | Sequence[dict[str, Any]],
    *,
    before: pa.Table | None = None,
) -> dict[str, History]:
    """Return the history of each clip of a list.

    Args:
        clips: table with the columns ``clip_id url start_seconds end_seconds``.
        entries: an open ledger, or its entries, oldest first; those of other clips are ignored.
        before: the DOWNLOADS rows of now. `dvc pull` brings them without a ledger.

    Returns:
        Histories by clip id, in the order of the list.

    Raises:
        DataError: an entry lacks what its type needs.
    """
    placed: Iterable[tuple[int, dict[str, Any]]]
    read_entry: Callable[[int], dict[str, Any]]
    # A history keeps places, and reads an entry when it is needed.
    if isinstance(entries, Ledger):
        placed, read_entry = entries.iter_entries(), entries.read_entry
    else:
        placed, read_entry = enumerate(entries), entries.__getitem__
    requests = Requests(clips)
    histories = {
        clip_id: History(clip_id, row, requests, read_entry)
        for row, clip_id in enumerate(clips["clip_id"].to_pylist())
    }

    # Clips that are no longer in the list keep their entries in the ledger.
    for number, (place, entry) in enumerate(placed, start=1):
        history = histories.get(entry["clip_id"])
        if history is None:
            continue
        fault = find_fault(entry)
        if fault is not None:
            raise DataError(
                f"attempts.jsonl, line {number}: the {entry['type']} of clip "
                f"{quote(entry['clip_id'])} {fault}; mend or remove the line"
            )
        history.add(entry, place)
    add_pulled_rows(histories, before)
    return histories


def add_pulled_rows(histories: Mapping[str, History], before: pa.Table | None) -> None:
    """Enter the rows of a table of another machine, for clips that the ledger does not know.

    Args:
        histories: by clip id; changed here.
        before: the DOWNLOADS rows of now; None: there are none.
    """
    if before is None:
        return

    # Usually the ledger knows all clips. Rows as mappings take room, so make only those needed.
    pairs = zip(before["clip_id"], before["status"], strict=True)
    numbers = []
    for number, (clip_id, status) in enumerate(pairs):
        history = histories.get(clip_id.as_py())
        if history is not None and not history.is_known and status.as_py() != "pending":
            numbers.append(number)
    for row in before.take(pa.array(numbers, pa.int64())).to_pylist():
        histories[row["clip_id"]].pulled = row
