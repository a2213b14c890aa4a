"""Keep the account of a download run: what is due, what happened, which clips are in place."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.errors import MediaError
from earshot.tables import DOWNLOADS, write_table
from pipeline.downloads.account.histories import read_histories
from pipeline.downloads.account.history import History, RetryPolicy, reason_of
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.reasons import find_reason
from pipeline.downloads.account.table import TableRules, derive_downloads
from pipeline.downloads.clip_files import (
    describe_source,
    forget_if_source_changed,
    publish_clip,
)
from pipeline.downloads.messages import ClipResult, FetchAnswer, make_failure
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.tool_versions import describe_tools
from pipeline.downloads.video_queue import VideoTask
from pipeline.media.files.machine import is_machine_to_blame
from pipeline.media.validate import validate_clip

_TABLE_INTERVAL_SECONDS = 300.0


class Book:
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
        rules: TableRules,
        before: pa.Table | None = None,
    ):
        self.dataset, self.clips_dir, self.clock = dataset, clips_dir, clock
        self._ledger = ledger
        self._parameters, self._rules = parameters, rules

        self.histories = read_histories(clips, ledger, before=before)
        self.access = parameters.describe_access()
        self.versions = describe_tools(parameters.ffmpeg) + parameters.describe_options()

        self._next_table = time.monotonic() + _TABLE_INTERVAL_SECONDS
        self._num_local_errors: dict[str, int] = {}  # of this run, by clip id
        self._policy = RetryPolicy(
            parameters.num_quick_attempts,
            parameters.quick_delay_seconds,
            parameters.slow_delay_seconds,
            access=self.access,
            versions=self.versions,
        )

    def plan(self, only: Collection[str] | None) -> list[VideoTask]:
        """Return the videos whose clips have no file and are due in this run."""
        tasks: dict[str, VideoTask] = {}
        now = self.clock()
        latest = now + self._parameters.max_wait_seconds
        allowed = None if only is None else frozenset(only)

        for index, history in enumerate(self.histories.values()):
            if allowed is not None and history.clip_id not in allowed:
                continue
            # Another machine has attempted it, and its row of the table stays.
            if history.is_pulled:
                continue
            if history.is_file:
                forget_if_source_changed(history)
            if history.is_settled:
                continue
            if history.is_in_place(self.clips_dir):
                continue
            if not self._parameters.network and not history.is_file:
                continue

            # A clip whose file was lost could be fetched before, so fetch it without a delay.
            has_lost_file = history.has_lost_file(self.clips_dir)
            due = 0.0 if has_lost_file else history.next_attempt(self._policy, now)

            # Leave out what is due too late. But the run waits for a pause, so keep its clips.
            if due > latest and not self._waits_for_pause(history):
                continue

            # Clips of one video are fetched together, when the last of them is due.
            task = tasks.setdefault(history.url, VideoTask(due, index, history.url, []))
            task.due = max(task.due, due)
            task.histories.append(history)

        self._note_intact_files()
        return list(tasks.values())

    def recheck(self, clip_ids: Collection[str]) -> int:
        """Read every picture of clips in which features found damage; enter those that are refused.

        Returns:
            How many are damaged.
        """
        now = round(self.clock(), 3)
        validation = replace(self._parameters.validation, decode="all")
        num_found = 0
        for clip_id in sorted(clip_ids):
            history = self.histories.get(clip_id)
            if history is None or not history.is_in_place(self.clips_dir):
                continue
            assert history.ok is not None

            path = self.clips_dir / history.ok["file"]["path"]
            try:
                validate_clip(path, wanted_seconds=None, parameters=validation, needs_sound=False)
                continue
            except MediaError as error:
                # Its length was judged before, by what its request asked for.
                is_ours = is_machine_to_blame(error.__context__, path)
                if error.reason != "corrupt" or is_ours:
                    continue
                text = f"found while features were computed: {error}"

            result = make_failure("corrupt", text)
            entry = self._make_entry(history, result, now, None) | {"type": "found"}
            (place,) = self._ledger.append([entry])
            history.add(entry, place)
            num_found += 1
        return num_found

    def count_unasked(self) -> int:
        """Return how many clips have no file because requests to sites are not allowed."""
        if self._parameters.network:
            return 0
        return sum(
            not (history.is_file or history.is_pulled or history.is_settled)
            and not history.has_file(self.clips_dir)
            for history in self.histories.values()
        )

    def _note_intact_files(self) -> None:
        """Enter which files were rewritten with the same bytes, so that none is read twice."""
        now = round(self.clock(), 3)
        entries = [
            {"type": "intact", "clip_id": history.clip_id, "time": now}
            for history in self.histories.values()
            if history.checked is not None and history.checked[1]
        ]
        self._ledger.append(entries)

    def record(self, task: VideoTask, answer: FetchAnswer) -> list[dict[str, Any]]:
        """Enter a video's results in the ledger, then move its clips to their place."""
        now = self.clock()
        results = {result["clip_id"]: result for result in answer["clips"]}
        entries = [
            self._make_entry(history, results[history.clip_id], now, answer["retry_after_seconds"])
            for history in task.histories
        ]

        # First the ledger, then the move: if a run is killed between, the next run moves the file.
        places = self._ledger.append(entries)
        for history, entry, place in zip(task.histories, entries, places, strict=True):
            history.add(entry, place)
            if entry["outcome"] == "ok":
                publish_clip(history, self.clips_dir)
        return entries

    def derive_table(self, table_path: Path | None) -> pa.Table:
        """Return the DOWNLOADS rows of now; write them to ``table_path`` if there is one."""
        downloads = derive_downloads(self.histories, clips_dir=self.clips_dir, rules=self._rules)
        if table_path is not None:
            write_table(table_path, downloads, DOWNLOADS)
        return downloads

    def refresh_table(self, table_path: Path | None) -> None:
        """Write the table if the last one is old: a run can last for weeks, and `status` reads it.

        A table of a million clips takes a while, so at most a twentieth of the time goes into it.
        """
        start = time.monotonic()
        if start >= self._next_table:
            self.derive_table(table_path)
            spent_seconds = time.monotonic() - start
            self._next_table = start + max(_TABLE_INTERVAL_SECONDS, 20 * spent_seconds)

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
            # The request: attempts of another request do not count later.
            "url": history.url,
            "start_seconds": history.start_seconds,
            "end_seconds": history.end_seconds,
            **{name: value for name, value in result.items() if name != "clip_id"},
            # What can make another attempt worthwhile when it changes.
            "access": self.access,
            "versions": self.versions,
        }

        # Tools quote the proxy and the cookies in their messages.
        if "text" in entry:
            entry["text"] = self._parameters.hide_secrets(str(entry["text"]))
        if result["outcome"] != "ok" and retry_after_seconds is not None:
            entry["retry_after_seconds"] = retry_after_seconds
        if history.is_file:
            entry["source"] = describe_source(history.url)
        return entry

    def plan_again(self, task: VideoTask, *, pause_ends: float) -> VideoTask | None:
        """Return the part of a video that is worth another attempt in this run."""
        now = self.clock()
        due, histories = now, []
        for history in task.histories:
            if history.last is None or history.last["outcome"] == "ok":
                continue

            # A clip that the site refused together with the machine is due when the pause ends.
            if self._waits_for_pause(history):
                next_time = max(pause_ends, now)
            elif find_reason(reason_of(history.last)).permanence == "stop":
                # After an error of this machine `next_attempt` is now, so the wait is chosen here.
                delay = self._delay_after_local_error(history)
                if delay is None:
                    continue
                next_time = now + delay
            else:
                next_time = history.next_attempt(self._policy, now)
                if next_time > now + self._parameters.max_wait_seconds:
                    continue

            due = max(due, next_time)
            histories.append(history)
        return VideoTask(due, task.index, task.url, histories) if histories else None

    def _delay_after_local_error(self, history: History) -> float | None:
        """Return how long a clip waits after an error of this machine; None: not in this run."""
        number = self._num_local_errors[history.clip_id] = (
            self._num_local_errors.get(history.clip_id, 0) + 1
        )
        if number >= self._parameters.num_quick_attempts:
            return None
        return self._policy.delay_seconds(number, find_reason("network"))

    def strike(self, tasks: Iterable[VideoTask]) -> None:
        """Enter that the site caused the last failures of videos, so that they no longer count."""
        now = round(self.clock(), 3)
        histories = [
            history for task in tasks for history in task.histories if history.trailing_failures()
        ]
        entries = [
            {"type": "refused", "clip_id": history.clip_id, "time": now} for history in histories
        ]

        places = self._ledger.append(entries)
        for history, entry, place in zip(histories, entries, places, strict=True):
            history.add(entry, place)

    def _waits_for_pause(self, history: History) -> bool:
        """Return whether the site refused this machine and the clip has attempts left."""
        failures = history.trailing_failures()
        return (
            0 < len(failures) < self._parameters.num_quick_attempts
            and find_reason(reason_of(failures[-1])).permanence == "pause"
            and not history.is_retry_wanted
        )
