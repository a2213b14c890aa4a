"""When a download run pauses or stops: trouble that is not the clip's own but the machine's or the site's.

A site that refuses this machine (bot check, rate limit) pauses everything; refused again and again, or with most of the
last videos failing for one environment's reason, or with the disk nearly full, the run stops and says why.
"""

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pipeline.downloads.history import History, reason_of
from pipeline.downloads.pace import CircuitBreaker, site_of
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.reasons import ENVIRONMENT_REASONS, REASONS, permanence_of

_ENVIRONMENT_WINDOW = 20  # videos that are looked at for systematic trouble
_ENVIRONMENT_MIN = 5  # of them at least this many must show it
_DISK_INTERVAL_SECONDS = 10.0


class Trouble:
    """What a run has seen of it. ``stop_message``: why to stop, None while nothing speaks against going on;
    ``is_refused``: the site refuses this machine.
    """

    def __init__(self, parameters: DownloadParameters):
        self._parameters = parameters
        self.breaker = CircuitBreaker(parameters.pause_seconds, parameters.max_pause_seconds)
        self.stop_message: str | None = None
        self.is_refused = False
        self._recent: dict[
            str, str | None
        ] = {}  # the last videos by URL, each with its reason (None: it arrived)
        self._last_disk_check = -_DISK_INTERVAL_SECONDS

    def judge(
        self, url: str, entries: list[dict], now: float, *, retry_after_seconds: float | None
    ) -> None:
        """Take in what became of a video's clips (ledger entries)."""
        failures = [entry for entry in entries if entry["outcome"] != "ok"]
        reason = failures[0]["reason"] if failures else None
        permanence = permanence_of(reason) if reason else None
        if permanence == "stop":
            self.stop_message = f"this machine's own trouble: {failures[0]['text']}"
            return
        if site_of(url) is None:
            return
        if permanence == "pause":
            until = self.breaker.trip(now, retry_after_seconds=retry_after_seconds)
            if self.breaker.num_pauses > self._parameters.max_pauses or until - now > max(
                self._parameters.max_pause_seconds, self._parameters.pause_seconds
            ):
                self.is_refused = True
                self.stop_message = (
                    f"the site refuses this machine ({reason}, {self.breaker.num_pauses} times in a row); "
                    f"{REASONS[reason].advice}"
                )
        else:
            self.breaker.succeed(now)
        self._recent.pop(url, None)
        self._recent[url] = reason
        if len(self._recent) > _ENVIRONMENT_WINDOW:
            self._recent.pop(next(iter(self._recent)))
        counts = Counter(
            reason for reason in self._recent.values() if reason in ENVIRONMENT_REASONS
        )
        if counts.total() >= _ENVIRONMENT_MIN and counts.total() * 2 > len(self._recent):
            name, number = counts.most_common(1)[0]
            self.stop_message = (
                f"{counts.total()} of the last {len(self._recent)} videos failed with {', '.join(sorted(counts))}: the "
                f"environment is at fault, not the videos ({name}, {number} times: {REASONS[name].advice})"
            )

    def restore_pause(self, histories: Mapping[str, History], *, access: str) -> None:
        """An earlier run's pause still holds, unless the credentials changed."""
        last = max(
            (
                history.last
                for history in histories.values()
                if history.last and site_of(history.url)
            ),
            key=lambda entry: entry["time"],
            default=None,
        )
        if last is None or last["outcome"] == "ok" or last.get("access", "") != access:
            return
        if (
            permanence_of(reason_of(last)) == "pause"
            and not histories[last["clip_id"]].is_retry_wanted
        ):
            self.breaker.trip(last["time"], retry_after_seconds=last.get("retry_after_seconds"))

    def check_disk(self, folder: Path) -> None:
        """Stop before the disk is full."""
        if time.monotonic() - self._last_disk_check < _DISK_INTERVAL_SECONDS:
            return
        self._last_disk_check = time.monotonic()
        free_gigabytes = shutil.disk_usage(folder).free / 1e9
        if free_gigabytes < self._parameters.min_free_gigabytes:
            self.stop_message = (
                f"{folder}: {free_gigabytes:.2f} GB free, expected download.min_free_gigabytes "
                f"({self._parameters.min_free_gigabytes:g}) or more: {os.strerror(errno.ENOSPC)}"
            )
