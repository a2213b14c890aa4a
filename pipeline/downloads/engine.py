"""Fetch every clip of a list, or record why it is missing, whatever interrupts the run.

This process decides (ledger, pace, pauses, publishing); a few worker processes fetch.

A clip that arrives takes three steps: the worker validates, hashes and syncs it in the work folder
of its video; the engine enters it in the ledger (synced); the engine moves it to its place. If a
run is killed between two steps, the next run goes on there. It fetches no whole file again.

States of a video (``VideoTask``):

| state | held in | next state |
|---|---|---|
| queued | ``_Engine.queue``, by host | busy: it is due, its site may be asked, a worker is idle |
| busy | ``_Engine.busy``, by worker | done; queued, if another attempt is worth it |
| done | the ledger | |

States of a worker:

| state | meaning | next state |
|---|---|---|
| starting | loads yt-dlp (``not is_ready``) | idle; the run ends if it crashes now |
| idle | ready, without a video | busy |
| busy | fetches one video | idle; ended after ``videos_per_worker``; killed if it is late |

States of a site (``SiteGate``), while files and other sites go on:

| state | meaning | next state |
|---|---|---|
| open | videos start as the pace allows | paused, when it refuses |
| paused | nothing starts until the pause ends | probing |
| probing | one video at a time | open, when it answers; paused, when it refuses |

States of the run:

| state | meaning | next state |
|---|---|---|
| running | due videos are handed to idle workers | stopped, finished |
| stopped | ``stop_message`` is set: busy workers finish, nothing starts | an error |
"""

import random
import shutil
import sys
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import RunError
from pipeline.base.progress import Progress
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.ledger_copy import adopt_copy
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import read_downloads_if_there
from pipeline.downloads.book import Book
from pipeline.downloads.browser_cookies import use_browser_cookies
from pipeline.downloads.clip_files import publish_staged_clips
from pipeline.downloads.messages import FetchAnswer
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.run_result import check_result
from pipeline.downloads.sites import SiteGates, default_sites_dir
from pipeline.downloads.stop_rule import StopRule
from pipeline.downloads.table_rules import make_table_rules
from pipeline.downloads.video_queue import VideoQueue, VideoTask
from pipeline.downloads.video_requests import make_lost_answer, make_request, work_folder_of
from pipeline.downloads.worker_pool import Worker, WorkerLost, WorkerPool
from pipeline.downloads.ytdlp_options import require_known

WORK_FOLDER = ".work"  # below the clips folder
_POLL_SECONDS = 1.0  # a worker's answer wakes the engine earlier
_MIN_WAIT_SECONDS = 0.005


def download_clips(
    clips: pa.Table,
    paths: AccountPaths,
    *,
    parameters: DownloadParameters,
    dataset: str,
    is_linked: bool = False,
    excluded_flags: Collection[str] = (),
    is_quiet: bool = False,
    only: Collection[str] | None = None,
    doubtful: Collection[str] = (),
    sites_dir: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> pa.Table:
    """Fetch the clips that the ledger does not have yet and that may be attempted now.

    Args:
        clips: CLIPS rows, the list.
        paths: where the clips go, and the ledger, which is created if absent. The table is
            published every few minutes, so that `status` can follow a run of weeks, and at the
            end, also before an error is raised. Rows that `dvc pull` brought there stay: their
            clips are not attempted, unless the ledger knows them. Entries of the copy of the
            ledger, from another machine, are taken over.
        parameters: section ``download``.
        dataset: name for messages.
        is_linked: whether ``file://`` clips are linked as they are instead of copied.
        excluded_flags: clips with one of these flags are missing, with the reason ``excluded``.
        is_quiet: no progress, only a line at the end.
        only: ids of the clips that may be attempted (None: all). The table always has all clips.
            With ``only``, the number of missing clips is not checked.
        doubtful: ids of clips in which features found damage. Every picture of them is decoded
            first, and those that are refused count as missing.
        sites_dir: where pace and pauses of each host are kept, for all processes that use the same
            folder (None: ``default_sites_dir``, one for all downloads of this user).
        clock: seconds since 1970 UTC; tests replace it.

    Returns:
        DOWNLOADS rows, one a clip.

    Raises:
        RunError: the run had to stop (the site or the environment refuses it, the disk is full),
            too many clips are missing, or another process has the ledger.
    """
    clips_dir, table_path = paths.clips_dir.absolute(), paths.table_path
    require_known(parameters.yt_dlp_options, impersonate=parameters.impersonate)
    # Files of this machine need no cookies.
    has_sites = not pc.all(pc.starts_with(clips["url"], "file:")).as_py()
    with (
        use_browser_cookies(parameters) if has_sites else nullcontext(parameters) as parameters,
        # Experiments share the ledger, so one finds what another one fetched.
        Ledger(paths.ledger_path, is_patient=True) as ledger,
    ):
        # What a pulled table says of clips that this ledger does not know is taken over.
        before = read_downloads_if_there(table_path) if table_path is not None else None
        adopt_copy(ledger, paths.copy_path, before)
        book = Book(
            clips,
            ledger,
            parameters=parameters,
            dataset=dataset,
            clips_dir=clips_dir,
            clock=clock,
            rules=make_table_rules(parameters, excluded_flags),
            before=before,
        )

        num_damaged = book.recheck(doubtful)
        if num_damaged:
            print(
                f"{dataset}: {num_damaged} clips are damaged where features were computed; they "
                "count as missing (`corrupt`)",
                file=sys.stderr,
            )
        del before  # a million rows would stay in memory until the end

        gates = SiteGates(
            parameters,
            access=book.access,
            generator=random.Random(f"pace {dataset}"),
            folder=sites_dir or default_sites_dir(),
        )
        engine = _Engine(book, parameters, gates, is_linked=is_linked, table_path=table_path)
        try:
            engine.run(only=only, is_quiet=is_quiet)
        finally:
            # Also after an error, the table must show what was done.
            downloads = book.derive_table(table_path)

    check_result(downloads, dataset, parameters, engine.stop_rule, is_partial=only is not None)
    return downloads


@dataclass(frozen=True)
class _Running:
    """A video that a worker fetches."""

    task: VideoTask
    started_at: float  # seconds since 1970 UTC


class _Engine:
    """Hands queued videos to workers and their answers to the book (states: see the module)."""

    def __init__(
        self,
        book: Book,
        parameters: DownloadParameters,
        gates: SiteGates,
        *,
        is_linked: bool,
        table_path: Path | None,
    ):
        self.book, self.parameters = book, parameters
        self.is_linked, self.table_path = is_linked, table_path
        self.clips_dir, self.clock = book.clips_dir, book.clock
        self.work_dir = book.clips_dir / WORK_FOLDER

        # When a video may start, and whether the run may go on.
        self.gates = gates
        self.stop_rule = StopRule(parameters, gates, started_at=book.clock())

        # Where each video is.
        self.queue = VideoQueue()
        self.busy: dict[Worker, _Running] = {}
        self.pool = WorkerPool(
            parameters.for_workers(), max_workers=parameters.num_workers, work_dir=self.work_dir
        )

    def run(self, *, only: Collection[str] | None, is_quiet: bool) -> None:
        """Attempt all clips that are due; return early when the stop rule says so."""
        # First place what a killed run had finished, so that the plan does not fetch it again.
        self.clips_dir.mkdir(parents=True, exist_ok=True)
        publish_staged_clips(self.book.histories.values(), self.clips_dir)
        self.queue = VideoQueue(self.book.plan(only))
        self.stop_rule.restore_pauses(
            self.book.histories.values(), access=self.book.access, now=self.clock()
        )

        self._print_notices()
        num_unasked = self.book.count_unasked()
        if num_unasked:
            print(
                f"{self.book.dataset}: network is off (download.network): {num_unasked} clips stay "
                "pending; `import` takes those that you have",
                file=sys.stderr,
            )

        if self.queue:
            num_clips = sum(len(task.histories) for task in self.queue)
            description = f"downloading {self.book.dataset}"
            with Progress(num_clips, description, is_quiet=is_quiet) as progress:
                try:
                    self._fetch_all(progress)
                    histories = self.book.histories.values()
                    self.stop_rule.finish(has_clips=any(item.has_arrived for item in histories))
                finally:
                    # After an error or Ctrl-C no worker may go on with requests.
                    self.pool.kill_all()
        # After an error or a kill this folder stays, and the next run finds whole videos in it.
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _fetch_all(self, progress: Progress) -> None:
        while self._has_work():
            arrived = []
            # A copy of the list: workers are replaced while it is read.
            for worker in list(self.pool.workers):
                answer = worker.poll()
                if isinstance(answer, WorkerLost):
                    self._replace_lost_worker(worker, answer, progress)
                elif answer is not None:
                    arrived.append((self._take_answer(worker), answer))
                    # A failure can say that the site must not be asked any more.
                    if any(clip["outcome"] != "ok" for clip in answer["clips"]):
                        self._finish(*arrived.pop(), progress)

            wait_seconds = _POLL_SECONDS if self._is_stopped() else self._dispatch()
            # Entering a clip syncs the disk twice. Meanwhile its worker fetches the next one.
            for running, answer in arrived:
                self._finish(running, answer, progress)

            self.book.refresh_table(self.table_path)
            # After what has just arrived, more may be due.
            if self._has_work() and not arrived:
                wait_seconds = min(max(wait_seconds, _MIN_WAIT_SECONDS), _POLL_SECONDS)
                self.pool.wait(limit_seconds=wait_seconds)
        self.pool.close_all()

    def _print_notices(self) -> None:
        for notice in self.stop_rule.notices:
            print(f"{self.book.dataset}: {notice}", file=sys.stderr, flush=True)
        self.stop_rule.notices.clear()

    def _has_work(self) -> bool:
        return bool(self.busy) or (bool(self.queue) and not self._is_stopped())

    def _is_stopped(self) -> bool:
        return self.stop_rule.stop_message is not None

    # --- queued -> busy

    def _dispatch(self) -> float:
        """Hand due videos to idle workers; return the seconds until that may be possible again."""
        now = self.clock()
        while self.queue and len(self.busy) < self.parameters.num_workers:
            host, task, wait_seconds = self._choose_next(now)
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

            # Another process may have used the site's turn just now, so check again.
            gate = self.gates.find(task.url)
            if gate is not None and gate.try_start(now) > 0:
                continue

            self.queue.pop(host)
            self.busy[worker] = _Running(task, now)
            request = make_request(
                task, self.clips_dir, self.work_dir, is_linked=self._is_link(task)
            )
            worker.start(request, limit_seconds=self.parameters.time_limit_seconds)
        return _POLL_SECONDS

    def _choose_next(self, now: float) -> tuple[str | None, VideoTask, float]:
        """Return the host and video that may start first, and the seconds until then."""
        found: tuple[str | None, VideoTask, float] | None = None
        for host, task in self.queue.list_first():
            gate = self.gates.find(task.url)
            wait_seconds = max(task.due - now, 0.0 if gate is None else gate.seconds_to_wait(now))
            if found is None or wait_seconds < found[2]:
                found = host, task, wait_seconds
            if wait_seconds <= 0:
                # The list is by due time. Nobody can start earlier than now.
                break
        assert found is not None  # the queue is not empty
        return found

    def _is_link(self, task: VideoTask) -> bool:
        return self.is_linked and task.url.startswith("file:")

    # --- busy -> done, or queued again

    def _take_answer(self, worker: Worker) -> _Running:
        """Return what a worker that has answered was fetching; end it if it is old."""
        running = self.busy.pop(worker)
        # What a worker keeps in memory grows with its videos, so after some of them it ends.
        if worker.num_fetched >= self.parameters.videos_per_worker:
            self.pool.close(worker)
        return running

    def _replace_lost_worker(self, worker: Worker, lost: WorkerLost, progress: Progress) -> None:
        """Remove a worker that crashed or is late; its video counts as attempted."""
        self.pool.remove(worker)
        # A worker that cannot even start will not start the next time either.
        if not worker.is_ready:
            words = self.parameters.hide_secrets(lost.text) or "no sign of life"
            raise RunError(f"{self.book.dataset}: cannot start fetching: {words}")
        # An idle worker has taken no video with it.
        if worker not in self.busy:
            return

        running = self.busy.pop(worker)
        answer = make_lost_answer(running.task, lost, self.parameters.time_limit_seconds)
        self._finish(running, answer, progress)

    def _finish(self, running: _Running, answer: FetchAnswer, progress: Progress) -> None:
        """Record a video's results; queue it again where another attempt is worth it."""
        task = running.task
        entries = self.book.record(task, answer)
        shutil.rmtree(self.work_dir / work_folder_of(task.url), ignore_errors=True)

        refused = self.stop_rule.record_video(
            task,
            entries,
            self.clock(),
            started_at=running.started_at,
            retry_after_seconds=answer["retry_after_seconds"],
        )

        self._print_notices()
        if refused:
            self._attempt_refused(refused, but=task)

        num_again = self._queue_again(task)
        # Clips that are attempted again are neither done nor failed yet.
        num_failed = sum(entry["outcome"] != "ok" for entry in entries)
        progress.update(len(entries) - num_again, num_failed=max(num_failed - num_again, 0))

    def _attempt_refused(self, tasks: list[VideoTask], *, but: VideoTask) -> None:
        """Cancel failures that the site caused, and queue all these videos again."""
        # A video that is being fetched will get an answer of its own.
        busy_urls = {running.task.url for running in self.busy.values()}
        tasks = [task for task in tasks if task.url not in busy_urls]
        self.book.strike(tasks)
        for task in tasks:
            # The caller queues its own video again.
            if task.url != but.url:
                self.queue.remove(task.url)
                self._queue_again(task)

    def _queue_again(self, task: VideoTask) -> int:
        """Queue the part of a video that is worth another attempt; return its number of clips."""
        gate = self.gates.find(task.url)
        now = self.clock()
        pause_ends = now if gate is None else now + gate.seconds_to_wait(now)
        again = self.book.plan_again(task, pause_ends=pause_ends)
        if again is None:
            return 0
        # A run that stops queues nothing, but such clips have not failed either.
        if not self._is_stopped():
            self.queue.push(again)
        return len(again.histories)
