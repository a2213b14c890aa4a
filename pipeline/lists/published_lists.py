"""Published lists: fetching them once with a pinned hash, and reading ids from them with errors that name the line.

A list comes from ``lists_dir`` (a folder that the user already has; what differs there from the published bytes is
said, not refused) or from its public address (there it must have the published hash) into ``cache/<dataset>/lists``.
Reading accepts what editors and spreadsheets do to text files (Windows line ends, a byte order mark, blank lines, no
newline at the end) and refuses everything else: other encodings, duplicates, lines that are no id.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from earshot.errors import DataError, quote
from earshot.files import sha256_of
from pipeline.base.http import fetch_file

# Facts that a user should hear of but that stop nothing; without any set-up Python prints warnings on stderr.
log = logging.getLogger("earshot.sources")


@dataclass(frozen=True)
class ListFile:
    """One published file: ``family`` names its repository and its folder in ``lists_dir``; ``sha256`` is its pin."""

    family: str
    name: str
    sha256: str | None = None


class Lists:
    """Where the lists of a dataset come from.

    ``base_urls``: family -> address of the folder; ``parameter`` names the section of params.yaml in errors.
    """

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        lists_dir: str | None,
        cache_dir: Path,
        parameter: str,
    ):
        self._base_urls, self._parameter = dict(base_urls), parameter
        self._cache_dir = Path(cache_dir) / "lists"
        self._lists_dir = None if lists_dir is None else Path(lists_dir).expanduser().absolute()
        if self._lists_dir is not None and not self._lists_dir.is_dir():
            raise DataError(
                f"{parameter}.lists_dir is {lists_dir!r}: found no such folder, expected the published lists"
            )

    @property
    def is_local(self) -> bool:
        """Whether the user gave a folder, so that nothing is to be fetched."""
        return self._lists_dir is not None

    def find(self, file: ListFile) -> Path | None:
        """The path of a list that is here already (in ``lists_dir``, or cached and intact); None otherwise."""
        if self._lists_dir is not None:
            candidates = (self._lists_dir / file.family / file.name, self._lists_dir / file.name)
            return next((path for path in candidates if path.is_file()), None)
        path = self._cache_dir / file.family / file.name
        return path if path.is_file() and file.sha256 in (None, sha256_of(path)) else None

    def get(self, file: ListFile) -> Path:
        """The path of a list, fetched when it is not here."""
        path = self.find(file)
        if path is not None:
            if self._lists_dir is not None and file.sha256 not in (None, sha256_of(path)):
                log.warning(
                    "%s: is not byte for byte the published %s; it is used as it is",
                    path,
                    file.name,
                )
            return path
        if self._lists_dir is not None:
            raise DataError(
                f"{self._lists_dir}: holds neither {file.family}/{file.name} nor {file.name}; "
                f"add it, or set {self._parameter}.lists_dir to null to fetch it"
            )
        path = self._cache_dir / file.family / file.name
        url = f"{self._base_urls[file.family].rstrip('/')}/{file.name}"
        try:
            fetch_file(url, path, sha256=file.sha256)
        except DataError as error:
            hint = f"to use a copy that you have, set {self._parameter}.lists_dir to its folder"
            raise DataError(f"{error}; {hint}") from None
        return path


def decode_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, as ``csv.reader`` wants them; refuses what is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from None


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    """``(line number from 1, text)`` of the lines that are not blank."""
    for number, line in enumerate(decode_lines(path), start=1):
        text = line.strip()
        if text:
            yield number, text


def read_ids(
    path: Path, *, pattern: re.Pattern, what: str, has_frame_column: bool = False
) -> list[str]:
    """Ids of a list, one a line, in its order.

    ``has_frame_column``: a second column (an integer that no known loader reads) may follow. ``what`` says in errors
    what an id looks like.
    """
    ids: dict[str, int] = {}
    for number, text in iter_lines(path):
        clip_id, comma, rest = text.partition(",")
        if comma and not (has_frame_column and re.fullmatch(r"\s*\d+\s*", rest)):
            expected = f"{what} and a frame number" if has_frame_column else what
            raise DataError(f"{path}, line {number}: found {quote(text)}, expected {expected}")
        if not pattern.fullmatch(clip_id):
            raise DataError(f"{path}, line {number}: found {quote(text)}, expected {what}")
        if clip_id in ids:
            raise DataError(
                f"{path}, line {number}: {clip_id} is there twice, first in line {ids[clip_id]}"
            )
        ids[clip_id] = number
    if not ids:
        raise DataError(f"{path}: is empty, expected {what} in each line")
    return list(ids)


def read_pairs(path: Path, *, pattern: re.Pattern, what: str) -> list[tuple[str, str]]:
    """``(video id, audio id)`` of the negatives of an extended test set.

    The file has a header ``video,audio,label``; rows whose label is ``non-sounding`` are negatives, those with
    ``sounding`` are left to the test list itself.
    """
    pairs: dict[tuple[str, str], int] = {}
    for position, (number, text) in enumerate(iter_lines(path)):
        fields = tuple(field.strip() for field in text.split(","))
        if position == 0:
            if fields != ("video", "audio", "label"):
                raise DataError(
                    f"{path}, line {number}: found {quote(text)}, expected the header video,audio,label"
                )
            continue
        if len(fields) != 3 or not (pattern.fullmatch(fields[0]) and pattern.fullmatch(fields[1])):
            raise DataError(
                f"{path}, line {number}: found {quote(text)}, expected two of {what} and a label"
            )
        if fields[2] not in ("non-sounding", "sounding"):
            raise DataError(
                f"{path}, line {number}: label is {quote(fields[2])}, expected non-sounding or sounding"
            )
        if fields[:2] in pairs:
            raise DataError(
                f"{path}, line {number}: {fields[0]},{fields[1]} is there twice, first in line {pairs[fields[:2]]}"
            )
        if fields[2] == "non-sounding":
            pairs[fields[:2]] = number
    if not pairs:
        raise DataError(f"{path}: holds no negative, expected rows labelled non-sounding")
    return list(pairs)


def select(ids: Iterable[str], limit: int | None) -> list[str]:
    """At most ``limit`` ids in their order: those whose hashes are smallest.

    Published lists are sorted, so their first lines are no fair sample. A larger limit contains the smaller one, and
    lists that share ids share what is chosen.
    """
    ids = list(ids)
    if limit is None or len(ids) <= limit:
        return ids
    chosen = set(sorted(ids, key=lambda clip_id: hashlib.sha256(clip_id.encode()).digest())[:limit])
    return [clip_id for clip_id in ids if clip_id in chosen]


def check_selection(splits: tuple[str, ...], known: Iterable[str], limit: int | None) -> None:
    """Raise ValueError (for ``__post_init__``) unless ``splits`` are known, named once, and ``limit`` is possible."""
    known = list(known)
    if not splits:
        raise ValueError(f"splits is empty, expected some of {', '.join(known)}")
    for name in splits:
        if name not in known:
            raise ValueError(f"splits has {name!r}, expected some of {', '.join(known)}")
        if splits.count(name) > 1:
            raise ValueError(f"splits has {name!r} twice")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, expected 1 or more, or null for whole lists")
