"""The download stage's engine: every clip of a list ends as a whole file or with a reason, whatever interrupts it.

One process decides (this one: ledger, pace, circuit breaker, publishing), a few worker processes fetch. The order of
events for a clip that arrives: validated, hashed and synced in its video's work folder; entered in the ledger (synced);
renamed to its place. A run that is killed between any two of these steps goes on from there, and does not fetch again
what was whole.
"""

import errno
import heapq
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from pipeline.errors import RunError
from pipeline.failures import ENVIRONMENT_REASONS, REASONS, permanence_of
from pipeline.fetching import FetchError, FetchParameters, path_of_file_url
from pipeline.files import sha256_of, sync
from pipeline.histories import (
    NEVER,
    History,
    RetryPolicy,
    derive_downloads,
    describe_access,
    file_stem_of,
    read_histories,
    reason_of,
)
from pipeline.ledger import Ledger
from pipeline.pacing import CircuitBreaker, Pace, site_of
from pipeline.progress import Progress
from pipeline.tables import DOWNLOADS, write_table
from pipeline.tools import tool_versions
from pipeline.validation import ValidationParameters
from pipeline.workers import Worker, wait_for_any

WORK_FOLDER = ".work"
_ENVIRONMENT_WINDOW = 20  # videos that are looked at for systematic trouble
_ENVIRONMENT_MIN = 5  # of them at least this many must show it
_TABLE_INTERVAL_SECONDS = 300.0
_DISK_INTERVAL_SECONDS = 10.0
_SETTLING_SECONDS = 1.0


@dataclass(frozen=True)
class DownloadParameters:
    """Section ``download``.

    ``link_datasets``: whose ``file://`` clips are hard-linked as they are, not copied (the user's own files).
    ``max_failed_fraction``: with a larger part of the clips missing the stage fails. ``num_quick_attempts``,
    ``quick_delay_seconds``, ``slow_delay_seconds``: see ``histories.RetryPolicy``; a run waits ``max_wait_seconds`` at
    most for a clip to become due. ``pause_seconds``: of everything after a bot check or rate limit without
    ``Retry-After``; after ``max_pauses`` in a row the run ends. ``*_per_hour`` 0: no limit.
    """

    num_workers: int = 2
    max_height: int = 360
    format: str | None = None
    ffmpeg: str = "auto"
    section_above_seconds: float = 120.0
    link_datasets: tuple[str, ...] = ("local", "urbansas")
    allow_duplicates: bool = False
    max_failed_fraction: float = 0.9
    videos_per_hour: float = 300.0
    other_videos_per_hour: float = 3600.0
    loopback_videos_per_hour: float = 0.0
    cookies_path: str | None = None
    proxy: str | None = None
    num_site_retries: int = 3
    num_quick_attempts: int = 3
    quick_delay_seconds: float = 5.0
    slow_delay_seconds: float = 3600.0
    max_wait_seconds: float = 60.0
    pause_seconds: float = 900.0
    max_pause_seconds: float = 14400.0
    max_pauses: int = 5
    socket_timeout_seconds: float = 20.0
    time_limit_seconds: float = 600.0
    videos_per_worker: int = 200
    max_gigabytes: float = 4.0
    min_free_gigabytes: float = 1.0
    validation: ValidationParameters = field(default_factory=ValidationParameters)

    def __post_init__(self):
        for name in ("num_workers", "max_height", "num_quick_attempts", "videos_per_worker", "max_pauses"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("socket_timeout_seconds", "time_limit_seconds", "max_gigabytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        for name in [
            "section_above_seconds",
            "videos_per_hour",
            "other_videos_per_hour",
            "loopback_videos_per_hour",
            "num_site_retries",
            "quick_delay_seconds",
            "slow_delay_seconds",
            "max_wait_seconds",
            "pause_seconds",
            "max_pause_seconds",
            "min_free_gigabytes",
        ]:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.cookies_path is not None and not Path(self.cookies_path).expanduser().is_file():
            raise ValueError(f"cookies_path is {self.cookies_path!r}, found no such file")
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f"max_failed_fraction is {self.max_failed_fraction}, expected 0 to 1")


def download_clips(
    clips: pa.Table,
    *,
    parameters: DownloadParameters,
    dataset: str,
    clips_dir: Path,
    ledger_path: Path,
    is_quiet: bool = False,
    table_path: Path | None = None,
    only: Collection[str] | None = None,
    clock: Callable[[], float] = time.time,
) -> pa.Table:
    """Fetch what the ledger does not have yet and may be attempted now; return DOWNLOADS rows, one a clip.

    ``only``: ids of the clips that may be attempted (None: all); the table has all clips in any case, but how many are
    missing is then not judged. ``table_path``: where the table is published every few minutes and before an error is
    raised, so that `status` can follow a run of weeks. Raises ``RunError`` when the run had to stop (the environment or
    the site refuses it, no disk space) or too many clips are missing.
    """
    engine = _Engine(clips, parameters, dataset, Path(clips_dir), table_path, is_quiet, clock, only)
    with Ledger(ledger_path) as ledger:
        try:
            engine.run(ledger)
        finally:
            downloads = engine.publish_table()
    engine.check_result(downloads)
    return downloads


@dataclass(order=True)
class _Task:
    """A video to fetch and the clips wanted of it."""

    due: float
    index: int
    url: str = field(compare=False)
    histories: list[History] = field(compare=False)


class _Engine:
    def __init__(
        self, clips, parameters: DownloadParameters, dataset, clips_dir: Path, table_path, is_quiet, clock, only
    ):
        self.clips, self.parameters, self.dataset = clips, parameters, dataset
        self.clips_dir, self.table_path, self.is_quiet, self.clock = clips_dir.absolute(), table_path, is_quiet, clock
        self.only = None if only is None else frozenset(only)
        self.work_dir = self.clips_dir / WORK_FOLDER
        self.histories: dict[str, History] = {}
        self.is_linking = dataset in parameters.link_datasets
        self.access = describe_access(cookies_path=parameters.cookies_path, proxy=parameters.proxy)
        self.versions = tool_versions(parameters.ffmpeg)
        self.policy = RetryPolicy(
            parameters.num_quick_attempts,
            parameters.quick_delay_seconds,
            parameters.slow_delay_seconds,
            access=self.access,
            versions=self.versions,
        )
        self.pace = Pace(
            {
                "youtube": parameters.videos_per_hour,
                "other": parameters.other_videos_per_hour,
                "loopback": parameters.loopback_videos_per_hour,
            },
            random.Random(f"pace {dataset}"),
        )
        self.breaker = CircuitBreaker(parameters.pause_seconds, parameters.max_pause_seconds)
        self.recent: dict[str, str | None] = {}  # the last videos by URL, each with its reason (None: it arrived)
        self.workers: list[Worker] = []
        self.stop_message: str | None = None
        self.is_refused = False  # stopped because the site refuses this machine
        self._num_started_workers = 0
        self._last_table = time.monotonic()
        self._last_disk_check = -_DISK_INTERVAL_SECONDS

    # --- the run

    def run(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.histories = read_histories(self.clips, ledger.entries)
        self.clips_dir.mkdir(parents=True, exist_ok=True)
        self._roll_forward()
        queue = self._plan()
        self._restore_breaker()
        if not queue:
            shutil.rmtree(self.work_dir, ignore_errors=True)
            return
        num_clips = sum(len(task.histories) for task in queue)
        with Progress(num_clips, f"downloading {self.dataset}", is_quiet=self.is_quiet) as progress:
            try:
                self._fetch_all(queue, progress)
            finally:
                for worker in self.workers:
                    worker.kill()
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _plan(self) -> list[_Task]:
        """A heap of videos, the first of the list first, with the clips that have no file and are due."""
        tasks: dict[str, _Task] = {}
        latest = self.clock() + self.parameters.max_wait_seconds
        for index, history in enumerate(self.histories.values()):
            if self.only is not None and history.clip_id not in self.only:
                continue
            if history.url.startswith("file:"):
                self._forget_if_source_changed(history)
            if history.has_file(self.clips_dir) and not history.is_retry_wanted:
                continue
            due = 0.0 if self._has_lost_file(history) else history.next_attempt(self.policy)
            if due > latest and not self._waits_for_breaker(history):
                continue
            task = tasks.setdefault(history.url, _Task(due, index, history.url, []))
            task.due = max(task.due, due)
            task.histories.append(history)
        queue = list(tasks.values())
        heapq.heapify(queue)
        return queue

    def _fetch_all(self, queue: list[_Task], progress: Progress) -> None:
        while (queue and self.stop_message is None) or any(worker.is_busy for worker in self.workers):
            for worker in list(self.workers):
                answer = worker.poll()
                if answer is not None:
                    self._take(worker, answer, queue, progress)
            wait_seconds = self._dispatch(queue) if self.stop_message is None else 1.0
            self._checkpoint()
            if self.stop_message is None and not queue and not any(worker.is_busy for worker in self.workers):
                break
            wait_for_any(
                [worker for worker in self.workers if worker.is_busy or not worker.is_ready],
                limit_seconds=min(max(wait_seconds, 0.005), 1.0),
            )
        for worker in self.workers:
            self._close(worker)
        self.workers.clear()

    def _dispatch(self, queue: list[_Task]) -> float:
        """Hand due videos to idle workers; return the seconds until that may be possible again."""
        now = self.clock()
        while queue:
            num_busy = sum(worker.is_busy for worker in self.workers)
            if num_busy >= self.parameters.num_workers:
                return 1.0
            task = queue[0]
            site = site_of(task.url)
            wait_seconds = max(task.due - now, self.pace.seconds_to_wait(site, now))
            if site is not None:
                wait_seconds = max(wait_seconds, self.breaker.seconds_to_wait(now))
                if self.breaker.is_probing and num_busy > 0:
                    wait_seconds = max(wait_seconds, 1.0)
            if wait_seconds > 0:
                return wait_seconds
            self._check_disk()
            if self.stop_message is not None:
                return 0.0
            worker = next((worker for worker in self.workers if worker.is_ready and not worker.is_busy), None)
            if worker is None:  # the pace counts what is asked, so nothing is handed to a process that still starts
                num_starting = sum(not worker.is_ready for worker in self.workers)
                if len(self.workers) < self.parameters.num_workers and num_starting < len(queue):
                    self._start_worker(task.url)
                    continue
                return 1.0
            heapq.heappop(queue)
            self.pace.start(site, now)
            worker.task = task
            worker.start(self._request_of(task), limit_seconds=self.parameters.time_limit_seconds)
        return 1.0

    def _start_worker(self, url: str) -> Worker:
        parameters = self.parameters
        self._num_started_workers += 1
        worker = Worker(
            FetchParameters(
                max_height=parameters.max_height,
                format=parameters.format,
                ffmpeg=_absolute(parameters.ffmpeg) if os.sep in parameters.ffmpeg else parameters.ffmpeg,
                time_limit_seconds=parameters.time_limit_seconds,
                cookies_path=_absolute(parameters.cookies_path) if parameters.cookies_path else None,
                proxy=parameters.proxy,
                num_site_retries=parameters.num_site_retries,
                socket_timeout_seconds=parameters.socket_timeout_seconds,
                section_above_seconds=parameters.section_above_seconds,
                max_gigabytes=parameters.max_gigabytes,
                validation=parameters.validation,
            ),
            private_dir=self.work_dir / f"worker-{self._num_started_workers}",
            first_url=None if self.is_linking and url.startswith("file:") else url,
        )
        self.workers.append(worker)
        return worker

    def _close(self, worker: Worker) -> None:
        if self.parameters.cookies_path:
            worker.close()  # it has cookies to write
        worker.kill()

    def _request_of(self, task: _Task) -> dict:
        return {
            "url": task.url,
            "is_linked": self.is_linking and task.url.startswith("file:"),
            "work_dir": str(self.work_dir / work_folder_of(task.url)),
            "clips_dir": str(self.clips_dir),
            "clips": [
                {
                    "clip_id": history.clip_id,
                    "start_seconds": history.start_seconds,
                    "end_seconds": history.end_seconds,
                    "file_stem": file_stem_of(history.clip_id),
                }
                for history in task.histories
            ],
        }

    # --- answers

    def _take(self, worker: Worker, answer: dict, queue: list[_Task], progress: Progress) -> None:
        task = worker.task
        if "clips" not in answer:  # it crashed, or is late
            worker.kill()
            self.workers.remove(worker)
            if task is None:
                raise RunError(f"{self.dataset}: cannot start fetching: {answer.get('crash') or 'no sign of life'}")
            text = answer.get("crash") or (
                f"timed out: no result within download.time_limit_seconds ({self.parameters.time_limit_seconds:g} s)"
            )
            reason = "network" if answer.get("late") else "unknown"
            failure = {"outcome": "failed", "reason": reason, "text": text, "by": "check"}
            answer = {"clips": [dict(failure, clip_id=history.clip_id) for history in task.histories]}
        elif worker.num_fetched >= self.parameters.videos_per_worker:
            self._close(worker)
            self.workers.remove(worker)
        results = {result["clip_id"]: result for result in answer["clips"]}
        now = self.clock()
        entries = [self._entry_of(history, results[history.clip_id], answer, now) for history in task.histories]
        self.ledger.append(entries)
        for history, entry in zip(task.histories, entries, strict=True):
            history.add(entry)
            if entry["outcome"] == "ok":
                self._publish(history, entry)
        work_dir = Path(self._request_of(task)["work_dir"])
        shutil.rmtree(work_dir, ignore_errors=True)
        self._react(task, entries, answer, now)
        again = self._again(task, entries)
        if again is not None and self.stop_message is None:
            heapq.heappush(queue, again)
        num_done = len(entries) - (len(again.histories) if again else 0)
        num_failed = sum(entry["outcome"] != "ok" for entry in entries) - (len(again.histories) if again else 0)
        progress.update(num_done, num_failed=max(num_failed, 0))

    def _entry_of(self, history: History, result: dict, answer: dict, now: float) -> dict:
        entry = {
            "type": "attempt",
            "clip_id": history.clip_id,
            "time": round(now, 3),
            "url": history.url,
            "start_seconds": history.start_seconds,
            "end_seconds": history.end_seconds,
            **{name: value for name, value in result.items() if name != "clip_id"},
            "access": self.access,
            "versions": self.versions,
        }
        if result["outcome"] != "ok" and answer.get("retry_after_seconds") is not None:
            entry["retry_after_seconds"] = answer["retry_after_seconds"]
        if history.url.startswith("file:"):
            entry["source"] = _source_facts(history.url)
        return entry

    def _react(self, task: _Task, entries: list[dict], answer: dict, now: float) -> None:
        """Circuit breaker, and trouble that is not the clip's own."""
        failures = [entry for entry in entries if entry["outcome"] != "ok"]
        reason = failures[0]["reason"] if failures else None
        permanence = permanence_of(reason) if reason else None
        if permanence == "stop":
            self.stop_message = f"this machine's own trouble: {failures[0]['text']}"
            return
        if site_of(task.url) is None:
            return
        if permanence == "pause":
            until = self.breaker.trip(now, retry_after_seconds=answer.get("retry_after_seconds"))
            if self.breaker.num_pauses > self.parameters.max_pauses or until - now > max(
                self.parameters.max_pause_seconds, self.parameters.pause_seconds
            ):
                self.is_refused = True
                self.stop_message = (
                    f"the site refuses this machine ({reason}, {self.breaker.num_pauses} times in a row); "
                    f"{REASONS[reason].advice}"
                )
        else:
            self.breaker.succeed(now)
        self.recent.pop(task.url, None)
        self.recent[task.url] = reason
        if len(self.recent) > _ENVIRONMENT_WINDOW:
            self.recent.pop(next(iter(self.recent)))
        counts = Counter(reason for reason in self.recent.values() if reason in ENVIRONMENT_REASONS)
        if counts.total() >= _ENVIRONMENT_MIN and counts.total() * 2 > len(self.recent):
            name, number = counts.most_common(1)[0]
            self.stop_message = (
                f"{counts.total()} of the last {len(self.recent)} videos failed with {', '.join(sorted(counts))}: the "
                f"environment is at fault, not the videos ({name}, {number} times: {REASONS[name].advice})"
            )

    def _again(self, task: _Task, entries: list[dict]) -> _Task | None:
        """The part of a video that is to be attempted again in this run."""
        now = self.clock()
        again, due = [], now
        for history, entry in zip(task.histories, entries, strict=True):
            if entry["outcome"] == "ok":
                continue
            next_time = history.next_attempt(self.policy)
            if self._waits_for_breaker(history):
                next_time = max(self.breaker.open_until, now)
            if next_time <= now + self.parameters.max_wait_seconds or self._waits_for_breaker(history):
                again.append(history)
                due = max(due, next_time)
        return _Task(due, task.index, task.url, again) if again else None

    def _waits_for_breaker(self, history: History) -> bool:
        """Whether the clip was refused together with the whole machine, and has attempts left after the pause."""
        failures = history.trailing_failures()
        return (
            0 < len(failures) < self.parameters.num_quick_attempts
            and permanence_of(reason_of(failures[-1])) == "pause"
            and not history.is_retry_wanted
        )

    # --- files

    def _publish(self, history: History, entry: dict) -> None:
        staged_path = self.clips_dir / entry["file"]["staged"]
        path = self.clips_dir / entry["file"]["path"]
        os.replace(staged_path, path)
        staged_path.unlink(missing_ok=True)  # renaming one link of a file to another does nothing
        sync(self.clips_dir)

    def _roll_forward(self) -> None:
        """Finish what a killed run had entered in the ledger but not renamed yet."""
        for history in self.histories.values():
            if history.ok is None:
                continue
            facts = history.ok["file"]
            staged_path = self.clips_dir / facts["staged"] if facts.get("staged") else None
            if staged_path is None or not os.path.lexists(staged_path):
                continue
            if staged_path.exists() and sha256_of(staged_path) == facts["sha256"]:
                self._publish(history, history.ok)

    def _has_lost_file(self, history: History) -> bool:
        return history.last is not None and history.last["outcome"] == "ok" and not history.has_file(self.clips_dir)

    def _forget_if_source_changed(self, history: History) -> None:
        """A file of this machine that changed since the last attempt is another source: what was found is void."""
        if history.last is None or "source" not in history.last:  # imported: no source was asked
            return
        known, now = history.last.get("source"), _source_facts(history.url)
        if known == now or now is None:
            return  # unchanged; or gone, while the clip that was made of it is kept
        is_same_size = history.ok is not None and known is not None and known["bytes"] == now["bytes"]
        if is_same_size and sha256_of(path_of_file_url(history.url)) == history.ok["file"].get("source_sha256"):
            return  # written again with the same content
        history.forget()

    # --- stopping and reporting

    def _restore_breaker(self) -> None:
        """An earlier run's pause still holds, unless the credentials changed."""
        last = max(
            (history.last for history in self.histories.values() if history.last and site_of(history.url)),
            key=lambda entry: entry["time"],
            default=None,
        )
        if last is None or last["outcome"] == "ok" or last.get("access", "") != self.access:
            return
        if permanence_of(reason_of(last)) == "pause" and not self.histories[last["clip_id"]].is_retry_wanted:
            self.breaker.trip(last["time"], retry_after_seconds=last.get("retry_after_seconds"))

    def _check_disk(self) -> None:
        if time.monotonic() - self._last_disk_check < _DISK_INTERVAL_SECONDS:
            return
        self._last_disk_check = time.monotonic()
        free_gigabytes = shutil.disk_usage(self.clips_dir).free / 1e9
        if free_gigabytes < self.parameters.min_free_gigabytes:
            self.stop_message = (
                f"{self.clips_dir}: {free_gigabytes:.2f} GB free, expected download.min_free_gigabytes "
                f"({self.parameters.min_free_gigabytes:g}) or more: {os.strerror(errno.ENOSPC)}"
            )

    def _checkpoint(self) -> None:
        if time.monotonic() - self._last_table >= _TABLE_INTERVAL_SECONDS:
            self.publish_table()

    def publish_table(self) -> pa.Table:
        self._last_table = time.monotonic()
        downloads = derive_downloads(
            self.histories, clips_dir=self.clips_dir, allow_duplicates=self.parameters.allow_duplicates
        )
        if self.table_path is not None:
            write_table(self.table_path, downloads, DOWNLOADS)
        return downloads

    def check_result(self, downloads: pa.Table) -> None:
        """Raise ``RunError`` if the run stopped early with clips left, or too many are missing."""
        counts = Counter(downloads["status"].to_pylist())
        account = f"{counts['ok']} ok, {counts['missing']} missing, {counts['pending']} pending"
        # When every clip was attempted, a refusal is those clips' own reason, and the account is complete.
        if self.stop_message is not None and (counts["pending"] or not self.is_refused):
            raise RunError(f"{self.dataset}: stopped ({account}): {self.stop_message}; then run again, it goes on")
        num_clips = downloads.num_rows
        if self.only is None and counts["missing"] > self.parameters.max_failed_fraction * num_clips:
            reasons = Counter(reason for reason in downloads["reason"].to_pylist() if reason)
            words = ", ".join(f"{number} {name}" for name, number in reasons.most_common(5))
            raise RunError(
                f"{self.dataset}: {counts['missing']} of {num_clips} clips are missing ({words}), expected at most "
                f"download.max_failed_fraction ({self.parameters.max_failed_fraction:g})"
            )


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def work_folder_of(url: str) -> str:
    """Name of the folder in which a video is fetched: the same in every run, so that what was fetched is found."""
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _source_facts(url: str) -> dict | None:
    """Size and time of the file that a ``file://`` URL names; None where there is none."""
    try:
        facts = os.stat(path_of_file_url(url))
    except (OSError, FetchError, ValueError):
        return None
    return {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}


__all__ = ["NEVER", "DownloadParameters", "download_clips"]
