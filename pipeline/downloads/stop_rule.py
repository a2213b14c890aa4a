"""Decide when a download run should pause or stop.

A single clip's failure does not stop a run: ``history.py`` decides when that clip is attempted
again. This module is about the machine and the site:

- A bot check or a rate limit pauses the site (``sites.py``).
- A **mass refusal** pauses it, too: most of the last videos of a site failed for reasons that are
  not their own, whatever the messages said. These failures no longer count for the clips.
- After too many pauses in a row the run stops: the site refuses this machine.
- The run stops when most of the last videos failed because of the tools, when errors of this
  machine last, or when the disk is nearly full.
"""

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.downloads.account.history import History, reason_of
from pipeline.downloads.account.reasons import Reason, find_reason
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.sites import SiteGate, SiteGates, find_host
from pipeline.downloads.video_queue import VideoTask

# The last 20 videos decide whether a site or the tools are the cause, if 5 or more failed.
_NUM_RECENT_VIDEOS = 20
_MIN_FAILURES = 5

# A site refuses this machine when more than this fraction of the last videos failed for reasons
# that are not their own. Some videos are unavailable in every list, so these weigh less.
_REFUSED_FRACTION = 0.6
_WEIGHT_OF_UNAVAILABLE = 0.8

# If so many videos in a row have errors of this machine, the errors concern all videos.
_MAX_LOCAL_VIDEOS = 3

_DISK_INTERVAL_SECONDS = 10.0


@dataclass
class _Recent:
    """The last result of one video."""

    task: VideoTask
    reason: Reason | None  # of its failure; None: it arrived
    is_expected: bool  # it failed for this reason before this run, so it does not count


@dataclass
class _SiteRecord:
    """What a run has seen of one host."""

    recent: dict[str, _Recent] = field(default_factory=dict)  # the last videos, by URL
    attempted: set[str] = field(default_factory=set)  # URLs of all videos
    num_pauses: int = 0  # in a row
    struck: set[str] = field(default_factory=set)  # URLs whose failures were cancelled once


class StopRule:
    """Watches the results of a run, pauses sites through ``gates`` and says when to stop.

    Attributes:
        gates: pace and pauses of each host.
        stop_message: why the run must stop; None while it may go on.
        is_refused: whether it must stop because a site refuses this machine.
        notices: what a user should know meanwhile; the engine prints and clears them.
    """

    def __init__(self, parameters: DownloadParameters, gates: SiteGates, *, started_at: float):
        self._parameters, self._started_at = parameters, started_at
        self.gates = gates
        self.stop_message: str | None = None
        self.is_refused = False
        self.notices: list[str] = []

        self._records: dict[str, _SiteRecord] = {}
        self._local_texts: dict[str, str] = {}  # by URL: errors of this machine since a success
        self._last_disk_check = -_DISK_INTERVAL_SECONDS

    def record_video(
        self,
        task: VideoTask,
        entries: Sequence[Mapping[str, Any]],
        now: float,
        *,
        started_at: float,
        retry_after_seconds: float | None,
    ) -> list[VideoTask]:
        """Judge the results of one video.

        Args:
            task: the video and its clips, whose histories have the entries already.
            entries: the ledger's entries of its clips.
            now: seconds since 1970 UTC.
            started_at: when it was requested.
            retry_after_seconds: what the server said, None if nothing.

        Returns:
            Videos whose failures the site caused: cancel these failures, and attempt them again.
        """
        # Clips of one video are fetched together and usually fail for the same reason.
        failures = [entry for entry in entries if entry["outcome"] != "ok"]
        reason = find_reason(failures[0]["reason"]) if failures else None
        self._watch_machine(task.url, reason, failures)

        gate, host = self.gates.find(task.url), find_host(task.url)
        if gate is None or host is None:  # files say nothing about a site
            return []
        if reason is not None and reason.permanence == "stop":  # nor do errors of this machine
            gate.record_doubt(now, started_at=started_at)
            return []

        record = self._records.setdefault(host, _SiteRecord())
        self._remember(record, task, reason)

        # An answer: the video arrived, or the site says what is the matter with it.
        if reason is None or reason.is_of_clip:
            if gate.record_answer(now, started_at=started_at):
                record.num_pauses = 0
            return []

        # A refusal in known words concerns this machine: all videos of the site wait.
        if reason.permanence == "pause":
            words = f"the site refuses this machine ({reason.name}"
            self._pause(record, gate, now, started_at, retry_after_seconds, words, reason.advice)
            return []

        # Any other failure is a doubt. Many doubts are a refusal.
        gate.record_doubt(now, started_at=started_at)
        self._check_environment(record)
        if self.stop_message is None and self._is_mass_refusal(record, gate, now):
            return self._refuse(record, gate, now, started_at, host)
        return []

    def finish(self, *, has_clips: bool) -> None:
        """Set the stop message if errors of this machine last until the end of the run.

        One clip does not fail the run when others have arrived (``has_clips``), in this run or
        before. It stays pending.
        """
        # True counts as 1: then one clip may fail.
        if self.stop_message is None and len(self._local_texts) > has_clips:
            self._stop_for_machine()

    # --- this machine

    def _watch_machine(
        self, url: str, reason: Reason | None, failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Stop when errors of this machine last: one video of which may be just unlucky."""
        if reason is None:
            # A success shows that the machine works.
            self._local_texts.clear()
        elif reason.permanence == "stop":
            self._local_texts[url] = failures[0]["text"]
            if len(self._local_texts) >= _MAX_LOCAL_VIDEOS:
                self._stop_for_machine()

    def _stop_for_machine(self) -> None:
        text = next(reversed(self._local_texts.values()))
        self.stop_message = f"this machine's own trouble: {text}"

    # --- a site

    def _remember(self, record: _SiteRecord, task: VideoTask, reason: Reason | None) -> None:
        is_expected = reason is not None and any(
            _has_failed_before(history, reason.name, self._started_at) for history in task.histories
        )
        # A further attempt is no further video: it takes the place of the first one, so that the
        # last attempts of a list, all at videos that failed before, do not look like a refusal.
        is_further = task.url in record.attempted and task.url not in record.struck
        if is_further and task.url not in record.recent:
            return
        record.attempted.add(task.url)
        record.recent[task.url] = _Recent(task, reason, is_expected)
        if len(record.recent) > _NUM_RECENT_VIDEOS:
            record.recent.pop(next(iter(record.recent)))

    def _pause(
        self,
        record: _SiteRecord,
        gate: SiteGate,
        now: float,
        started_at: float,
        retry_after_seconds: float | None,
        words: str,
        advice: str,
    ) -> None:
        """Pause a site; stop the run after too many pauses in a row, or for one that is too long.

        ``words`` say what happened, up to an open bracket.
        """
        pause = gate.trip(now, started_at=started_at, retry_after_seconds=retry_after_seconds)
        record.num_pauses += pause.is_new

        parameters = self._parameters
        longest = max(parameters.max_pause_seconds, parameters.pause_seconds)
        # Only the server itself can ask for a pause that is longer than our longest one.
        if record.num_pauses > parameters.max_pauses or pause.end - now > longest:
            self.is_refused = True
            self.stop_message = f"{words}, {record.num_pauses} times in a row); {advice}"
        elif pause.is_new:
            self.notices.append(f"{words}); nothing is requested for {pause.end - now:.0f} s")

    def _is_mass_refusal(self, record: _SiteRecord, gate: SiteGate, now: float) -> bool:
        """Return whether most of the last videos failed for reasons that are not their own."""
        doubts = self._list_doubts(record, gate, now)
        # A video that is said to be unavailable may really be, so it counts less.
        weight = sum(
            _WEIGHT_OF_UNAVAILABLE if recent.reason.permanence == "confirm" else 1.0
            for recent in doubts
            if recent.reason is not None
        )
        return len(doubts) >= _MIN_FAILURES and weight > _REFUSED_FRACTION * len(record.recent)

    def _list_doubts(self, record: _SiteRecord, gate: SiteGate, now: float) -> list[_Recent]:
        # If a video fails again after its failure was cancelled, and the site has answered
        # meanwhile, the video itself is the cause.
        is_probing = gate.is_probing(now)
        return [
            recent
            for url, recent in record.recent.items()
            if recent.reason is not None
            and not recent.reason.is_of_clip
            and not recent.is_expected
            and (is_probing or url not in record.struck)
        ]

    def _refuse(
        self, record: _SiteRecord, gate: SiteGate, now: float, started_at: float, host: str
    ) -> list[VideoTask]:
        """Pause a site that refuses with messages that are in no list."""
        doubts = self._list_doubts(record, gate, now)
        counts = Counter(recent.reason.name for recent in doubts if recent.reason is not None)
        words = ", ".join(f"{number} {name}" for name, number in counts.most_common())

        self._pause(
            record,
            gate,
            now,
            started_at,
            None,
            f"{len(doubts)} of the last {len(record.recent)} videos of {host} failed for reasons "
            f"that are not their own: the site refuses this machine or the tools are out of date "
            f"({words}",
            "see `missing --format json` for the texts and `doctor` for the tools, or wait",
        )

        # A failure is cancelled once only, see `_list_doubts`.
        record.struck.update(recent.task.url for recent in doubts)
        return [recent.task for recent in doubts]

    def _check_environment(self, record: _SiteRecord) -> None:
        """Stop when most of the last videos failed because of the tools."""
        counts = Counter(
            recent.reason.name
            for recent in record.recent.values()
            if recent.reason is not None and recent.reason.is_environment
        )
        total, num_recent = counts.total(), len(record.recent)
        # Two conditions, because a run that has just begun must not stop after its first failures.
        if total < _MIN_FAILURES or total * 2 <= num_recent:
            return

        name, number = counts.most_common(1)[0]
        self.stop_message = (
            f"{total} of the last {num_recent} videos failed with {', '.join(sorted(counts))}: "
            f"the environment is at fault, not the videos "
            f"({name}, {number} times: {find_reason(name).advice})"
        )

    def restore_pauses(self, histories: Iterable[History], *, access: str, now: float) -> None:
        """Continue the pauses of an earlier run, unless the credentials have changed.

        Args:
            histories: of all clips.
            access: the credentials in use (``DownloadParameters.describe_access``).
            now: seconds since 1970 UTC.
        """
        # The newest answer of each site decides. An import is no answer of a site.
        newest: dict[str, tuple[float, History]] = {}
        num_from_future = 0
        for history in histories:
            num_from_future += history.is_ahead(now)
            host = find_host(history.url)
            if host is None or history.last is None or history.last.get("access") == "import":
                continue

            moment = min(history.last["time"], now)
            if host not in newest or moment >= newest[host][0]:
                newest[host] = moment, history

        if num_from_future:
            self.notices.append(
                f"the last attempts at {num_from_future} clips lie in the future, as if a clock "
                "was ahead; they delay nothing"
            )

        for moment, history in newest.values():
            last, gate = history.last, self.gates.find(history.url)
            if gate is None or last is None or last["outcome"] == "ok":
                continue

            is_pause = find_reason(reason_of(last)).permanence == "pause"
            # If the user marked this clip with `retry`, attempt it now.
            if is_pause and last.get("access", "") == access and not history.is_retry_wanted:
                gate.restore(
                    now,
                    tripped_at=moment,
                    retry_after_seconds=last.get("retry_after_seconds"),
                )

                seconds = gate.seconds_to_wait(now)
                if seconds > 1:
                    host = find_host(history.url)
                    self.notices.append(f"{host}: an earlier pause lasts {seconds:.0f} s more")

    # --- the disk

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


def _has_failed_before(history: History, reason: str, moment: float) -> bool:
    """Return whether a clip's failures before ``moment`` have the same reason."""
    return any(
        entry["time"] < moment and reason_of(entry) == reason
        for entry in history.trailing_failures()
    )
