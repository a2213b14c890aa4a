"""Read from the ledger what happened to each clip, and when it may be attempted again.

A ``History`` is one clip's request with its attempts. Each start rebuilds it from the ledger, so a
run goes on in the same way whether or not it was killed before. ``table.py`` turns histories into
the rows of ``downloads.parquet``.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.files import sha256_of
from pipeline.downloads.account.reasons import Reason, classify, find_reason

NEVER = math.inf
_DAY_SECONDS = 86400
_CLOCK_SLACK_SECONDS = 60.0  # entries of machines whose clocks differ a little
_CONFIRMING_SECONDS = 20 * 3600  # between two failures that confirm each other
_LONGEST_DELAY_SECONDS = 7 * _DAY_SECONDS
_DELAY_GROWTH = 3.0  # each delay is this many times as long as the one before it


@dataclass(frozen=True)
class RetryPolicy:
    """When a clip is attempted again after a transient failure."""

    # The first failures in a row are followed by quick delays, all later ones by slow delays.
    num_quick_attempts: int
    quick_delay_seconds: float  # the first quick delay; each further one is three times as long
    slow_delay_seconds: float  # the first slow delay; likewise growing, up to a week

    # Credentials and tools in use, as they stand in the ledger. After a change, clips that
    # failed for want of other ones are due at once.
    access: str = ""
    versions: str = ""

    def delay_seconds(self, num_failures: int, reason: Reason) -> float:
        """Return how long to wait after ``num_failures`` failures in a row (1 or more)."""
        if reason.has_quick_retries and num_failures < self.num_quick_attempts:
            delay = self.quick_delay_seconds * _DELAY_GROWTH ** (num_failures - 1)
        else:
            # The slow delays begin with a first value of their own.
            num_slow = max(num_failures - self.num_quick_attempts, 0)
            delay = self.slow_delay_seconds * _DELAY_GROWTH**num_slow
        return min(delay, _LONGEST_DELAY_SECONDS)


class Requests:
    """What each clip of a list requests: its URL and section, held in columns."""

    def __init__(self, clips: pa.Table):
        self._columns = [clips[name] for name in ("url", "start_seconds", "end_seconds")]

    def __getitem__(self, row: int) -> tuple[str, float | None, float | None]:
        url, start_seconds, end_seconds = (column[row].as_py() for column in self._columns)
        return url, start_seconds, end_seconds


@dataclass(slots=True)
class History:
    """One clip's request and its attempts so far.

    A list may have a million clips. So a history knows only where its request and its entries are,
    and reads them when they are needed.
    """

    clip_id: str
    row: int  # of the clip in ``requests``
    requests: Requests
    read_entry: Callable[[int], dict[str, Any]]  # returns the entry at a place of the ledger
    is_known: bool = False  # the ledger has entries of the clip, if only of other requests
    is_retry_wanted: bool = False  # a `retry` came after the last attempt
    num_before_retry: int = 0  # attempts before the last `retry` or `refused`: they do not count
    # The file of the success before the last one, if it has another name: it was replaced.
    replaced_path: str | None = None
    # For a file that was written after its entry: its time, and whether its bytes are right.
    checked: tuple[int, bool] | None = None
    was_found_damaged: bool = False  # only a full decode showed that a file was damaged
    intact_at: float = 0.0  # when the file was last read and found right, as the ledger says
    # The status that stays although the file need not be here: it was dropped, or another machine
    # made the attempts.
    kept_status: str | None = None
    # The clip's row in a table of another machine, if this machine has never attempted the clip.
    pulled: dict[str, Any] | None = None

    # Places of the attempts of this request. Most clips have one, and a tuple for it takes room.
    _last_place: int | None = None
    _earlier_places: tuple[int, ...] = ()  # oldest first
    _ok_place: int | None = None  # of the last successful attempt

    @property
    def is_pulled(self) -> bool:
        """Whether only another machine attempted the clip, and no `retry` was requested here."""
        return self.pulled is not None and self._last_place is None and not self.is_retry_wanted

    @property
    def is_settled(self) -> bool:
        """Whether the clip keeps its status although its file need not be here."""
        has_attempts = self._last_place is not None
        return self.kept_status is not None and has_attempts and not self.is_retry_wanted

    @property
    def is_file(self) -> bool:
        """Whether the clip is made of a file of this machine."""
        return self.url.startswith("file:")

    @property
    def num_attempts(self) -> int:
        """The number of attempts."""
        return 0 if self._last_place is None else len(self._earlier_places) + 1

    @property
    def has_arrived(self) -> bool:
        """Whether an attempt of this request succeeded."""
        return self._ok_place is not None

    @property
    def last(self) -> dict[str, Any] | None:
        """The last attempt."""
        return None if self._last_place is None else self.read_entry(self._last_place)

    @property
    def ok(self) -> dict[str, Any] | None:
        """The last successful attempt."""
        return None if self._ok_place is None else self.read_entry(self._ok_place)

    @property
    def request(self) -> tuple[str, float | None, float | None]:
        """What identifies the request: its URL and section."""
        return self.requests[self.row]

    @property
    def url(self) -> str:
        """Where the clip comes from."""
        return self.request[0]

    @property
    def start_seconds(self) -> float | None:
        """Where the clip begins in its video; None: at the beginning."""
        return self.request[1]

    @property
    def end_seconds(self) -> float | None:
        """Where the clip ends in its video; None: at the end."""
        return self.request[2]

    def add(self, entry: dict[str, Any], place: int) -> None:
        """Apply one entry of the ledger; ``place`` is where ``read_entry`` finds it again.

        Attempts of another request do not count: the list has changed since then. Attempts at
        another version of a ``file://`` source do not count either. ``entry["source"]`` is the
        file's size and time; None means that the file was not there.
        """
        self.is_known = True
        if entry["type"] == "retry":
            # Earlier attempts stay in the ledger, but their failures no longer count.
            self.is_retry_wanted, self.num_before_retry = True, self.num_attempts
            self.kept_status = None
        elif entry["type"] == "absent":
            self.kept_status = entry["status"]
        elif entry["type"] == "intact":
            self.intact_at = entry["time"]
        elif entry["type"] == "refused":
            # The site refused this machine, so the failures so far say nothing about the clip.
            self.num_before_retry = self.num_attempts
        elif entry["type"] in ("attempt", "found"):
            if (entry["url"], entry["start_seconds"], entry["end_seconds"]) != self.request:
                return

            # Another size or time: the file was replaced, so the attempts were about another file.
            last = self.last
            if last is not None and entry.get("source") != last.get("source"):
                self.forget()

            # Places alone are kept. The entries of a million clips would fill the memory.
            if self._last_place is not None:
                self._earlier_places = (*self._earlier_places, self._last_place)
            self._last_place = place
            self.is_retry_wanted, self.kept_status = False, None
            if entry["type"] == "found":
                # Its file was taken for whole, and no longer is: the next one replaces it.
                ok = self.ok
                self.replaced_path = ok["file"]["path"] if ok is not None else self.replaced_path
                self._ok_place, self.was_found_damaged = None, True
            elif entry["outcome"] == "ok":
                self._note_replaced(entry["file"]["path"])
                self._ok_place, self.checked, self.intact_at = place, None, 0.0

    def _note_replaced(self, path: str) -> None:
        """Remember the file that a new one replaces under another name."""
        ok = self.ok
        if ok is not None and ok["file"]["path"] != path:
            self.replaced_path = ok["file"]["path"]
        elif self.replaced_path == path:
            self.replaced_path = None

    def forget(self) -> None:
        """Drop all attempts, because the source has changed."""
        ok = self.ok
        if ok is not None:
            self.replaced_path = ok["file"]["path"]
        self._last_place, self._earlier_places, self._ok_place = None, (), None
        self.is_retry_wanted, self.num_before_retry = False, 0
        self.was_found_damaged = False
        self.pulled = self.kept_status = None

    def trailing_failures(self) -> list[dict[str, Any]]:
        """Return the failures since the last success, `retry` or `refused`, oldest first."""
        if self._last_place is None:
            return []

        failures = []
        places = (*self._earlier_places, self._last_place)
        for place in reversed(places[self.num_before_retry :]):
            entry = self.read_entry(place)
            if entry["outcome"] == "ok":
                break
            failures.append(entry)
        return failures[::-1]

    def has_file(self, clips_dir: Path) -> bool:
        """Return whether the file of the last success exists with its bytes.

        Usually size and time decide. A file that was written after the ledger's entry is read.
        """
        ok = self.ok
        if ok is None:
            return False
        path, wanted = clips_dir / ok["file"]["path"], ok["file"]
        try:
            facts = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False

        if facts.st_size != wanted["bytes"]:
            return False
        # It was not written since the ledger's entry, so it is the file that was hashed then.
        if facts.st_mtime <= max(ok["time"], self.intact_at):
            return True

        # Reading takes long, so each version of a file is read once.
        if self.checked is None or self.checked[0] != facts.st_mtime_ns:
            self.checked = facts.st_mtime_ns, sha256_of(path) == wanted["sha256"]
        return self.checked[1]

    def is_in_place(self, clips_dir: Path) -> bool:
        """Return whether the clip has its file, and nobody asked for another one."""
        return not self.is_retry_wanted and self.has_file(clips_dir)

    def has_lost_file(self, clips_dir: Path) -> bool:
        """Return whether the last attempt succeeded and its file is gone or damaged."""
        last = self.last
        return last is not None and last["outcome"] == "ok" and not self.has_file(clips_dir)

    def next_attempt(self, policy: RetryPolicy, now: float) -> float:
        """Return the time from which a clip without a file may be attempted.

        Args:
            policy: the delays.
            now: seconds since 1970 UTC.

        Returns:
            Seconds since 1970 UTC: 0 for "now", ``NEVER`` when the reason is permanent.
        """
        failures = self.trailing_failures()
        if self.is_retry_wanted or not failures:
            return 0.0
        last = failures[-1]
        reason = find_reason(reason_of(last))

        # Other credentials or other tools may change the outcome at once.
        if reason.retry_when == "access" and last.get("access", "") != policy.access:
            return 0.0
        if reason.retry_when == "upgrade" and last.get("versions", "") != policy.versions:
            return 0.0

        # An error of this machine says nothing about the clip.
        if reason.permanence == "stop":
            return 0.0
        if self._is_permanent(failures):
            return NEVER
        # The time is in the future, because a clock was wrong: do not wait for it.
        if self.is_ahead(now):
            return 0.0

        # Seen once. It is permanent only if another day shows the same.
        if reason.permanence == "confirm":
            return last["time"] + _CONFIRMING_SECONDS
        if reason.permanence == "later":
            return last["time"] + _DAY_SECONDS

        # Transient: wait longer each time, and as long as the server asks for.
        delay = policy.delay_seconds(len(failures), reason)
        return last["time"] + max(delay, last.get("retry_after_seconds") or 0.0)

    def is_ahead(self, now: float) -> bool:
        """Return whether the last attempt lies in the future, as if a clock was ahead."""
        last = self.last  # read once: an entry may lie on disk
        return last is not None and last["time"] > now + _CLOCK_SLACK_SECONDS

    def is_confirmed(self) -> bool:
        """Return whether the clip failed for a reason that needs confirmation and has it."""
        failures = self.trailing_failures()
        if not failures or self.is_retry_wanted:
            return False
        permanence = find_reason(reason_of(failures[-1])).permanence
        return permanence == "confirm" and self._is_permanent(failures)

    def _is_permanent(self, failures: Sequence[Mapping[str, Any]]) -> bool:
        permanence = find_reason(reason_of(failures[-1])).permanence
        if permanence == "confirm":
            # An unchanged file of this machine would give the same result again.
            return self.is_file or _was_seen_twice_apart(failures)
        return permanence == "permanent"


def reason_of(attempt: Mapping[str, Any]) -> str:
    """Return the reason of a failed attempt; if it came from a text, classify the text again."""
    return classify(attempt["text"]) if attempt["by"] == "text" else attempt["reason"]


def _was_seen_twice_apart(failures: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last failures in a row have one reason, 20 hours or more apart."""
    # Failures for another reason in between begin the count again.
    reason = reason_of(failures[-1])
    latest = earliest = failures[-1]["time"]
    for entry in reversed(failures):
        # Its time is later than that of the next entry: its clock was wrong, so ignore the time.
        if reason_of(entry) != reason or entry["time"] > latest:
            break
        earliest = min(earliest, entry["time"])
    return latest - earliest >= _CONFIRMING_SECONDS
