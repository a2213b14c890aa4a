"""What the ledger says about each clip: its attempts, its file, when it may be attempted again; and the table of it.

``downloads.parquet`` follows from the list of clips, the ledger and the files alone, so that a killed and resumed run
and an undisturbed one give the same rows, and reasons can be read anew from the raw texts.
"""

import hashlib
import math
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.tables import DOWNLOADS
from pipeline.downloads.reasons import classify, permanence_of

_DAY_SECONDS = 86400
_LONGEST_DELAY_SECONDS = 7 * _DAY_SECONDS
_GROWTH = 3.0
_DETAIL_CHARACTERS = 500
_MAX_STEM_BYTES = 150
_PLAIN = re.compile(rb"[A-Za-z0-9._\-]")
# Reasons that other credentials or another address can change.
_ACCESS_REASONS = frozenset(
    {"age_restricted", "private", "members_only", "bot_check", "geo_blocked", "rate_limit"}
)
NEVER = math.inf
SETTLED_MARK = " [settled]"  # ends the detail of a reason that was to be confirmed, and is


@dataclass(frozen=True)
class RetryPolicy:
    """When a clip is attempted again.

    The first ``num_quick_attempts`` failures in a row follow each other after ``quick_delay_seconds``, three times as
    long each time; later ones after ``slow_delay_seconds``, likewise growing, at most a week. ``access`` describes the
    credentials in use (see ``describe_access``), ``versions`` the tools: with others, what failed for want of them is
    due at once.
    """

    num_quick_attempts: int
    quick_delay_seconds: float
    slow_delay_seconds: float
    access: str = ""
    versions: str = ""


@dataclass
class History:
    """One clip's request and what became of it so far."""

    clip_id: str
    url: str
    start_seconds: float | None
    end_seconds: float | None
    attempts: list[dict] = field(default_factory=list)  # of this very request, in order
    is_retry_wanted: bool = False
    num_before_retry: int = 0  # attempts that a `retry` made forget
    ok: dict | None = None  # the last successful attempt

    @property
    def last(self) -> dict | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def request(self) -> tuple:
        return self.url, self.start_seconds, self.end_seconds

    def add(self, entry: Mapping) -> None:
        """Take in one entry of the ledger.

        Those of another request (the list changed) do not count, nor do those of another state of a ``file://`` source
        (``source``: its size and time; None: it was not there).
        """
        if entry["type"] == "retry":
            self.is_retry_wanted, self.num_before_retry = True, len(self.attempts)
        elif entry["type"] == "attempt":
            if (entry["url"], entry["start_seconds"], entry["end_seconds"]) != self.request:
                return
            if self.attempts and entry.get("source") != self.attempts[-1].get("source"):
                self.forget()
            self.attempts.append(entry)
            self.is_retry_wanted = False
            if entry["outcome"] == "ok":
                self.ok = entry

    def forget(self) -> None:
        """What was found so far is void: the source is another one."""
        self.attempts.clear()
        self.ok, self.is_retry_wanted, self.num_before_retry = None, False, 0

    def trailing_failures(self) -> list[dict]:
        """Failures since the last success or `retry`, oldest first."""
        failures = []
        for entry in reversed(self.attempts[self.num_before_retry :]):
            if entry["outcome"] == "ok":
                break
            failures.append(entry)
        return failures[::-1]

    def has_file(self, clips_dir: Path) -> bool:
        """Whether the file of the last success is there with its size."""
        if self.ok is None:
            return False
        try:
            return os.stat(clips_dir / self.ok["file"]["path"]).st_size == self.ok["file"]["bytes"]
        except FileNotFoundError:
            return False

    def next_attempt(self, policy: RetryPolicy) -> float:
        """Unix time from which a clip without a file may be attempted; ``NEVER`` when its reason is permanent."""
        failures = self.trailing_failures()
        if self.is_retry_wanted or not failures:
            return 0.0
        last, reason = failures[-1], reason_of(failures[-1])
        if reason in _ACCESS_REASONS and last.get("access", "") != policy.access:
            return 0.0
        permanence = permanence_of(reason)
        if permanence == "stop":
            return 0.0
        if permanence == "permanent" or (permanence == "confirm" and self.url.startswith("file:")):
            return NEVER
        if permanence == "confirm":
            return (
                NEVER
                if is_confirmed(failures)
                else (last["time"] // _DAY_SECONDS + 1) * _DAY_SECONDS
            )
        if permanence == "later":
            return last["time"] + _DAY_SECONDS
        if reason in ("no_format", "extractor") and last.get("versions", "") != policy.versions:
            return 0.0
        num_failures = len(failures)
        if reason == "no_format" or num_failures >= policy.num_quick_attempts:
            num_slow = max(num_failures - policy.num_quick_attempts, 0)
            delay = policy.slow_delay_seconds * _GROWTH**num_slow
        else:
            delay = policy.quick_delay_seconds * _GROWTH ** (num_failures - 1)
        return last["time"] + max(
            min(delay, _LONGEST_DELAY_SECONDS), last.get("retry_after_seconds") or 0.0
        )

    def is_permanent(self) -> bool:
        """Whether the clip will not be attempted again by itself."""
        failures = self.trailing_failures()
        if not failures or self.is_retry_wanted:
            return False
        permanence = permanence_of(reason_of(failures[-1]))
        return permanence == "permanent" or (
            permanence == "confirm" and (self.url.startswith("file:") or is_confirmed(failures))
        )


def reason_of(attempt: Mapping) -> str:
    """The reason of a failed attempt, read anew from its text where it came from one."""
    return classify(attempt["text"]) if attempt["by"] == "text" else attempt["reason"]


def is_confirmed(failures: list[Mapping]) -> bool:
    """Whether the last failures in a row have one reason, found on two different days (UTC)."""
    reason, days = reason_of(failures[-1]), set()
    for entry in reversed(failures):
        if reason_of(entry) != reason:
            break
        days.add(int(entry["time"] // _DAY_SECONDS))
    return len(days) >= 2


def read_histories(clips: pa.Table, entries: Iterable[Mapping]) -> dict[str, History]:
    """The history of each clip of the list, in the list's order."""
    columns = [
        clips.column(name).to_pylist()
        for name in ("clip_id", "url", "start_seconds", "end_seconds")
    ]
    histories = {row[0]: History(*row) for row in zip(*columns, strict=True)}
    for entry in entries:
        history = histories.get(entry["clip_id"])
        if history is not None:
            history.add(entry)
    return histories


def derive_downloads(
    histories: Mapping[str, History], *, clips_dir: Path, allow_duplicates: bool = False
) -> pa.Table:
    """DOWNLOADS rows, one a clip: ``ok``, ``missing`` with a reason, or ``pending`` (no verdict yet).

    Of clips with the same bytes the first of the list is ok, the others are missing with reason ``duplicate``.
    """
    rows, first_by_sha256 = [], {}
    for history in histories.values():
        last = history.last
        row = dict.fromkeys(DOWNLOADS.columns.names)
        row |= {
            "clip_id": history.clip_id,
            "status": "pending",
            "attempts": len(history.attempts),
            "flags": [],
        }
        if last is not None:
            row |= {"last_attempt": int(last["time"]), "tool_versions": last["versions"]}
        if history.has_file(clips_dir):
            facts = history.ok["file"]
            row |= {name: facts[name] for name in FILE_COLUMNS} | {"status": "ok"}
            original = first_by_sha256.setdefault(facts["sha256"], history.clip_id)
            if original != history.clip_id and not allow_duplicates:
                row |= dict.fromkeys(FILE_COLUMNS) | {
                    "status": "missing",
                    "reason": "duplicate",
                    "detail": f"has the same bytes as {original}",
                    "sha256": facts["sha256"],
                    "flags": [],
                }
            elif history.is_retry_wanted:
                row |= {"detail": "to be fetched again"}
        elif history.is_retry_wanted:
            row |= {"detail": "to be attempted again"}
        elif last is not None and last["outcome"] == "ok":
            row |= {"detail": "its file is gone from the cache; to be fetched again"}
        elif last is not None:
            reason = reason_of(last)
            row |= {
                "status": "pending" if permanence_of(reason) == "stop" else "missing",
                "reason": reason,
                "detail": " ".join(last["text"].split())[:_DETAIL_CHARACTERS]
                + (
                    SETTLED_MARK
                    if permanence_of(reason) == "confirm" and history.is_permanent()
                    else ""
                ),
            }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=DOWNLOADS.columns)


FILE_COLUMNS = (
    "path",
    "bytes",
    "sha256",
    "duration_seconds",
    "width",
    "height",
    "fps",
    "video_codec",
    "audio_codec",
    "sample_rate",
    "flags",
)


def describe_access(*, cookies_path: str | None, proxy: str | None) -> str:
    """What of the credentials goes into the ledger: whether there are cookies, and the proxy's host; no secrets."""
    words = ["cookies"] if cookies_path else []
    if proxy:
        words.append(f"proxy {urllib.parse.urlsplit(proxy).hostname}")
    return ", ".join(words)


def file_stem_of(clip_id: str) -> str:
    """A file name for a clip: plain characters stay, all others are percent-encoded; long ones end in a hash."""
    data = clip_id.encode("utf-8", "surrogateescape")
    stem = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in data)
    if stem.startswith("."):  # hidden, or a temporary name
        stem = "%2E" + stem[1:]
    if len(stem) > _MAX_STEM_BYTES:
        stem = stem[:_MAX_STEM_BYTES] + "~" + hashlib.sha256(data).hexdigest()[:16]
    return stem
