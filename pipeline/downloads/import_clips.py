"""Clips that people have already: folders and tar files, matched to the list, validated, and entered in the ledger.

Known names (``ClipNames``): the clip's id; the video's id with start, or start and end, in seconds or milliseconds
(``YTID_000030``, ``YTID_30_40``, ``YTID_30000_40000``); the video's id alone where the list has one clip of it. The
suffix says what a file holds: a video, a sound, or a picture. Picture and sound of a clip may lie in separate files,
in any folders (``video/`` and ``audio/``, ``frames/*.jpg`` and ``audio/*.wav``): they are joined without loss, a
still picture for as long as its sound lasts (such a clip is flagged ``still``).

What is no clip of the list is named and left alone. A file that fails validation is named too, and not held against the
clip: it may still be downloaded. An import that was killed goes on: what is in the ledger is not looked at again.
"""

import math
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import av
import av.error
import pyarrow as pa

from earshot.errors import DataError, MediaError, RunError
from earshot.files import sha256_of, sync
from pipeline.base.archives import iter_tar
from pipeline.base.disk import link_file
from pipeline.base.progress import Progress
from pipeline.downloads.history import History, file_stem_of, read_histories
from pipeline.downloads.ledger import Ledger
from pipeline.media.mux import SUFFIX, mux, mux_still
from pipeline.media.validate import ClipFacts, ValidationParameters, validate_clip

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".flv",
        ".ts",
        ".mpg",
        ".mpeg",
        ".3gp",
        ".ogv",
        ".wmv",
    ]
)
AUDIO_SUFFIXES = frozenset([".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"])
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_TAR_SUFFIX = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
_TIMED = (
    re.compile(r"(?P<video>.+)[_-](?P<start>\d+(?:\.\d+)?)[_-](?P<end>\d+(?:\.\d+)?)"),
    re.compile(r"(?P<video>.+)[_-](?P<start>\d+(?:\.\d+)?)"),
)
_MAX_LONGER_SECONDS = 2.0  # than the section that the list asks for
_STAGING = Path(".work", "import")  # below the clips folder; the download stage clears .work


@dataclass(frozen=True)
class ImportParameters:
    """How to import: ``mode`` ``link`` makes hard links (symbolic ones to another disk), ``copy`` copies the bytes."""

    mode: Literal["link", "copy"] = "link"
    num_workers: int = 2

    def __post_init__(self):
        if self.num_workers < 1:
            raise ValueError(f"num_workers is {self.num_workers}, expected 1 or more")


@dataclass
class ImportReport:
    """What became of every file that was found; names are paths, for tar members ``file.tar!member``."""

    imported: list[str] = field(default_factory=list)  # clip ids
    present: list[str] = field(default_factory=list)  # clip ids that had a file before
    rejected: list[tuple[str, str, str, str]] = field(
        default_factory=list
    )  # name, clip id, reason, words
    foreign: list[tuple[str, str]] = field(
        default_factory=list
    )  # name, why it is no clip of the list
    num_hidden: int = 0


class ClipNames:
    """Finds the clip of a list that a file's name means."""

    def __init__(self, clips: pa.Table):
        columns = (
            clips.column(name).to_pylist()
            for name in ("clip_id", "video_id", "start_seconds", "end_seconds")
        )
        self._ids: dict[str, str] = {}
        self._of_video: dict[str, list[tuple[str, float | None, float | None]]] = {}
        for clip_id, video_id, start, end in zip(*columns, strict=True):
            self._ids[clip_id] = self._ids[file_stem_of(clip_id)] = clip_id
            self._of_video.setdefault(video_id, []).append((clip_id, start, end))

    def find(self, stem: str) -> str | None:
        """The clip id, None when the list has no such clip. Raises DataError when the name fits several."""
        if stem in self._ids:
            return self._ids[stem]
        found = {
            clip_id for pattern in _TIMED for clip_id in self._find_timed(pattern.fullmatch(stem))
        }
        if not found:
            found = {clip_id for clip_id, _, _ in self._of_video.get(stem, ())}
        if len(found) > 1:
            raise DataError(f"fits {len(found)} clips of the list ({', '.join(sorted(found)[:3])})")
        return found.pop() if found else None

    def _find_timed(self, match: re.Match | None) -> Iterator[str]:
        if match is None:
            return
        start, end = float(match["start"]), match.groupdict().get("end")
        for clip_id, clip_start, clip_end in self._of_video.get(match["video"], ()):
            if clip_start is None:
                continue
            for scale in (1.0, 1000.0):
                is_start = math.isclose(start, clip_start * scale, abs_tol=1e-6)
                is_end = end is None or (
                    clip_end is not None
                    and math.isclose(float(end), clip_end * scale, abs_tol=1e-6)
                )
                if is_start and is_end:
                    yield clip_id
                    break


@dataclass
class _Part:
    """One file of a clip; ``is_ours``: it lies in the staging folder and may be moved."""

    name: str
    path: Path
    is_ours: bool


@dataclass
class _Prepared:
    """A validated file, staged and hashed."""

    parts: list[_Part]
    staged_path: Path
    sha256: str
    facts: ClipFacts


def import_clips(
    sources: Iterable[Path | str],
    clips: pa.Table,
    *,
    clips_dir: Path,
    ledger_path: Path,
    parameters: ImportParameters,
    validation: ValidationParameters,
    is_quiet: bool = False,
) -> ImportReport:
    """Import what ``sources`` (folders, tar files, single media files) hold of the clips that have no file yet."""
    clips_dir = Path(clips_dir).absolute()
    paths = [_checked_source(source, clips_dir) for source in sources]
    with Ledger(ledger_path) as ledger:
        importer = _Importer(clips, ledger, clips_dir, parameters, validation)
        try:
            with Progress(None, "importing", unit="file", is_quiet=is_quiet) as progress:
                importer.run(paths, progress)
        except OSError as error:  # a full disk; sources that cannot be read are named one by one
            raise RunError(
                f"{clips_dir}: the import stopped: {error.strerror or error}; run it again to go on"
            ) from None
        finally:
            shutil.rmtree(clips_dir / _STAGING, ignore_errors=True)
    return importer.report


def _checked_source(source: Path | str, clips_dir: Path) -> Path:
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise DataError(f"{source}: not found, expected a folder, a tar file or a media file")
    if path.is_dir() and os.path.realpath(path) == os.path.realpath(clips_dir):
        raise DataError(
            f"{source}: is this dataset's own folder of clips, expected one to import from"
        )
    return path


class _Importer:
    def __init__(
        self, clips, ledger: Ledger, clips_dir: Path, parameters: ImportParameters, validation
    ):
        self.ledger, self.clips_dir, self.parameters, self.validation = (
            ledger,
            clips_dir,
            parameters,
            validation,
        )
        self.names = ClipNames(clips)
        self.histories = read_histories(clips, ledger.entries)
        self.staging_dir = clips_dir / _STAGING
        self.report = ImportReport()
        self._parts: dict[
            str, dict[str, _Part]
        ] = {}  # clip id -> kind -> what waits for its counterpart
        self._seen: set[str] = set()  # clips that are present, imported or on their way
        self._present: set[str] = set()
        self._running: deque[tuple[History, list[_Part], Future]] = deque()
        self._num_staged = 0

    def run(self, sources: list[Path], progress: Progress) -> None:
        self._roll_forward()
        shutil.rmtree(self.staging_dir, ignore_errors=True)
        self.staging_dir.mkdir(parents=True)
        with ThreadPoolExecutor(self.parameters.num_workers) as executor:
            for name, suffix, open_part in self._iter_files(sources):
                num_before = len(self.report.rejected)
                self._take(name, suffix, open_part, executor)
                while len(self._running) > 2 * self.parameters.num_workers:
                    self._finish_one()
                progress.update(num_failed=len(self.report.rejected) - num_before)
            for clip_id in list(self._parts):
                self._start(clip_id, executor)
            while self._running:
                self._finish_one()

    def _roll_forward(self) -> None:
        """Finish what a killed import had entered in the ledger but not renamed yet."""
        for history in self.histories.values():
            facts = history.ok["file"] if history.ok is not None else {}
            staged_path = self.clips_dir / facts.get("staged", "")
            is_ours = self.staging_dir in staged_path.parents and staged_path.exists()
            if is_ours and sha256_of(staged_path) == facts["sha256"]:
                self._rename(staged_path, self.clips_dir / facts["path"])

    def _iter_files(self, sources: list[Path]) -> Iterator[tuple]:
        """``(name for reports, suffix, function that gives the _Part)`` of every file, tar members in their order."""
        for source in sources:
            for path in [source] if source.is_file() else self._walk(source):
                name = os.fsencode(path).decode("utf-8", "replace")
                if not _TAR_SUFFIX.search(path.name):
                    yield (
                        name,
                        path.suffix.lower(),
                        lambda name=name, path=path: _Part(name, path, is_ours=False),
                    )
                    continue
                for member, stream in iter_tar(path, on_refusal=partial(self._refuse, name)):
                    if member.name.startswith("."):
                        self.report.num_hidden += 1
                        continue
                    label, suffix = f"{name}!{member}", member.suffix.lower()
                    yield (
                        label,
                        suffix,
                        lambda label=label, suffix=suffix, stream=stream: self._extract(
                            label, suffix, stream
                        ),
                    )

    def _refuse(self, tar_name: str, member: str, why: str) -> None:
        self.report.foreign.append((f"{tar_name}!{member}", why))

    def _walk(self, folder: Path) -> Iterator[Path]:
        visited, own_dir = set(), os.path.realpath(self.clips_dir)
        for parent, subfolders, names in os.walk(folder, followlinks=True):
            real_path = os.path.realpath(parent)
            if real_path in visited or real_path == own_dir:
                subfolders.clear()
                continue
            visited.add(real_path)
            self.report.num_hidden += sum(name.startswith(".") for name in (*subfolders, *names))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))

    def _extract(self, name: str, suffix: str, stream) -> _Part:
        self._num_staged += 1
        path = self.staging_dir / f"member-{self._num_staged}{suffix}"
        with open(path, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        return _Part(name, path, is_ours=True)

    def _take(self, name: str, suffix: str, open_part, executor) -> None:
        """Sort one file: foreign, of a clip that is present, complete, or one half of a clip."""
        kind = next(
            (
                kind
                for kind, suffixes in (
                    ("video", VIDEO_SUFFIXES),
                    ("audio", AUDIO_SUFFIXES),
                    ("image", IMAGE_SUFFIXES),
                )
                if suffix in suffixes
            ),
            None,
        )
        if kind is None:
            self.report.foreign.append(
                (name, f"a clip is made of no file of kind {suffix or 'without suffix'}")
            )
            return
        file_name = name.rsplit("!", 1)[-1].rsplit("/", 1)[-1]
        try:
            # Ids of the local dataset are file names with their suffix.
            clip_id = self.names.find(file_name[: -len(suffix)]) or self.names.find(file_name)
        except DataError as error:
            self.report.foreign.append((name, str(error)))
            return
        if clip_id is None:
            self.report.foreign.append((name, "the list has no clip of this name"))
            return
        history = self.histories[clip_id]
        if (
            clip_id not in self._seen
            and history.has_file(self.clips_dir)
            and not history.is_retry_wanted
        ):
            self._seen.add(clip_id)
            self._present.add(clip_id)
            self.report.present.append(clip_id)
        if clip_id in self._seen:
            if kind == "video" and clip_id not in self._present:
                self.report.foreign.append((name, f"another file was found for {clip_id} before"))
            return
        parts = self._parts.setdefault(clip_id, {})
        if kind in parts:
            self.report.foreign.append((name, f"{parts[kind].name} was found for {clip_id} before"))
            return
        part = parts[kind] = open_part()
        if (kind == "video" and _has_sound(part.path)) or {"video", "audio"} <= set(parts):
            self._start(clip_id, executor)

    def _start(self, clip_id: str, executor) -> None:
        parts, history = self._parts.pop(clip_id), self.histories[clip_id]
        self._seen.add(clip_id)
        used = [parts[kind] for kind in ("video", "audio", "image") if kind in parts]
        self._num_staged += 1
        folder = self.staging_dir / f"clip-{self._num_staged}"
        self._running.append(
            (history, used, executor.submit(self._prepare, history, parts, folder))
        )

    def _prepare(self, history: History, parts: dict[str, _Part], folder: Path) -> _Prepared:
        """In a thread: one file of the parts, validated, hashed, staged."""
        folder.mkdir(parents=True)
        path, suffix, is_ours = self._join(history.clip_id, parts, folder)
        is_section = history.end_seconds is not None
        wanted_seconds = (
            history.end_seconds - (history.start_seconds or 0.0) if is_section else None
        )
        facts = validate_clip(path, wanted_seconds=wanted_seconds, parameters=self.validation)
        if (
            wanted_seconds is not None
            and facts.duration_seconds > wanted_seconds + _MAX_LONGER_SECONDS
        ):
            raise MediaError(
                "too_long",
                f"lasts {facts.duration_seconds:.1f} s, expected the section of {wanted_seconds:g} s",
            )
        staged_path = folder / f"{file_stem_of(history.clip_id)}{suffix}"
        if is_ours:
            os.replace(path, staged_path)
        elif self.parameters.mode == "link":
            link_file(path, staged_path, otherwise="symlink")
        else:
            shutil.copyfile(path, staged_path)
        if not staged_path.is_symlink():
            sync(staged_path)
        sync(folder)
        return _Prepared(list(parts.values()), staged_path, sha256_of(staged_path), facts)

    def _join(self, clip_id: str, parts: dict[str, _Part], folder: Path) -> tuple[Path, str, bool]:
        video, sound, image = (parts.get(kind) for kind in ("video", "audio", "image"))
        joined_path = folder / f"joined{SUFFIX}"
        if video is not None and (sound is None or _has_sound(video.path)):
            return video.path, video.path.suffix.lower(), video.is_ours
        if sound is None:
            raise MediaError(
                "no_audio", f"only a picture of {clip_id} was found, expected its sound beside it"
            )
        if video is not None:
            mux(video.path, sound.path, joined_path)
        elif image is not None:
            mux_still(image.path, sound.path, joined_path)
        else:
            raise MediaError(
                "no_video", f"only the sound of {clip_id} was found, expected its picture beside it"
            )
        return joined_path, SUFFIX, True

    def _finish_one(self) -> None:
        history, parts, future = self._running.popleft()
        try:
            prepared = future.result()
        except MediaError as error:
            self.report.rejected.append(
                (" + ".join(part.name for part in parts), history.clip_id, error.reason, str(error))
            )
            self._seen.discard(history.clip_id)  # another source may have a better one
        else:
            self._publish(history, prepared)
        finally:
            for part in parts:
                if part.is_ours:
                    part.path.unlink(missing_ok=True)

    def _publish(self, history: History, prepared: _Prepared) -> None:
        """Ledger first, then the rename: the download stage finishes what a kill leaves between the two."""
        staged_path, path = prepared.staged_path, self.clips_dir / prepared.staged_path.name
        entry = {
            "type": "attempt",
            "clip_id": history.clip_id,
            "time": round(time.time(), 3),
            "url": history.url,
            "start_seconds": history.start_seconds,
            "end_seconds": history.end_seconds,
            "outcome": "ok",
            "origin": " + ".join(part.name for part in prepared.parts),
            "file": {
                "path": path.name,
                "staged": os.fspath(staged_path.relative_to(self.clips_dir)),
                "bytes": staged_path.stat().st_size,
                "sha256": prepared.sha256,
                **prepared.facts.as_mapping(),
            },
            "access": "import",
            "versions": f"import; av {av.__version__}",
        }
        self.ledger.append([entry])
        history.add(entry)
        self._rename(staged_path, path)
        self.report.imported.append(history.clip_id)

    def _rename(self, staged_path: Path, path: Path) -> None:
        os.replace(staged_path, path)
        staged_path.unlink(missing_ok=True)  # renaming one link of a file to another does nothing
        sync(self.clips_dir)


def _has_sound(path: Path) -> bool:
    """Whether a file has an audio stream; one that cannot be read is left to validation."""
    try:
        with av.open(os.fspath(path)) as container:
            return bool(container.streams.audio)
    except (av.error.FFmpegError, OSError, ValueError):
        return True
