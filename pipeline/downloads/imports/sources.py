"""The files from which clips are imported: in folders, in tar and zip files, and on the hub."""

import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

from earshot.errors import DataError
from pipeline.base.archives import explain_damage, is_archive, is_zip, iter_tar, iter_zip
from pipeline.base.disk import require_free
from pipeline.base.user_files import walk_files
from pipeline.downloads.clip_files import VIDEO_SUFFIXES
from pipeline.downloads.imports import webdataset
from pipeline.downloads.imports.hub import HubFile, HubFolder, HubSource, parse_hub_address
from pipeline.downloads.imports.webdataset import Description

Kind = Literal["video", "audio", "image"]

AUDIO_SUFFIXES = frozenset([".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"])
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png"])
_SUFFIXES: dict[Kind, frozenset[str]] = {
    "video": VIDEO_SUFFIXES,
    "audio": AUDIO_SUFFIXES,
    "image": IMAGE_SUFFIXES,
}

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class FilePart:
    """A file on the disk that is a clip or one half of it (picture or sound)."""

    name: str  # for reports
    path: Path
    is_ours: bool  # it lies in the staging folder and may be moved

    def remove(self) -> None:
        """Remove an unpacked file; a user's own file stays."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class FoundFile:
    """A file in a folder or on the hub, or a member of an archive."""

    name: str  # for reports: a path, or file.tar!member
    suffix: str  # lower case, with its dot
    path: Path | None = None
    stream: IO[bytes] | None = None  # a member's bytes, until the next file is asked for
    fetch: Callable[[], Path] | None = None  # brings a file of the hub; the import may move it
    num_bytes: int = 0  # of a member or a file of the hub; there are never more
    key: str | None = None  # of the sample of a WebDataset shard: another name of its clip
    # of the sample, by its JSON file
    description: Description = field(default_factory=Description)

    @property
    def file_name(self) -> str:
        """The name without folders."""
        return self.name.rsplit("!", 1)[-1].rsplit("/", 1)[-1]

    @property
    def kind(self) -> Kind | None:
        """What the file holds, by its suffix; None: no part of a clip."""
        return next((kind for kind, known in _SUFFIXES.items() if self.suffix in known), None)


@dataclass(frozen=True)
class EndOfArchive:
    """The end of an archive of the hub; it may be removed when its clips are in place."""

    finish: Callable[[Sequence[str]], None]  # called with the ids of the clips that came from it


def find_sources(sources: Iterable[Path | str], *, clips_dir: Path) -> list[Path | HubFolder]:
    """Check sources, and return the path of each, or its place on the hub.

    Args:
        sources: what a user names.
        clips_dir: the dataset's own folder of clips.

    Raises:
        DataError: there is no such file or folder, it is the dataset's own folder, or an address
            is of no data set.
    """
    found: list[Path | HubFolder] = []
    for source in sources:
        folder = parse_hub_address(source)
        found.append(_find_path(source, clips_dir) if folder is None else folder)
    return found


def _find_path(source: Path | str, clips_dir: Path) -> Path:
    path = Path(os.path.expanduser(source)).absolute()
    if not path.exists():
        raise DataError(f"{source}: not found, expected a folder, an archive or a media file")
    if path.is_dir() and os.path.realpath(path) == os.path.realpath(clips_dir):
        raise DataError(
            f"{source}: is this dataset's own folder of clips, expected one to import from"
        )
    return path


class SourceReader:
    """Reads the files of sources: folders, archives, single media files, data sets on the hub.

    Attributes:
        num_hidden: how many hidden files and folders were skipped.
    """

    def __init__(
        self,
        sources: Sequence[Path | HubSource],
        *,
        clips_dir: Path,
        staging_dir: Path,
        on_refusal: Callable[[str, str], None],
        on_damage: Callable[[str, str], None],
        max_bytes: int,
        min_free_bytes: int,
        has_clip: Callable[[str], bool],
    ):
        """Prepare to read; nothing is opened yet.

        Args:
            sources: folders and files, which exist, and data sets on the hub.
            clips_dir: the dataset's own folder; it is skipped if a source contains it.
            staging_dir: where tar members are unpacked.
            on_refusal: called with name and cause for tar members that must not be unpacked.
            on_damage: called with name and cause for archives that cannot be read to their end.
            max_bytes: larger tar members are not unpacked.
            min_free_bytes: of the disk; nothing is unpacked that would leave less.
            has_clip: whether a clip needs no file, because it has one.
        """
        self._sources, self._on_refusal, self._on_damage = sources, on_refusal, on_damage
        self._clips_dir, self._staging_dir = clips_dir, staging_dir
        self._max_bytes, self._min_free_bytes = max_bytes, min_free_bytes
        self._has_clip = has_clip
        self._num_unpacked = 0
        self.num_hidden = 0

    def __iter__(self) -> Iterator[FoundFile | EndOfArchive]:
        """Yield every file: those of a folder by name, members in their order."""
        for source in self._sources:
            if isinstance(source, HubSource):
                yield from self._iter_hub(source)
                continue
            for path in [source] if source.is_file() else self._walk(source):
                # Names need not be UTF-8; reports are.
                name = os.fsencode(path).decode("utf-8", "replace")
                if is_archive(path.name):
                    yield from self._iter_archive(path, name)
                else:
                    yield FoundFile(name, path.suffix.lower(), path=path)

    def find_obstacle(self, file: FoundFile) -> str | None:
        """Return why a file must not be unpacked; None if it may."""
        # Members and files of the hub are copied. Files of this machine stay where they are.
        if file.path is None and file.num_bytes > self._max_bytes:
            limit = f"download.max_gigabytes ({self._max_bytes / 1e9:g})"
            return f"unpacks to {file.num_bytes} bytes, expected at most {limit}"
        return None

    def get_part(self, file: FoundFile) -> FilePart:
        """Return a file on the disk; members and files of the hub come to the staging folder.

        Raises:
            DataError: the member is damaged, or the file cannot be fetched.
            RunError: the disk would have too little space left.
        """
        if file.path is not None:
            return FilePart(file.name, file.path, is_ours=False)

        require_free(self._staging_dir, file.num_bytes, self._min_free_bytes)
        self._num_unpacked += 1
        path = self._staging_dir / f"member-{self._num_unpacked}{file.suffix}"
        if file.fetch is not None:
            # Moved, not copied: the clip takes its place.
            os.replace(file.fetch(), path)
            return FilePart(file.name, path, is_ours=True)

        assert file.stream is not None
        try:
            with explain_damage("is damaged in its archive"), open(path, "wb") as target:
                shutil.copyfileobj(file.stream, target, _COPY_BYTES)
        except DataError:
            path.unlink(missing_ok=True)
            raise
        return FilePart(file.name, path, is_ours=True)

    def _iter_hub(self, source: HubSource) -> Iterator[FoundFile | EndOfArchive]:
        """Yield the files of a data set; media are fetched only if their clip is wanted."""
        for file in source.list_files():
            name = f"{source.folder.name}/{file.path}"
            path = Path(file.path)
            if path.name.startswith("."):
                self.num_hidden += 1
            elif not is_archive(path.name):
                fetch = partial(source.fetch, file)
                yield FoundFile(name, path.suffix.lower(), fetch=fetch, num_bytes=file.num_bytes)
            elif not source.is_done(file, self._has_clip):
                yield from self._iter_hub_archive(source, file, name)

    def _iter_hub_archive(
        self, source: HubSource, file: HubFile, name: str
    ) -> Iterator[FoundFile | EndOfArchive]:
        require_free(self._staging_dir, file.num_bytes, self._min_free_bytes)
        # A damaged one stays, so that nobody takes it for one whose clips are all here.
        if (yield from self._iter_archive(source.fetch(file), name)):
            yield EndOfArchive(partial(source.finish, file))

    def _iter_archive(self, path: Path, name: str) -> Generator[FoundFile, None, bool]:
        """Yield the members of an archive up to its end, or to damage; return whether it is whole.

        Damage of one archive must not cost the clips of the others.
        """
        try:
            yield from self._iter_members(path, name)
        except DataError as error:
            self._on_damage(name, str(error))
            return False
        return True

    def _iter_members(self, archive_path: Path, archive_name: str) -> Iterator[FoundFile]:
        on_refusal = partial(self._refuse, archive_name)
        if is_zip(archive_path.name):
            members, descriptions = iter_zip(archive_path, on_refusal=on_refusal), {}
        else:
            descriptions = webdataset.read_descriptions(archive_path)
            members = iter_tar(archive_path, on_refusal=on_refusal)

        for member, stream, num_bytes in members:
            if member.name.startswith("."):
                self.num_hidden += 1
            else:
                key = webdataset.key_of(member)
                yield FoundFile(
                    f"{archive_name}!{member}",
                    member.suffix.lower(),
                    stream=cast(IO[bytes], stream),
                    num_bytes=num_bytes,
                    key=key.rpartition("/")[2],
                    description=descriptions.get(key, Description()),
                )

    def _refuse(self, archive_name: str, member: str, cause: str) -> None:
        self._on_refusal(f"{archive_name}!{member}", cause)

    def _walk(self, folder: Path) -> Iterator[Path]:
        return walk_files(folder, but=[self._clips_dir], on_hidden=self._count_hidden)

    def _count_hidden(self, _: str) -> None:
        self.num_hidden += 1
