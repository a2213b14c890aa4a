"""The download stage's engine: every clip of a list ends as a whole file or with a reason, whatever interrupts it.

One process decides (this one: ledger, pace, circuit breaker, publishing), a few worker processes fetch. The order of
events for a clip that arrives: validated, hashed and synced in its video's work folder; entered in the ledger (synced);
renamed to its place. A run that is killed between any two of these steps goes on from there, and does not fetch again
what was whole.
"""

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

from earshot.errors import RunError
from earshot.tables import DOWNLOADS, write_table
from pipeline.base.progress import Progress
from pipeline.downloads.history import (
    History,
    RetryPolicy,
    derive_downloads,
    describe_access,
    file_stem_of,
    read_histories,
    reason_of,
)
from pipeline.downloads.ledger import Ledger
from pipeline.downloads.messages import FetchParameters
from pipeline.downloads.pace import Pace, site_of
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.publish import (
    forget_if_source_changed,
    publish_clip,
    roll_forward,
    source_facts,
)
from pipeline.downloads.reasons import permanence_of
from pipeline.downloads.stop_rule import Trouble
from pipeline.downloads.tool_versions import tool_versions
from pipeline.downloads.worker_pool import Worker, wait_for_any

WORK_FOLDER = ".work"
_TABLE_INTERVAL_SECONDS = 300.0


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
    is_linked: bool = False,
    clock: Callable[[], float] = time.time,
) -> pa.Table:
    """Fetch what the ledger does not have yet and may be attempted now; return DOWNLOADS rows, one a clip.

    ``only``: ids of the clips that may be attempted (None: all); the table has all clips in any case, but how many are
    missing is then not judged. ``table_path``: where the table is published every few minutes and before an error is
    raised, so that `status` can follow a run of weeks. Raises ``RunError`` when the run had to stop (the environment or
    the site refuses it, no disk space) or too many clips are missing. ``is_linked``: ``file://`` clips are hard-linked
    as they are, not copied (the user's own files).
    """
    engine = _Engine(
        clips, parameters, dataset, Path(clips_dir), table_path, is_quiet, clock, only, is_linked
    )
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
        self,
        clips,
        parameters: DownloadParameters,
        dataset,
        clips_dir: Path,
        table_path,
        is_quiet,
        clock,
        only,
        is_linked,
    ):
        self.clips, self.parameters, self.dataset = clips, parameters, dataset
        self.clips_dir, self.table_path, self.is_quiet, self.clock = (
            clips_dir.absolute(),
            table_path,
            is_quiet,
            clock,
        )
        self.only = None if only is None else frozenset(only)
        self.work_dir = self.clips_dir / WORK_FOLDER
        self.histories: dict[str, History] = {}
        self.is_linking = is_linked
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
        self.trouble = Trouble(parameters)
        self.workers: list[Worker] = []
        self._num_started_workers = 0
        self._last_table = time.monotonic()

    # --- the run

    def run(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.histories = read_histories(self.clips, ledger.entries)
        self.clips_dir.mkdir(parents=True, exist_ok=True)
        roll_forward(self.histories.values(), self.clips_dir)
        queue = self._plan()
        self.trouble.restore_pause(self.histories, access=self.access)
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
                forget_if_source_changed(history)
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
        while (queue and self.trouble.stop_message is None) or any(
            worker.is_busy for worker in self.workers
        ):
            for worker in list(self.workers):
                answer = worker.poll()
                if answer is not None:
                    self._take(worker, answer, queue, progress)
            wait_seconds = self._dispatch(queue) if self.trouble.stop_message is None else 1.0
            self._checkpoint()
            if (
                self.trouble.stop_message is None
                and not queue
                and not any(worker.is_busy for worker in self.workers)
            ):
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
                wait_seconds = max(wait_seconds, self.trouble.breaker.seconds_to_wait(now))
                if self.trouble.breaker.is_probing and num_busy > 0:
                    wait_seconds = max(wait_seconds, 1.0)
            if wait_seconds > 0:
                return wait_seconds
            self.trouble.check_disk(self.clips_dir)
            if self.trouble.stop_message is not None:
                return 0.0
            worker = next(
                (worker for worker in self.workers if worker.is_ready and not worker.is_busy), None
            )
            if (
                worker is None
            ):  # the pace counts what is asked, so nothing is handed to a process that still starts
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
                ffmpeg=_absolute(parameters.ffmpeg)
                if os.sep in parameters.ffmpeg
                else parameters.ffmpeg,
                time_limit_seconds=parameters.time_limit_seconds,
                cookies_path=_absolute(parameters.cookies_path)
                if parameters.cookies_path
                else None,
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
                raise RunError(
                    f"{self.dataset}: cannot start fetching: {answer.get('crash') or 'no sign of life'}"
                )
            text = answer.get("crash") or (
                f"timed out: no result within download.time_limit_seconds ({self.parameters.time_limit_seconds:g} s)"
            )
            reason = "network" if answer.get("late") else "unknown"
            failure = {"outcome": "failed", "reason": reason, "text": text, "by": "check"}
            answer = {
                "clips": [dict(failure, clip_id=history.clip_id) for history in task.histories]
            }
        elif worker.num_fetched >= self.parameters.videos_per_worker:
            self._close(worker)
            self.workers.remove(worker)
        results = {result["clip_id"]: result for result in answer["clips"]}
        now = self.clock()
        entries = [
            self._entry_of(history, results[history.clip_id], answer, now)
            for history in task.histories
        ]
        self.ledger.append(entries)
        for history, entry in zip(task.histories, entries, strict=True):
            history.add(entry)
            if entry["outcome"] == "ok":
                publish_clip(entry, self.clips_dir)
        work_dir = Path(self._request_of(task)["work_dir"])
        shutil.rmtree(work_dir, ignore_errors=True)
        self.trouble.judge(
            task.url, entries, now, retry_after_seconds=answer.get("retry_after_seconds")
        )
        again = self._again(task, entries)
        if again is not None and self.trouble.stop_message is None:
            heapq.heappush(queue, again)
        num_done = len(entries) - (len(again.histories) if again else 0)
        num_failed = sum(entry["outcome"] != "ok" for entry in entries) - (
            len(again.histories) if again else 0
        )
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
            entry["source"] = source_facts(history.url)
        return entry

    def _again(self, task: _Task, entries: list[dict]) -> _Task | None:
        """The part of a video that is to be attempted again in this run."""
        now = self.clock()
        again, due = [], now
        for history, entry in zip(task.histories, entries, strict=True):
            if entry["outcome"] == "ok":
                continue
            next_time = history.next_attempt(self.policy)
            if self._waits_for_breaker(history):
                next_time = max(self.trouble.breaker.open_until, now)
            if next_time <= now + self.parameters.max_wait_seconds or self._waits_for_breaker(
                history
            ):
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

    def _has_lost_file(self, history: History) -> bool:
        return (
            history.last is not None
            and history.last["outcome"] == "ok"
            and not history.has_file(self.clips_dir)
        )

    # --- reporting

    def _checkpoint(self) -> None:
        if time.monotonic() - self._last_table >= _TABLE_INTERVAL_SECONDS:
            self.publish_table()

    def publish_table(self) -> pa.Table:
        self._last_table = time.monotonic()
        downloads = derive_downloads(
            self.histories,
            clips_dir=self.clips_dir,
            allow_duplicates=self.parameters.allow_duplicates,
        )
        if self.table_path is not None:
            write_table(self.table_path, downloads, DOWNLOADS)
        return downloads

    def check_result(self, downloads: pa.Table) -> None:
        """Raise ``RunError`` if the run stopped early with clips left, or too many are missing."""
        counts = Counter(downloads["status"].to_pylist())
        account = f"{counts['ok']} ok, {counts['missing']} missing, {counts['pending']} pending"
        # When every clip was attempted, a refusal is those clips' own reason, and the account is complete.
        if self.trouble.stop_message is not None and (
            counts["pending"] or not self.trouble.is_refused
        ):
            raise RunError(
                f"{self.dataset}: stopped ({account}): {self.trouble.stop_message}; then run again, it goes on"
            )
        num_clips = downloads.num_rows
        if (
            self.only is None
            and counts["missing"] > self.parameters.max_failed_fraction * num_clips
        ):
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


__all__ = ["DownloadParameters", "download_clips"]
