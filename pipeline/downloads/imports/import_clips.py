"""Import clips that people already have: match them to the list, validate and publish them.

A file's name says which clip it is (``clip_names.py``); its suffix says what it holds: a video, a
sound or a picture. Picture and sound of a clip may lie in separate files and in any folders
(``video/`` and ``audio/``, ``frames/*.jpg`` and ``audio/*.wav``). They are joined without loss. A
still picture lasts as long as its sound, and such a clip is flagged ``still``.

The report names files that belong to no clip of the list; they are not imported. It also names
files that fail validation; their clips may still be downloaded. An import that was killed can go
on: it skips the clips that are in the ledger.
"""

import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import pyarrow as pa

from earshot.errors import MediaError, RunError
from earshot.files import sha256_of, sync
from earshot.tables import DOWNLOADS, write_table
from pipeline.base.disk import link_file, require_free
from pipeline.base.progress import Progress
from pipeline.downloads.account.histories import add_pulled_rows, read_histories
from pipeline.downloads.account.history import History
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.ledger_copy import adopt_copy
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import (
    TableRules,
    derive_downloads,
    read_downloads_if_there,
)
from pipeline.downloads.clip_files import (
    make_file_stem,
    publish_clip,
    publish_staged_clips,
)
from pipeline.downloads.imports.collector import Candidate, Collector, ImportReport, has_sound
from pipeline.downloads.imports.hub import HubSource
from pipeline.downloads.imports.reader_process import ReaderProcesses
from pipeline.downloads.imports.sources import (
    EndOfArchive,
    FilePart,
    Kind,
    SourceReader,
    find_sources,
)
from pipeline.media.mux import SUFFIX, mux, mux_still
from pipeline.media.validate import ClipFacts, ValidationParameters, validate_clip

_MAX_LONGER_SECONDS = 2.0  # a file may be this much longer than the section in the list
_KINDS: tuple[Kind, ...] = ("video", "audio", "image")
_STAGING = Path(".work", "import")  # below the clips folder; the download stage clears .work


@dataclass(frozen=True)
class ImportParameters:
    """How to import."""

    mode: Literal["link", "copy"] = "link"  # link: hard links, symbolic ones to another disk
    num_workers: int = 2  # files that are validated at the same time
    max_gigabytes: float = 4.0  # of one member of a tar file
    min_free_gigabytes: float = 1.0  # of the disk; the import stops before it has less

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"num_workers is {self.num_workers}, expected 1 or more")


def import_clips(
    sources: Iterable[Path | str],
    clips: pa.Table,
    paths: AccountPaths,
    *,
    parameters: ImportParameters,
    validation: ValidationParameters,
    rules: TableRules | None = None,
    hub_dir: Path | None = None,
    is_quiet: bool = False,
) -> ImportReport:
    """Import the clips of a list that have no file yet.

    Args:
        sources: folders, tar and zip files, and single media files, which are not changed; data
            sets on the Hugging Face hub (``hub.py``).
        clips: CLIPS rows, the list.
        paths: where the clips go, and the ledger, which gets an entry for each of them. The table
            is published if clips of the list are there. Entries of the copy of the ledger, from
            another machine, are taken over.
        hub_dir: where files of the hub are fetched to (None: beside the clips).
        parameters: link or copy, and how many files at a time.
        validation: what a whole clip is.
        rules: of the table, see ``derive_downloads``.
        is_quiet: no progress.

    Returns:
        What became of every file.

    Raises:
        DataError: a source does not exist, or is the dataset's own folder.
        RunError: the disk is full, or another process has the ledger.
    """
    clips_dir, table_path = paths.clips_dir.absolute(), paths.table_path
    # Check all sources before the ledger is opened and the first clip is published.
    hub_dir = hub_dir or clips_dir.with_name("hub")
    clip_ids = clips["clip_id"].to_pylist()
    found = [
        place if isinstance(place, Path) else HubSource(place, hub_dir, clip_ids, is_quiet=is_quiet)
        for place in find_sources(sources, clips_dir=clips_dir)
    ]
    report = ImportReport()

    with Ledger(paths.ledger_path) as ledger:
        before = read_downloads_if_there(table_path) if table_path is not None else None
        adopt_copy(ledger, paths.copy_path, before)
        importer = _Importer(clips, ledger, clips_dir, parameters, validation, report)
        # Rows that `dvc pull` brought stay, except for the clips that are imported now.
        add_pulled_rows(importer.histories, before)
        try:
            with Progress(None, "importing", unit="file", is_quiet=is_quiet) as progress:
                importer.run(found, progress)
        except OSError as error:  # a full disk; sources that cannot be read are named one by one
            raise RunError(
                f"{clips_dir}: the import stopped: {error.strerror or error}; run it again to go on"
            ) from None
        finally:
            shutil.rmtree(clips_dir / _STAGING, ignore_errors=True)

        # The ledger is still locked, so no other process writes the table meanwhile. Write it also
        # if all clips were present: an import may have been killed before it wrote the table.
        if table_path is not None and (report.imported or report.present):
            downloads = derive_downloads(importer.histories, clips_dir=clips_dir, rules=rules)
            write_table(table_path, downloads, DOWNLOADS)
    return report


@dataclass(frozen=True)
class _Prepared:
    """A validated file in the staging folder."""

    staged_path: Path
    sha256: str
    facts: ClipFacts


class _Importer:
    """Validates complete clips in threads and publishes them in the order in which they came.

    Attributes:
        histories: by clip id, with what was imported.
    """

    def __init__(
        self,
        clips: pa.Table,
        ledger: Ledger,
        clips_dir: Path,
        parameters: ImportParameters,
        validation: ValidationParameters,
        report: ImportReport,
    ):
        self._clips, self._ledger, self._clips_dir = clips, ledger, clips_dir
        self._parameters, self._validation, self._report = parameters, validation, report

        self.histories = read_histories(clips, ledger)
        self._processes = ReaderProcesses()
        self._staging_dir = clips_dir / _STAGING
        self._running: deque[tuple[Candidate, Future[_Prepared]]] = deque()

        self._num_started = 0
        self._read_archives: list[EndOfArchive] = []
        self._num_finished = 0  # imported clips that came before these archives

    def run(self, sources: list[Path | HubSource], progress: Progress) -> None:
        """Import from all sources."""
        publish_staged_clips(self.histories.values(), self._clips_dir)
        # Files that are there now come from an import that was killed before it entered the clip.
        shutil.rmtree(self._staging_dir, ignore_errors=True)
        self._staging_dir.mkdir(parents=True)

        reader = SourceReader(
            sources,
            clips_dir=self._clips_dir,
            staging_dir=self._staging_dir,
            on_refusal=lambda name, cause: self._report.foreign.append((name, cause)),
            on_damage=lambda name, cause: self._report.damaged.append((name, cause)),
            max_bytes=int(self._parameters.max_gigabytes * 1e9),
            min_free_bytes=int(self._parameters.min_free_gigabytes * 1e9),
            has_clip=self._has_clip,
        )
        collector = Collector(
            self._clips,
            self.histories,
            self._clips_dir,
            reader,
            self._report,
            has_sound=self._has_sound,
        )

        # Validation decodes and takes long: threads wait for it while this one reads on.
        with (
            contextlib.closing(self._processes),
            ThreadPoolExecutor(self._parameters.num_workers) as executor,
        ):
            for file in reader:
                if isinstance(file, EndOfArchive):
                    self._read_archives.append(file)
                    self._finish_archives(collector, executor)
                    continue

                candidate = collector.add(file)
                if candidate is not None:
                    self._start(candidate, executor)
                # Unpacked members and copies take room, so reading does not run far ahead.
                while len(self._running) > 2 * self._parameters.num_workers:
                    self._finish_one(collector, executor)
                progress.update(num_failed=len(self._report.rejected) - progress.num_failed)

            # What still lacks a part now is rejected with the part's name. Its spares may be whole.
            while True:
                for candidate in collector.take_rest():
                    self._start(candidate, executor)
                if not self._running:
                    break
                self._finish_one(collector, executor)
            self._finish_archives(collector, executor)
        # Files are checked after the last one was read.
        progress.update(0, num_failed=len(self._report.rejected) - progress.num_failed)
        self._report.num_hidden = reader.num_hidden

    def _has_clip(self, clip_id: str) -> bool:
        history = self.histories.get(clip_id)
        return history is not None and history.is_in_place(self._clips_dir)

    def _finish_archives(self, collector: Collector, executor: Executor) -> None:
        """Finish the archives of the hub whose clips are all in place."""
        # An archive may go only when no clip of it is on its way. The other half of a clip may be
        # in a later archive.
        while self._running:
            self._finish_one(collector, executor)
        if collector.is_waiting:
            return
        for archive in self._read_archives:
            archive.finish(self._report.imported[self._num_finished :])
        self._read_archives.clear()
        self._num_finished = len(self._report.imported)

    def _start(self, candidate: Candidate, executor: Executor) -> None:
        self._num_started += 1
        folder = self._staging_dir / f"clip-{self._num_started}"
        self._running.append((candidate, executor.submit(self._prepare, candidate, folder)))

    def _prepare(self, candidate: Candidate, folder: Path) -> _Prepared:
        """Join, validate, stage and hash one clip; runs in a thread."""
        folder.mkdir(parents=True)
        history = candidate.history
        part = self._join_parts(history.clip_id, candidate.parts, folder)
        facts = self._validate(part.path, history)

        # Under its final name and on the disk before the ledger has it.
        staged_path = folder / f"{make_file_stem(history.clip_id)}{part.path.suffix.lower()}"
        if part.is_ours:
            os.replace(part.path, staged_path)
        elif self._parameters.mode == "link":
            link_file(part.path, staged_path, otherwise="symlink")
        else:
            require_free(
                folder, part.path.stat().st_size, self._parameters.min_free_gigabytes * 1e9
            )
            shutil.copyfile(part.path, staged_path)
        # A symbolic link leads to the user's own file, which was written long ago.
        if not staged_path.is_symlink():
            sync(staged_path)
        sync(folder)
        return _Prepared(staged_path, sha256_of(staged_path), facts)

    def _join_parts(self, clip_id: str, parts: dict[Kind, FilePart], folder: Path) -> FilePart:
        """Return one file with picture and sound; make it in ``folder`` if there are two."""
        video, sound, image = (parts.get(kind) for kind in _KINDS)
        # A video with sound is taken as it is, whatever lies beside it.
        if video is not None and (sound is None or self._has_sound(video.path)):
            return video
        if sound is None:
            raise MediaError(
                "no_audio", f"only a picture of {clip_id} was found, expected its sound beside it"
            )

        joined_path = folder / f"joined{SUFFIX}"
        if video is not None:
            mux(video.path, sound.path, joined_path)
        elif image is not None:
            mux_still(image.path, sound.path, joined_path)
        else:
            raise MediaError(
                "no_video", f"only the sound of {clip_id} was found, expected its picture beside it"
            )
        return FilePart(video.name if video is not None else sound.name, joined_path, is_ours=True)

    def _has_sound(self, path: Path) -> bool:
        """Return whether a file has an audio stream; validation reports what cannot be read."""
        try:
            return self._processes.call(has_sound, path)
        except MediaError:
            return True

    def _validate(self, path: Path, history: History) -> ClipFacts:
        # A clip without an end in the list is a whole video, of any length.
        wanted_seconds = None
        if history.end_seconds is not None:
            wanted_seconds = history.end_seconds - (history.start_seconds or 0.0)

        facts = self._processes.call(
            validate_clip, path, wanted_seconds=wanted_seconds, parameters=self._validation
        )
        duration = facts.duration_seconds
        # Imports are never cut. A file that is much longer is another section or the whole video.
        if wanted_seconds is not None and duration > wanted_seconds + _MAX_LONGER_SECONDS:
            raise MediaError(
                "too_long",
                f"lasts {duration:.1f} s, expected the section of {wanted_seconds:g} s",
            )
        return facts

    def _finish_one(self, collector: Collector, executor: Executor) -> None:
        """Wait for the oldest clip; publish or reject it."""
        candidate, future = self._running.popleft()
        clip_id, parts = candidate.history.clip_id, list(candidate.parts.values())
        origin = " + ".join(
            candidate.parts[kind].name for kind in _KINDS if kind in candidate.parts
        )

        try:
            prepared = future.result()
        except MediaError as error:
            self._report.rejected.append((origin, clip_id, error.reason, str(error)))
            # Another file, of this source or a later one, may be better.
            another = collector.reject(clip_id)
            if another is not None:
                self._start(another, executor)
        else:
            self._publish(candidate.history, prepared, origin)
            collector.settle(clip_id)
        finally:
            # Members of tar files were unpacked only for this clip, so remove them in any case.
            for part in parts:
                part.remove()

    def _publish(self, history: History, prepared: _Prepared, origin: str) -> None:
        """Enter a clip in the ledger, then move it to its place.

        If a kill comes between the two, the next import or download stage moves it.
        """
        staged_path = prepared.staged_path

        # An attempt like any other, so that the download stage does not fetch the clip.
        entry = {
            "type": "attempt",
            "clip_id": history.clip_id,
            "time": round(time.time(), 3),
            "url": history.url,
            "start_seconds": history.start_seconds,
            "end_seconds": history.end_seconds,
            "outcome": "ok",
            "origin": origin,
            "file": {
                "path": staged_path.name,
                "staged": os.fspath(staged_path.relative_to(self._clips_dir)),
                "bytes": staged_path.stat().st_size,
                "sha256": prepared.sha256,
                **prepared.facts.as_mapping(),
            },
            # This is no answer of a site, so no pause comes from it.
            "access": "import",
            "versions": f"import; av {av.__version__}",
        }

        (place,) = self._ledger.append([entry])
        history.add(entry, place)
        publish_clip(history, self._clips_dir)
        self._report.imported.append(history.clip_id)
