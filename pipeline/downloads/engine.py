"""Fetch every clip of a list, or record why it is missing, whatever interrupts the run.

One process decides (this one: ledger, pace, pauses, publishing); a few worker processes fetch.

A clip that arrives takes three steps: the worker validates, hashes and syncs it in the work folder
of its video; the engine enters it in the ledger (synced); the engine moves it to its place. A run
that is killed between any two steps continues there and fetches nothing again that was whole.

States of a video (``_Task``):

| state | held in | next state |
|---|---|---|
| queued | ``_Engine.queue``, by due time | busy, once it is due, the pace allows it and a worker is free |
| busy | ``_Engine.busy``, by worker | done, or queued again if some clips are worth another attempt |
| done | nowhere; its clips are in the ledger | |

States of a worker:

| state | meaning | next state |
|---|---|---|
| starting | loads yt-dlp (``not is_ready``) | idle; if it crashes the run ends with an error |
| idle | ready, not in ``busy`` | busy |
| busy | fetches one video | idle; closed after ``videos_per_worker``; killed if it is late |

States of the run:

| state | meaning | next state |
|---|---|---|
| running | due videos are handed to idle workers | paused, stopped, finished |
| paused | ``breaker.open_until`` lies ahead: only ``file://`` videos start | probing |
| probing | one video at a time | running, when a site answers; paused again, if it refuses |
| stopped | ``stop_message`` is set: busy workers finish, nothing starts | an error |
"""

import heapq
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.errors import RunError
from earshot.tables import DOWNLOADS, write_table
from pipeline.base.progress import Progress
from pipeline.downloads.backoff import Pace, Site, StopRule, find_site
from pipeline.downloads.clip_files import (
    describe_source,
    forget_if_source_changed,
    make_file_stem,
    publish_clip,
    publish_staged_clips,
)
from pipeline.downloads.history import History, RetryPolicy, read_histories, reason_of
from pipeline.downloads.ledger import Ledger
from pipeline.downloads.messages import ClipResult, FetchAnswer, FetchRequest, make_failure
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.reasons import find_reason
from pipeline.downloads.table import derive_downloads
from pipeline.downloads.worker_pool import Worker, WorkerLost, WorkerPool
from pipeline.downloads.ytdlp import describe_tools

WORK_FOLDER = ".work"  # below the clips folder
_TABLE_INTERVAL_SECONDS = 300.0
_POLL_SECONDS = 1.0  # a worker's answer wakes the engine earlier


def download_clips(
    clips: pa.Table,
    *,
    parameters: DownloadParameters,
    dataset: str,
    clips_dir: Path,
    ledger_path: Path,
    is_linked: bool = False,
    is_quiet: bool = False,
    table_path: Path | None = None,
    only: Collection[str] | None = None,
    clock: Callable[[], float] = time.time,
) -> pa.Table:
    """Fetch what the ledger does not have yet and may be attempted now.

    Args:
        clips: CLIPS rows, the list.
        parameters: section ``download``.
        dataset: name for messages.
        clips_dir: where the clips go.
        ledger_path: the ledger of all attempts; created if absent.
        is_linked: whether ``file://`` clips are linked as they are instead of copied.
        is_quiet: no progress, only a line at the end.
        table_path: where to publish the table every few minutes and before an error is raised,
            so that `status` can follow a run of weeks.
        only: ids of the clips that may be attempted (None: all). The table has all clips in any
            case; with ``only`` it is not checked how many are missing.
        clock: seconds since 1970 UTC; tests replace it.

    Returns:
        DOWNLOADS rows, one a clip.

    Raises:
        RunError: the run had to stop (the site or the environment refuses it, the disk is full),
            too many clips are missing, or another process has the ledger.
    """
    clips_dir = Path(clips_dir).absolute()
    with Ledger(ledger_path) as ledger:
        book = _Book(
            clips, ledger, parameters=parameters, dataset=dataset, clips_dir=clips_dir, clock=clock
        )
        engine = _Engine(book, parameters, is_linked=is_linked, table_path=table_path)
        try:
            engine.run(only=only, is_quiet=is_quiet)
        finally:
            downloads = engine.publish_table()

    _check_result(downloads, dataset, parameters, engine.stop_rule, is_partial=only is not None)
    return downloads


@dataclass(order=True)
class _Task:
    """A video to fetch and the clips wanted from it."""

    due: float  # seconds since 1970 UTC
    index: int  # place in the list: among due videos the first goes first
    url: str = field(compare=False)
    histories: list[History] = field(compare=False)


class _Book:
    """Knows what happened to each clip: reads and writes the ledger, publishes finished clips."""

    def __init__(
        self,
        clips: pa.Table,
        ledger: Ledger,
        *,
        parameters: DownloadParameters,
        dataset: str,
        clips_dir: Path,
        clock: Callable[[], float],
    ):
        self.dataset, self.clips_dir, self.clock = dataset, clips_dir, clock
        self._ledger = ledger
        self._parameters = parameters
        self.histories = read_histories(clips, ledger.entries)
        self.access = parameters.describe_access()
        self.versions = describe_tools(parameters.ffmpeg)
        self._policy = RetryPolicy(
            parameters.num_quick_attempts,
            parameters.quick_delay_seconds,
            parameters.slow_delay_seconds,
            access=self.access,
            versions=self.versions,
        )

    def plan(self, only: Collection[str] | None) -> list[_Task]:
        """Return a heap of the videos whose clips have no file and are due in this run."""
        tasks: dict[str, _Task] = {}
        latest = self.clock() + self._parameters.max_wait_seconds
        allowed = None if only is None else frozenset(only)

        for index, history in enumerate(self.histories.values()):
            if allowed is not None and history.clip_id not in allowed:
                continue
            if history.url.startswith("file:"):
                forget_if_source_changed(history)
            if history.has_file(self.clips_dir) and not history.is_retry_wanted:
                continue

            has_lost_file = history.has_lost_file(self.clips_dir)
            due = 0.0 if has_lost_file else history.next_attempt(self._policy)
            if due > latest and not self._waits_for_pause(history):
                continue

            # Clips of one video are fetched together, when the last of them is due.
            task = tasks.setdefault(history.url, _Task(due, index, history.url, []))
            task.due = max(task.due, due)
            task.histories.append(history)

        queue = list(tasks.values())
        heapq.heapify(queue)
        return queue

    def record(self, task: _Task, answer: FetchAnswer) -> list[dict[str, Any]]:
        """Enter a video's results in the ledger, then move its clips to their place."""
        now = self.clock()
        results = {result["clip_id"]: result for result in answer["clips"]}
        entries = [
            self._make_entry(history, results[history.clip_id], now, answer["retry_after_seconds"])
            for history in task.histories
        ]
        self._ledger.append(entries)

        for history, entry in zip(task.histories, entries, strict=True):
            history.add(entry)
            if entry["outcome"] == "ok":
                publish_clip(entry, self.clips_dir)
        return entries

    def _make_entry(
        self,
        history: History,
        result: ClipResult,
        now: float,
        retry_after_seconds: float | None,
    ) -> dict[str, Any]:
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
        if result["outcome"] != "ok" and retry_after_seconds is not None:
            entry["retry_after_seconds"] = retry_after_seconds
        if history.url.startswith("file:"):
            entry["source"] = describe_source(history.url)
        return entry

    def plan_again(self, task: _Task, *, pause_ends: float) -> _Task | None:
        """Return the part of a video that is worth another attempt in this run."""
        now = self.clock()
        due, histories = now, []
        for history in task.histories:
            if history.last is None or history.last["outcome"] == "ok":
                continue
            if self._waits_for_pause(history):
                next_time = max(pause_ends, now)
            else:
                next_time = history.next_attempt(self._policy)
                if next_time > now + self._parameters.max_wait_seconds:
                    continue
            due = max(due, next_time)
            histories.append(history)
        return _Task(due, task.index, task.url, histories) if histories else None

    def _waits_for_pause(self, history: History) -> bool:
        """Return whether the site refused this machine and the clip has attempts left."""
        failures = history.trailing_failures()
        return (
            0 < len(failures) < self._parameters.num_quick_attempts
            and find_reason(reason_of(failures[-1])).permanence == "pause"
            and not history.is_retry_wanted
        )


class _Engine:
    """Hands queued videos to workers and their answers to the book (states: see the module)."""

    def __init__(
        self,
        book: _Book,
        parameters: DownloadParameters,
        *,
        is_linked: bool,
        table_path: Path | None,
    ):
        self.book, self.parameters = book, parameters
        self.is_linked, self.table_path = is_linked, table_path
        self.clips_dir, self.clock = book.clips_dir, book.clock
        self.work_dir = book.clips_dir / WORK_FOLDER
        self.stop_rule = StopRule(parameters)
        self.pace = Pace(
            {
                "youtube": parameters.videos_per_hour,
                "other": parameters.other_videos_per_hour,
                "loopback": parameters.loopback_videos_per_hour,
            },
            random.Random(f"pace {book.dataset}"),
        )
        self.pool = WorkerPool(
            parameters.for_workers(), max_workers=parameters.num_workers, work_dir=self.work_dir
        )
        self.queue: list[_Task] = []  # a heap
        self.busy: dict[Worker, _Task] = {}
        self._last_table = time.monotonic()

    def run(self, *, only: Collection[str] | None, is_quiet: bool) -> None:
        """Attempt all clips that are due; return early when the stop rule says so."""
        self.clips_dir.mkdir(parents=True, exist_ok=True)
        publish_staged_clips(self.book.histories.values(), self.clips_dir)
        self.queue = self.book.plan(only)
        self.stop_rule.restore_pause(self.book.histories, access=self.book.access)

        if self.queue:
            num_clips = sum(len(task.histories) for task in self.queue)
            description = f"downloading {self.book.dataset}"
            with Progress(num_clips, description, is_quiet=is_quiet) as progress:
                try:
                    self._fetch_all(progress)
                finally:
                    self.pool.kill_all()
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def publish_table(self) -> pa.Table:
        """Return the DOWNLOADS rows of now; write them to ``table_path`` if there is one."""
        self._last_table = time.monotonic()
        downloads = derive_downloads(
            self.book.histories,
            clips_dir=self.clips_dir,
            allow_duplicates=self.parameters.allow_duplicates,
        )
        if self.table_path is not None:
            write_table(self.table_path, downloads, DOWNLOADS)
        return downloads

    def _fetch_all(self, progress: Progress) -> None:
        while self._has_work():
            for worker in list(self.pool.workers):
                answer = worker.poll()
                if isinstance(answer, WorkerLost):
                    self._replace_lost_worker(worker, answer, progress)
                elif answer is not None:
                    self._take_answer(worker, answer, progress)

            wait_seconds = _POLL_SECONDS if self._is_stopped() else self._dispatch()
            if time.monotonic() - self._last_table >= _TABLE_INTERVAL_SECONDS:
                self.publish_table()
            if not self._has_work():
                break

            self.pool.wait(limit_seconds=min(max(wait_seconds, 0.005), _POLL_SECONDS))
        self.pool.close_all()

    def _has_work(self) -> bool:
        return bool(self.busy) or (bool(self.queue) and not self._is_stopped())

    def _is_stopped(self) -> bool:
        return self.stop_rule.stop_message is not None

    # --- starting videos

    def _dispatch(self) -> float:
        """Hand due videos to idle workers; return the seconds until that may be possible again."""
        now = self.clock()
        while self.queue and len(self.busy) < self.parameters.num_workers:
            task = self.queue[0]
            site = find_site(task.url)
            wait_seconds = self._seconds_until_start(task, site, now)
            if wait_seconds > 0:
                return wait_seconds

            self.stop_rule.check_disk(self.clips_dir)
            if self._is_stopped():
                return 0.0

            # The pace counts requests to the site, so no video is handed to a process that is
            # still starting.
            worker = self.pool.find_idle()
            if worker is None:
                is_link = self.is_linked and site is None  # linking needs no yt-dlp
                first_url = None if is_link else task.url
                if not self.pool.start_worker(num_queued=len(self.queue), first_url=first_url):
                    break
                continue

            heapq.heappop(self.queue)
            self.pace.count_start(site, now)
            self.busy[worker] = task
            limit_seconds = self.parameters.time_limit_seconds
            worker.start(self._make_request(task), limit_seconds=limit_seconds)
        return _POLL_SECONDS

    def _seconds_until_start(self, task: _Task, site: Site | None, now: float) -> float:
        breaker = self.stop_rule.breaker
        wait_seconds = max(task.due - now, self.pace.seconds_to_wait(site, now))
        if site is None:
            return wait_seconds

        wait_seconds = max(wait_seconds, breaker.seconds_to_wait(now))
        if breaker.is_probing and self.busy:
            wait_seconds = max(wait_seconds, _POLL_SECONDS)
        return wait_seconds

    def _make_request(self, task: _Task) -> FetchRequest:
        return {
            "url": task.url,
            "is_linked": self.is_linked and task.url.startswith("file:"),
            "work_dir": str(self.work_dir / work_folder_of(task.url)),
            "clips_dir": str(self.clips_dir),
            "clips": [
                {
                    "clip_id": history.clip_id,
                    "start_seconds": history.start_seconds,
                    "end_seconds": history.end_seconds,
                    "file_stem": make_file_stem(history.clip_id),
                }
                for history in task.histories
            ],
        }

    # --- taking answers

    def _take_answer(self, worker: Worker, answer: FetchAnswer, progress: Progress) -> None:
        task = self.busy.pop(worker)
        if worker.num_fetched >= self.parameters.videos_per_worker:
            self.pool.close(worker)
        self._finish(task, answer, progress)

    def _replace_lost_worker(self, worker: Worker, lost: WorkerLost, progress: Progress) -> None:
        """Remove a worker that crashed or is late; its video counts as attempted."""
        self.pool.remove(worker)
        if not worker.is_ready:
            words = lost.text or "no sign of life"
            raise RunError(f"{self.book.dataset}: cannot start fetching: {words}")
        if worker not in self.busy:
            return

        task = self.busy.pop(worker)
        if lost.is_late:
            limit = f"download.time_limit_seconds ({self.parameters.time_limit_seconds:g} s)"
            failure = make_failure("network", f"timed out: no result within {limit}")
        else:
            failure = make_failure("unknown", lost.text)
        results: list[ClipResult] = [
            {**failure, "clip_id": history.clip_id} for history in task.histories
        ]
        self._finish(task, {"clips": results, "retry_after_seconds": None}, progress)

    def _finish(self, task: _Task, answer: FetchAnswer, progress: Progress) -> None:
        """Record a video's results; queue it again where another attempt is worth it."""
        entries = self.book.record(task, answer)
        shutil.rmtree(self.work_dir / work_folder_of(task.url), ignore_errors=True)
        self.stop_rule.record_video(
            task.url,
            entries,
            self.clock(),
            retry_after_seconds=answer["retry_after_seconds"],
        )

        again = self.book.plan_again(task, pause_ends=self.stop_rule.breaker.open_until)
        if again is not None and not self._is_stopped():
            heapq.heappush(self.queue, again)

        num_again = len(again.histories) if again is not None else 0
        num_failed = sum(entry["outcome"] != "ok" for entry in entries)
        progress.update(len(entries) - num_again, num_failed=max(num_failed - num_again, 0))


def _check_result(
    downloads: pa.Table,
    dataset: str,
    parameters: DownloadParameters,
    stop_rule: StopRule,
    *,
    is_partial: bool,
) -> None:
    """Raise ``RunError`` if the run stopped early with clips left, or too many are missing."""
    counts = Counter(downloads["status"].to_pylist())

    # When every clip was attempted, a refusal is those clips' own reason and nothing is left.
    is_complete = stop_rule.is_refused and not counts["pending"]
    if stop_rule.stop_message is not None and not is_complete:
        account = f"{counts['ok']} ok, {counts['missing']} missing, {counts['pending']} pending"
        raise RunError(
            f"{dataset}: stopped ({account}): {stop_rule.stop_message}; then run again, it goes on"
        )

    num_clips = downloads.num_rows
    if not is_partial and counts["missing"] > parameters.max_failed_fraction * num_clips:
        reasons = Counter(reason for reason in downloads["reason"].to_pylist() if reason)
        words = ", ".join(f"{number} {name}" for name, number in reasons.most_common(5))
        raise RunError(
            f"{dataset}: {counts['missing']} of {num_clips} clips are missing ({words}), expected "
            f"at most download.max_failed_fraction ({parameters.max_failed_fraction:g})"
        )


def work_folder_of(url: str) -> str:
    """Return the name of a video's work folder: the same in every run, so that files are found."""
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]
