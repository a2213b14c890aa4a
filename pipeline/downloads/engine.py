"""Fetch every clip of a list, or record why it is missing, whatever interrupts the run.

One process decides (this one: ledger, pace, pauses, publishing); a few worker processes fetch.

A clip that arrives takes three steps: the worker validates, hashes and syncs it in the work folder
of its video; the engine enters it in the ledger (synced); the engine moves it to its place. A run
that is killed between any two steps continues there and fetches nothing again that was whole.

States of a video (``VideoTask``):

| state | held in | next state |
|---|---|---|
| queued | ``_Engine.queue``, by due time | busy: it is due, the pace allows it, a worker is idle |
| busy | ``_Engine.busy``, by worker | done; queued, if another attempt is worth it |
| done | the ledger | |

States of a worker:

| state | meaning | next state |
|---|---|---|
| starting | loads yt-dlp (``not is_ready``) | idle; the run ends if it crashes now |
| idle | ready, without a video | busy |
| busy | fetches one video | idle; ended after ``videos_per_worker``; killed if it is late |

States of the run:

| state | meaning | next state |
|---|---|---|
| running | due videos are handed to idle workers | paused, stopped, finished |
| paused | until ``breaker.open_until`` only ``file://`` videos start | probing |
| probing | one video at a time | running, when a site answers; paused, if it refuses |
| stopped | ``stop_message`` is set: busy workers finish, nothing starts | an error |
"""

import heapq
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from earshot.errors import RunError
from pipeline.base.progress import Progress
from pipeline.downloads.backoff import CircuitBreaker, Pace, StopRule, find_site
from pipeline.downloads.book import Book, VideoTask
from pipeline.downloads.clip_files import make_file_stem, publish_staged_clips
from pipeline.downloads.ledger import Ledger
from pipeline.downloads.messages import ClipResult, FetchAnswer, FetchRequest, make_failure
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.worker_pool import Worker, WorkerLost, WorkerPool

WORK_FOLDER = ".work"  # below the clips folder
_TABLE_INTERVAL_SECONDS = 300.0
_POLL_SECONDS = 1.0  # a worker's answer wakes the engine earlier
_MIN_WAIT_SECONDS = 0.005


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
        book = Book(
            clips, ledger, parameters=parameters, dataset=dataset, clips_dir=clips_dir, clock=clock
        )
        engine = _Engine(book, parameters, is_linked=is_linked, table_path=table_path)
        try:
            engine.run(only=only, is_quiet=is_quiet)
        finally:
            # Also after an error: what is done so far must be visible.
            downloads = book.derive_table(table_path)

    _check_result(downloads, dataset, parameters, engine.stop_rule, is_partial=only is not None)
    return downloads


class _Engine:
    """Hands queued videos to workers and their answers to the book (states: see the module)."""

    def __init__(
        self,
        book: Book,
        parameters: DownloadParameters,
        *,
        is_linked: bool,
        table_path: Path | None,
    ):
        self.book, self.parameters = book, parameters
        self.is_linked, self.table_path = is_linked, table_path
        self.clips_dir, self.clock = book.clips_dir, book.clock
        self.work_dir = book.clips_dir / WORK_FOLDER

        # When a video may start, and whether the run may go on.
        self.stop_rule = StopRule(parameters)
        self.pace = Pace(
            {
                "youtube": parameters.videos_per_hour,
                "other": parameters.other_videos_per_hour,
                "loopback": parameters.loopback_videos_per_hour,
            },
            random.Random(f"pace {book.dataset}"),
        )

        # Where each video is.
        self.queue: list[VideoTask] = []  # a heap
        self.busy: dict[Worker, VideoTask] = {}
        self.pool = WorkerPool(
            parameters.for_workers(), max_workers=parameters.num_workers, work_dir=self.work_dir
        )
        self._last_table = time.monotonic()

    def run(self, *, only: Collection[str] | None, is_quiet: bool) -> None:
        """Attempt all clips that are due; return early when the stop rule says so."""
        # First place what a killed run had finished, so that the plan does not fetch it again.
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
                    # After an error or Ctrl-C no worker may go on with requests.
                    self.pool.kill_all()
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _fetch_all(self, progress: Progress) -> None:
        while self._has_work():
            for worker in list(self.pool.workers):
                answer = worker.poll()
                if isinstance(answer, WorkerLost):
                    self._replace_lost_worker(worker, answer, progress)
                elif answer is not None:
                    self._take_answer(worker, answer, progress)

            wait_seconds = _POLL_SECONDS if self._is_stopped() else self._dispatch()

            # A run lasts for weeks: `status` reads the table meanwhile.
            if time.monotonic() - self._last_table >= _TABLE_INTERVAL_SECONDS:
                self._last_table = time.monotonic()
                self.book.derive_table(self.table_path)

            if self._has_work():
                wait_seconds = min(max(wait_seconds, _MIN_WAIT_SECONDS), _POLL_SECONDS)
                self.pool.wait(limit_seconds=wait_seconds)
        self.pool.close_all()

    def _has_work(self) -> bool:
        return bool(self.busy) or (bool(self.queue) and not self._is_stopped())

    def _is_stopped(self) -> bool:
        return self.stop_rule.stop_message is not None

    # --- queued -> busy

    def _dispatch(self) -> float:
        """Hand due videos to idle workers; return the seconds until that may be possible again."""
        now = self.clock()
        while self.queue and len(self.busy) < self.parameters.num_workers:
            task = self.queue[0]
            wait_seconds = _seconds_until_start(
                task, now, self.pace, self.stop_rule.breaker, is_any_busy=bool(self.busy)
            )
            if wait_seconds > 0:
                return wait_seconds

            self.stop_rule.check_disk(self.clips_dir)
            if self._is_stopped():
                return 0.0

            # The pace counts requests to the site, so no video is handed to a process that is
            # still starting.
            worker = self.pool.find_idle()
            if worker is None:
                first_url = None if self._is_link(task) else task.url  # linking needs no yt-dlp
                if not self.pool.start_worker(num_queued=len(self.queue), first_url=first_url):
                    break
                continue

            heapq.heappop(self.queue)
            self.pace.count_start(find_site(task.url), now)
            self.busy[worker] = task
            request = _make_request(
                task, self.clips_dir, self.work_dir, is_linked=self._is_link(task)
            )
            worker.start(request, limit_seconds=self.parameters.time_limit_seconds)
        return _POLL_SECONDS

    def _is_link(self, task: VideoTask) -> bool:
        return self.is_linked and task.url.startswith("file:")

    # --- busy -> done, or queued again

    def _take_answer(self, worker: Worker, answer: FetchAnswer, progress: Progress) -> None:
        task = self.busy.pop(worker)
        if worker.num_fetched >= self.parameters.videos_per_worker:
            self.pool.close(worker)
        self._finish(task, answer, progress)

    def _replace_lost_worker(self, worker: Worker, lost: WorkerLost, progress: Progress) -> None:
        """Remove a worker that crashed or is late; its video counts as attempted."""
        self.pool.remove(worker)
        # A worker that cannot even start will not start the next time either.
        if not worker.is_ready:
            words = self.parameters.hide_secrets(lost.text) or "no sign of life"
            raise RunError(f"{self.book.dataset}: cannot start fetching: {words}")
        if worker not in self.busy:
            return

        task = self.busy.pop(worker)
        answer = _make_lost_answer(task, lost, self.parameters.time_limit_seconds)
        self._finish(task, answer, progress)

    def _finish(self, task: VideoTask, answer: FetchAnswer, progress: Progress) -> None:
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

        # Clips that are attempted again are neither done nor failed yet.
        num_again = len(again.histories) if again is not None else 0
        num_failed = sum(entry["outcome"] != "ok" for entry in entries)
        progress.update(len(entries) - num_again, num_failed=max(num_failed - num_again, 0))


def _seconds_until_start(
    task: VideoTask, now: float, pace: Pace, breaker: CircuitBreaker, *, is_any_busy: bool
) -> float:
    """Return how long a video must still wait: until it is due, for the pace, for a pause."""
    site = find_site(task.url)
    wait_seconds = max(task.due - now, pace.seconds_to_wait(site, now))
    if site is None:  # a file of this machine: no site can refuse it
        return wait_seconds

    wait_seconds = max(wait_seconds, breaker.seconds_to_wait(now))
    # One video is under way to find out whether the site answers again. Look again soon.
    if breaker.is_probing and is_any_busy:
        wait_seconds = max(wait_seconds, _POLL_SECONDS)
    return wait_seconds


def _make_request(
    task: VideoTask, clips_dir: Path, work_dir: Path, *, is_linked: bool
) -> FetchRequest:
    return {
        "url": task.url,
        "is_linked": is_linked,
        "work_dir": str(work_dir / work_folder_of(task.url)),
        "clips_dir": str(clips_dir),
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


def _make_lost_answer(task: VideoTask, lost: WorkerLost, limit_seconds: float) -> FetchAnswer:
    """Return what a worker that gave no answer would have said: all its clips failed."""
    if lost.is_late:
        limit = f"download.time_limit_seconds ({limit_seconds:g} s)"
        failure = make_failure("network", f"timed out: no result within {limit}")
    else:
        failure = make_failure("unknown", lost.text)
    results: list[ClipResult] = [
        {**failure, "clip_id": history.clip_id} for history in task.histories
    ]
    return {"clips": results, "retry_after_seconds": None}


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

    # With `only`, most clips were not attempted, so the number of missing ones says nothing.
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
