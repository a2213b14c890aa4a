"""Decide when a download run should wait, pause or stop.

A single clip's failure is no reason to wait: ``history.py`` decides when that clip is attempted
again. This module is about the machine and the site:

- ``Pace`` limits how many videos start in an hour.
- ``CircuitBreaker`` pauses all requests after a bot check or a rate limit.
- ``StopRule`` ends the run when going on is pointless: the site keeps refusing this machine, most
  of the last videos failed because of the tools, or the disk is nearly full.
"""

import errno
import os
import random
import shutil
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.downloads.history import History, reason_of
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.reasons import find_reason

Site = Literal["youtube", "loopback", "other"]

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

# The tools are to blame when more than half of the last 20 videos, and at least 5 of them, failed
# for reasons with ``is_environment``.
_NUM_RECENT_VIDEOS = 20
_MIN_ENVIRONMENT_FAILURES = 5

_DISK_INTERVAL_SECONDS = 10.0


def find_site(url: str) -> Site | None:
    """Return what kind of host a URL names; None for a file of this machine."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # not an address; the worker reports it
        return "other"
    if parts.scheme == "file":
        return None

    host = (parts.hostname or "").lower()
    if host in _LOOPBACK_HOSTS:
        return "loopback"
    if host in ("youtu.be", "youtube.com") or host.endswith(".youtube.com"):
        return "youtube"
    return "other"


@dataclass
class Pace:
    """Limits how many videos start in an hour, for each kind of host.

    The steps between two starts last half to one and a half of their mean, so that requests are
    not exactly periodic.
    """

    per_hour: Mapping[Site, float]  # 0: no limit
    generator: random.Random
    _free_at: dict[Site, float] = field(default_factory=dict)  # seconds since 1970 UTC

    def seconds_to_wait(self, site: Site | None, now: float) -> float:
        """Return how long the next video of a site must wait."""
        return 0.0 if site is None else max(0.0, self._free_at.get(site, 0.0) - now)

    def count_start(self, site: Site | None, now: float) -> None:
        """Count a video that starts now."""
        rate = self.per_hour.get(site) if site is not None else None
        if site is not None and rate:
            self._free_at[site] = now + 3600.0 / rate * self.generator.uniform(0.5, 1.5)


@dataclass
class CircuitBreaker:
    """Pauses all requests after a bot check or a rate limit.

    Each pause in a row lasts twice as long as the one before. After a pause one video at a time is
    requested (``is_probing``) until a site answers without refusing.
    """

    pause_seconds: float  # the first pause, unless the server says Retry-After
    max_pause_seconds: float
    num_pauses: int = 0  # in a row
    open_until: float = 0.0  # seconds since 1970 UTC
    is_probing: bool = False

    def trip(self, now: float, *, retry_after_seconds: float | None = None) -> float:
        """Start a pause, or extend the present one.

        Videos that were already being fetched when a pause began may be refused as well; they
        belong to the same pause.

        Args:
            now: seconds since 1970 UTC.
            retry_after_seconds: what the server said, None if nothing.

        Returns:
            When the pause ends.
        """
        if now >= self.open_until:
            self.num_pauses += 1

        pause = min(self.pause_seconds * 2 ** (self.num_pauses - 1), self.max_pause_seconds)
        # Retry-After replaces our own pause, whether it is shorter or longer.
        if retry_after_seconds is not None:
            pause = retry_after_seconds
        self.open_until = max(self.open_until, now + pause)
        self.is_probing = True
        return self.open_until

    def record_success(self, now: float) -> None:
        """End the series of pauses, because a site answered without refusing.

        An answer during a pause proves nothing: its request was sent before the pause.
        """
        if now >= self.open_until:
            self.num_pauses, self.is_probing = 0, False

    def seconds_to_wait(self, now: float) -> float:
        """Return how long the pause still lasts."""
        return max(0.0, self.open_until - now)


class StopRule:
    """Watches the results of a run, pauses it through ``breaker`` and says when to stop it.

    Attributes:
        breaker: the pauses.
        stop_message: why the run must stop; None while it may go on.
        is_refused: whether it must stop because the site refuses this machine.
    """

    def __init__(self, parameters: DownloadParameters):
        self._parameters = parameters
        self.breaker = CircuitBreaker(parameters.pause_seconds, parameters.max_pause_seconds)
        self.stop_message: str | None = None
        self.is_refused = False

        # The last videos by URL, each with the reason of its failure (None: it arrived).
        self._recent: dict[str, str | None] = {}
        self._last_disk_check = -_DISK_INTERVAL_SECONDS

    def record_video(
        self,
        url: str,
        entries: Sequence[Mapping[str, Any]],
        now: float,
        *,
        retry_after_seconds: float | None,
    ) -> None:
        """Judge the results of one video.

        Args:
            url: of the video.
            entries: the ledger's entries of its clips.
            now: seconds since 1970 UTC.
            retry_after_seconds: what the server said, None if nothing.
        """
        # Clips of one video are fetched together and usually fail for the same reason.
        failures = [entry for entry in entries if entry["outcome"] != "ok"]
        reason = find_reason(failures[0]["reason"]) if failures else None

        # No space left, for example: the next video would fail as well.
        if reason is not None and reason.permanence == "stop":
            self.stop_message = f"this machine's own trouble: {failures[0]['text']}"
            return
        if find_site(url) is None:  # files say nothing about a site
            return

        # A refusal concerns this machine: all clips wait.
        if reason is not None and reason.permanence == "pause":
            until = self.breaker.trip(now, retry_after_seconds=retry_after_seconds)
            if self._is_pause_too_long(until - now):
                self.is_refused = True
                self.stop_message = (
                    f"the site refuses this machine ({reason.name}, "
                    f"{self.breaker.num_pauses} times in a row); {reason.advice}"
                )
        else:
            self.breaker.record_success(now)

        self._remember(url, reason.name if reason is not None else None)
        self._check_environment()

    def _is_pause_too_long(self, pause_seconds: float) -> bool:
        parameters = self._parameters
        longest = max(parameters.max_pause_seconds, parameters.pause_seconds)
        return self.breaker.num_pauses > parameters.max_pauses or pause_seconds > longest

    def _remember(self, url: str, reason: str | None) -> None:
        self._recent.pop(url, None)  # a further attempt moves the video to the end
        self._recent[url] = reason
        if len(self._recent) > _NUM_RECENT_VIDEOS:
            self._recent.pop(next(iter(self._recent)))

    def _check_environment(self) -> None:
        """Stop when most of the last videos failed because of the tools."""
        counts = Counter(
            name
            for name in self._recent.values()
            if name is not None and find_reason(name).is_environment
        )
        total, num_recent = counts.total(), len(self._recent)
        # Two conditions, because a run that has just begun must not stop after its first failures.
        if total < _MIN_ENVIRONMENT_FAILURES or total * 2 <= num_recent:
            return

        name, number = counts.most_common(1)[0]
        self.stop_message = (
            f"{total} of the last {num_recent} videos failed with {', '.join(sorted(counts))}: "
            f"the environment is at fault, not the videos "
            f"({name}, {number} times: {find_reason(name).advice})"
        )

    def restore_pause(self, histories: Mapping[str, History], *, access: str) -> None:
        """Continue the pause of an earlier run, unless the credentials have changed.

        Args:
            histories: of all clips, by clip id.
            access: the credentials in use (``DownloadParameters.describe_access``).
        """
        # The newest answer of any site decides.
        attempts = [
            history.last
            for history in histories.values()
            if history.last is not None and find_site(history.url) is not None
        ]
        last = max(attempts, key=lambda entry: entry["time"], default=None)
        if last is None or last["outcome"] == "ok" or last.get("access", "") != access:
            return

        # A user who marked that very clip with `retry` wants an attempt now.
        is_pause = find_reason(reason_of(last)).permanence == "pause"
        if is_pause and not histories[last["clip_id"]].is_retry_wanted:
            self.breaker.trip(last["time"], retry_after_seconds=last.get("retry_after_seconds"))

    def check_disk(self, folder: Path) -> None:
        """Stop before the disk of ``folder`` is full; look at it every ten seconds at most."""
        if time.monotonic() - self._last_disk_check < _DISK_INTERVAL_SECONDS:
            return
        self._last_disk_check = time.monotonic()

        free_gigabytes = shutil.disk_usage(folder).free / 1e9
        if free_gigabytes < self._parameters.min_free_gigabytes:
            self.stop_message = (
                f"{folder}: {free_gigabytes:.2f} GB free, expected download.min_free_gigabytes "
                f"({self._parameters.min_free_gigabytes:g}) or more: {os.strerror(errno.ENOSPC)}"
            )
