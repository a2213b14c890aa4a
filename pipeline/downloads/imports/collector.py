"""Sort the files of an import by clip, until a clip has all its parts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.error
import pyarrow as pa

from earshot.errors import DataError
from pipeline.downloads.account.history import History
from pipeline.downloads.imports.clip_names import ClipNames
from pipeline.downloads.imports.sources import FilePart, FoundFile, Kind, SourceReader
from pipeline.media.files.container import open_container

_NUM_NAMED = 3  # clips, where a file fits several


@dataclass
class ImportReport:
    """What became of every file; a member is named ``file.tar!member``."""

    imported: list[str] = field(default_factory=list)  # clip ids
    present: list[str] = field(default_factory=list)  # ids of clips that had a file before
    # Files that failed validation: name, clip id, reason, text.
    rejected: list[tuple[str, str, str, str]] = field(default_factory=list)
    # Files that are not imported: name, why not.
    foreign: list[tuple[str, str]] = field(default_factory=list)
    # Archives that were read up to some damage: name, what is wrong.
    damaged: list[tuple[str, str]] = field(default_factory=list)
    num_hidden: int = 0


@dataclass(frozen=True)
class Candidate:
    """A clip of the list and the files that it can be made from."""

    history: History
    parts: dict[Kind, FilePart]


class Collector:
    """Sorts files by clip until a clip has all its parts.

    A clip waits for a part, is being validated, or is done (it has a file). Files that come during
    validation are spares: they are tried if the clip is rejected.
    """

    def __init__(
        self,
        clips: pa.Table,
        histories: dict[str, History],
        clips_dir: Path,
        reader: SourceReader,
        report: ImportReport,
        has_sound: Callable[[Path], bool],
    ):
        self._names, self._histories, self._clips_dir = ClipNames(clips), histories, clips_dir
        self._reader, self._report, self._has_sound = reader, report, has_sound

        self._waiting: dict[str, dict[Kind, FilePart]] = {}  # by clip id: parts without the rest
        self._validating: set[str] = set()
        self._spares: dict[str, list[tuple[Kind, FilePart]]] = {}  # by clip id
        self._imported: set[str] = set()
        self._present: set[str] = set()  # clips that had a file before

    def add(self, file: FoundFile) -> Candidate | None:
        """Sort one file; return its clip if it is complete now."""
        kind = file.kind
        if kind is None:
            suffix = file.suffix or "without suffix"
            self._leave(file.name, f"a clip is made of no file of kind {suffix}")
            return None

        clip_id = self._find_clip(file)
        if clip_id is None or self._has_file(clip_id):
            # Sounds and pictures beside a whole video are usual, and so are files of clips that
            # were present before. Only a second video is reported.
            if clip_id in self._imported and kind == "video":
                self._leave(file.name, f"another file was found for {clip_id} before")
            return None

        cause = self._reader.find_obstacle(file)
        if cause is not None:
            self._leave(file.name, cause)
            return None

        try:
            part = self._reader.get_part(file)
        except DataError as error:
            self._leave(file.name, str(error))
            return None
        return self._sort(clip_id, kind, part)

    @property
    def is_waiting(self) -> bool:
        """Whether a clip waits for a part that another archive may bring."""
        return bool(self._waiting)

    def take_rest(self) -> Iterator[Candidate]:
        """Yield the clips that still wait for a part, when there are no more files."""
        for clip_id in list(self._waiting):
            yield self._take(clip_id)

    def settle(self, clip_id: str) -> None:
        """Note that a clip was imported; drop its spares."""
        self._validating.discard(clip_id)
        self._imported.add(clip_id)
        for kind, part in self._spares.pop(clip_id, ()):
            if kind == "video":
                self._leave(part.name, f"another file was found for {clip_id} before")
            part.remove()

    def reject(self, clip_id: str) -> Candidate | None:
        """Note that a clip's file was rejected; return the clip again if spares complete it."""
        self._validating.discard(clip_id)
        candidate = None
        for kind, part in self._spares.pop(clip_id, ()):
            # One of them can complete the clip. The others become spares again.
            candidate = self._sort(clip_id, kind, part) or candidate
        return candidate

    def _has_file(self, clip_id: str) -> bool:
        """Return whether a clip needs no file, because it has one."""
        if clip_id in self._imported or clip_id in self._present:
            return True
        if clip_id in self._waiting or clip_id in self._validating:
            return False

        if self._histories[clip_id].is_in_place(self._clips_dir):
            self._present.add(clip_id)
            self._report.present.append(clip_id)
            return True
        return False

    def _sort(self, clip_id: str, kind: Kind, part: FilePart) -> Candidate | None:
        parts = self._waiting.get(clip_id, {})
        if clip_id in self._validating or kind in parts:
            # It waits, in case the other one is rejected.
            self._spares.setdefault(clip_id, []).append((kind, part))
            return None

        parts = self._waiting.setdefault(clip_id, {})
        parts[kind] = part

        # A video with sound is a whole clip; otherwise wait for the other part.
        is_complete = {"video", "audio"} <= set(parts)
        if is_complete or (kind == "video" and self._has_sound(part.path)):
            return self._take(clip_id)
        return None

    def _take(self, clip_id: str) -> Candidate:
        self._validating.add(clip_id)
        return Candidate(self._histories[clip_id], self._waiting.pop(clip_id))

    def _find_clip(self, file: FoundFile) -> str | None:
        name = file.file_name
        # Ids of the dataset `local` are file names with their suffix.
        own_names = [name[: -len(file.suffix)], name, *([file.key] if file.key else [])]
        by_name, by_description = (
            self._find_first(names, is_section=file.description.has_start)
            for names in (own_names, file.description.names)
        )

        # Each can be of a video with several clips. Together they may mean one.
        meant = by_name & by_description if by_name and by_description else by_name | by_description
        if len(meant) == 1:
            return meant.pop()

        if meant:
            cause = f"fits {len(meant)} clips of the list ({_join(meant)})"
        elif by_name:
            # Either can be a mere number that counts the samples of a shard.
            cause = (
                f"its name means {_join(by_name)}, but its JSON file describes "
                f"{_join(by_description)}"
            )
        else:
            cause = "the list has no clip of this name"
        self._leave(file.name, cause)
        return None

    def _find_first(self, names: Iterable[str], *, is_section: bool) -> set[str]:
        """Return the clips that the first of the names with any can mean."""
        found = (self._names.find(name, is_section=is_section) for name in names)
        return next(filter(None, found), set())

    def _leave(self, name: str, cause: str) -> None:
        self._report.foreign.append((name, cause))


def _join(clip_ids: set[str]) -> str:
    return ", ".join(sorted(clip_ids)[:_NUM_NAMED])


def has_sound(path: Path) -> bool:
    """Return whether a file has an audio stream; validation reports what cannot be read."""
    try:
        with open_container(path) as container:
            return bool(container.streams.audio)
    except (av.error.FFmpegError, OSError, ValueError):
        return True
