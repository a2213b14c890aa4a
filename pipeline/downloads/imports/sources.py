"""The files in folders and tar files from which clips are imported."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

from pipeline.base.archives import iter_tar
from pipeline.base.disk import require_free
from pipeline.downloads.clip_files import VIDEO_SUFFIXES

Kind = Literal["video", "audio", "image"]

AUDIO_SUFFIXES = frozenset([".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"])
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png"])
_SUFFIXES: dict[Kind, frozenset[str]] = {
    "video": VIDEO_SUFFIXES,
    "audio": AUDIO_SUFFIXES,
    "image": IMAGE_SUFFIXES,
}

_TAR_SUFFIX = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
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
    """A file in a folder, or a member of a tar file."""

    name: str  # for reports: a path, or file.tar!member
    suffix: str  # lower case, with its dot
    path: Path | None = None
    stream: IO[bytes] | None = None  # a tar member's bytes, until the next file is asked for
    num_bytes: int = 0  # of a tar member, as its header says; the stream never has more

    @property
    def file_name(self) -> str:
        """The name without folders."""
        return self.name.rsplit("!", 1)[-1].rsplit("/", 1)[-1]

    @property
    def kind(self) -> Kind | None:
        """What its suffix says that it holds; None: nothing that a clip is made of."""
        return next((kind for kind, known in _SUFFIXES.items() if self.suffix in known), None)


class SourceReader:
    """Reads the files of sources: folders, tar files and single media files.

    Attributes:
        num_hidden: how many hidden files and folders were skipped.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        clips_dir: Path,
        staging_dir: Path,
        on_refusal: Callable[[str, str], None],
        max_bytes: int,
        min_free_bytes: int,
    ):
        """Prepare to read; nothing is opened yet.

        Args:
            sources: folders and files, which exist.
            clips_dir: the dataset's own folder; it is skipped if a source contains it.
            staging_dir: where tar members are unpacked.
            on_refusal: called with name and cause for tar members that must not be unpacked.
            max_bytes: larger tar members are not unpacked.
            min_free_bytes: of the disk; nothing is unpacked that would leave less.
        """
        self._sources, self._on_refusal = sources, on_refusal
        self._clips_dir, self._staging_dir = clips_dir, staging_dir
        self._max_bytes, self._min_free_bytes = max_bytes, min_free_bytes
        self._num_unpacked = 0
        self.num_hidden = 0

    def __iter__(self) -> Iterator[FoundFile]:
        """Yield every file: those of a folder by name, tar members in their order."""
        for source in self._sources:
            for path in [source] if source.is_file() else self._walk(source):
                # Names need not be UTF-8; reports are.
                name = os.fsencode(path).decode("utf-8", "replace")
                if _TAR_SUFFIX.search(path.name):
                    yield from self._iter_members(path, name)
                else:
                    yield FoundFile(name, path.suffix.lower(), path=path)

    def find_obstacle(self, file: FoundFile) -> str | None:
        """Return why a file must not be unpacked; None if it may."""
        if file.path is None and file.num_bytes > self._max_bytes:
            limit = f"download.max_gigabytes ({self._max_bytes / 1e9:g})"
            return f"unpacks to {file.num_bytes} bytes, expected at most {limit}"
        return None

    def get_part(self, file: FoundFile) -> FilePart:
        """Return a file on the disk; a tar member is unpacked into the staging folder.

        Raises:
            RunError: the disk would have too little space left.
        """
        if file.path is not None:
            return FilePart(file.name, file.path, is_ours=False)

        assert file.stream is not None
        require_free(self._staging_dir, file.num_bytes, self._min_free_bytes)
        self._num_unpacked += 1
        path = self._staging_dir / f"member-{self._num_unpacked}{file.suffix}"
        with open(path, "wb") as target:
            shutil.copyfileobj(file.stream, target, _COPY_BYTES)
        return FilePart(file.name, path, is_ours=True)

    def _iter_members(self, tar_path: Path, tar_name: str) -> Iterator[FoundFile]:
        on_refusal = partial(self._refuse, tar_name)
        for member, stream, num_bytes in iter_tar(tar_path, on_refusal=on_refusal):
            if member.name.startswith("."):
                self.num_hidden += 1
            else:
                yield FoundFile(
                    f"{tar_name}!{member}",
                    member.suffix.lower(),
                    stream=cast(IO[bytes], stream),
                    num_bytes=num_bytes,
                )

    def _refuse(self, tar_name: str, member: str, cause: str) -> None:
        self._on_refusal(f"{tar_name}!{member}", cause)

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Yield the files below a folder; each folder once, although links may form a circle."""
        visited, own_dir = set(), os.path.realpath(self._clips_dir)
        for parent, subfolders, names in os.walk(folder, followlinks=True):
            real_path = os.path.realpath(parent)
            if real_path in visited or real_path == own_dir:
                subfolders.clear()
                continue
            visited.add(real_path)

            # In sorted order, so that two imports see the files alike.
            self.num_hidden += sum(name.startswith(".") for name in (*subfolders, *names))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))
