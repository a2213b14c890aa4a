"""Find or fetch published lists, and read ids from them.

A list comes from ``lists_dir``, a folder that the user already has, or from its public address. In
the folder, bytes that differ from the published ones give a warning. A fetched list must have the
published hash; it is kept in ``cache/<dataset>/lists``.

Reading accepts what editors and spreadsheets do to text files: Windows line ends, a byte order
mark, blank lines, no newline at the end. Other encodings, duplicates, and lines that are no id are
errors that name the line.
"""

import gzip
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.errors import DataError, quote
from earshot.files import sha256_of
from pipeline.base.http import fetch_file

# For facts that a user should know but that stop nothing. Python prints warnings on stderr, also
# where nobody has set up logging.
log = logging.getLogger("earshot.sources")


@dataclass(frozen=True)
class ListFile:
    """One published file."""

    family: str  # its repository, and its folder in `lists_dir`
    name: str
    sha256: str | None = None  # None: its bytes are not pinned
    # The same list under other paths in a user's folder: compressed, or without file endings.
    copies: tuple[str, ...] = ()
    # Another repository has a list of this name: in a folder, ``family`` tells them apart.
    is_name_shared: bool = False


class Lists:
    """The lists of one dataset, in the user's folder or fetched."""

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        lists_dir: str | None,
        cache_dir: Path,
        parameter: str,
    ) -> None:
        """Say where lists come from.

        Args:
            base_urls: Family -> address of the folder that holds its lists.
            lists_dir: The user's folder. None fetches.
            cache_dir: ``cache/<dataset>``.
            parameter: Section of params.yaml, for error messages.

        Raises:
            DataError: ``lists_dir`` is no folder.
        """
        self._base_urls, self._parameter = dict(base_urls), parameter
        self._cache_dir = Path(cache_dir) / "lists"
        self._lists_dir = None if lists_dir is None else Path(lists_dir).expanduser().absolute()
        if self._lists_dir is not None and not self._lists_dir.is_dir():
            raise DataError(
                f"{parameter}.lists_dir is {lists_dir!r}: found no such folder, "
                "expected the published lists"
            )

    @property
    def is_local(self) -> bool:
        """Whether the user gave a folder, so that nothing is fetched."""
        return self._lists_dir is not None

    def find(self, file: ListFile) -> Path | None:
        """Return the path of a list that is on this machine, else None. Nothing is fetched."""
        if self._lists_dir is not None:
            # As people save lists: in a folder for each repository, or all in one.
            names = [f"{file.family}/{file.name}", f"{file.family}/{Path(file.name).name}"]
            if not file.is_name_shared:
                names += [file.name, Path(file.name).name]
            candidates = [self._lists_dir / name for name in (*names, *file.copies)]
            return next((path for path in candidates if path.is_file()), None)

        # A cached list that is damaged counts as absent.
        path = self._cache_dir / file.family / file.name
        return path if path.is_file() and file.sha256 in (None, sha256_of(path)) else None

    def get(self, file: ListFile) -> Path:
        """Return the path of a list; fetch the list where it is not on this machine.

        Raises:
            DataError: The user's folder does not hold it, or it cannot be fetched.
        """
        path = self.find(file)
        if path is not None:
            # The user's copy may be an older edition or an edited one: warn, and use it.
            is_copy = any(str(path).endswith(f"/{name}") for name in file.copies)
            if self.is_local and not is_copy and file.sha256 not in (None, sha256_of(path)):
                log.warning(
                    "%s: is not byte for byte the published %s; it is used as it is",
                    path,
                    file.name,
                )
            return path

        if self._lists_dir is not None:
            # Fetch nothing here: a user who names a folder expects no network.
            raise DataError(
                f"{self._lists_dir}: holds {_describe_names(file)}; "
                f"add it, or set {self._parameter}.lists_dir to null to fetch it"
            )

        path = self._cache_dir / file.family / file.name
        url = f"{self._base_urls[file.family].rstrip('/')}/{file.name}"
        try:
            fetch_file(url, path, sha256=file.sha256)
        except DataError as error:
            # A machine without a network is a common cause, so name the other way.
            hint = f"to use a copy that you have, set {self._parameter}.lists_dir to its folder"
            raise DataError(f"{error}; {hint}") from None
        return path


def _describe_names(file: ListFile) -> str:
    if file.is_name_shared:
        return f"no {file.family}/{file.name}"
    return f"neither {file.family}/{file.name} nor {file.name}"


def decode_lines(path: Path) -> Iterator[str]:
    """Yield lines with their ends, as ``csv.reader`` expects them; a ``.gz`` is decompressed.

    Raises:
        DataError: Names the line that is not UTF-8, or the file is no gzip file.
    """
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        for number, line in enumerate(_iter_raw(file, path), start=1):
            try:
                # A byte order mark would become a part of the first id.
                yield (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from None


def _iter_raw(file: Iterable[bytes], path: Path) -> Iterator[bytes]:
    # Damage of a gzip file shows only when that part of it is read.
    try:
        yield from file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable gzip: {error}") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: It is not JSON, or nested too deeply to be read.
    """
    try:
        # Programs of Windows put a byte order mark in front, which JSON does not allow.
        return json.loads(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf"))
    # UnicodeDecodeError and JSONDecodeError are ValueErrors.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON: {error}") from None


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, text)`` of the lines that are not blank."""
    for number, line in enumerate(decode_lines(path), start=1):
        text = line.strip()
        if text:
            yield number, text


def read_ids(
    path: Path,
    *,
    pattern: re.Pattern[str],
    what: str,
    has_frame_column: bool = False,
    rename: Callable[[str], str] = str,
) -> list[str]:
    """Read the ids of a list, one a line, in its order.

    Args:
        path: The list.
        pattern: What an id looks like.
        what: The same in words, for error messages.
        has_frame_column: Accept a second column: an integer that no known loader reads.
        rename: Turns a line that names the clip in another way into its id.

    Returns:
        The ids, at least one, each once.

    Raises:
        DataError: A line is no id or appears twice (the message names it), or the list is empty.
    """
    # The values are line numbers, for the message about a duplicate.
    ids: dict[str, int] = {}
    for number, text in iter_lines(path):
        clip_id, comma, rest = rename(text).partition(",")
        if comma and not (has_frame_column and re.fullmatch(r"\s*\d+\s*", rest)):
            expected = f"{what} and a frame number" if has_frame_column else what
            raise DataError(f"{path}, line {number}: found {quote(text)}, expected {expected}")

        if not pattern.fullmatch(clip_id):
            raise DataError(f"{path}, line {number}: found {quote(text)}, expected {what}")
        if clip_id in ids:
            raise DataError(
                f"{path}, line {number}: {clip_id} appears twice, first in line {ids[clip_id]}"
            )

        ids[clip_id] = number

    if not ids:
        raise DataError(f"{path}: is empty, expected {what} in each line")
    return list(ids)


def read_pairs(path: Path, *, pattern: re.Pattern[str], what: str) -> list[tuple[str, str]]:
    """Read the negatives of an extended test set.

    The file has the header ``video,audio,label``. Rows with the label ``non-sounding`` are the
    negatives. Rows with ``sounding`` are in the test list itself and are left out here.

    Args:
        path: The list.
        pattern: What an id looks like.
        what: The same in words, for error messages.

    Returns:
        ``(video id, audio id)`` of each negative, in the list's order.

    Raises:
        DataError: A line is wrong (the message names it), or there is no negative.
    """
    pairs: dict[tuple[str, str], int] = {}
    for position, (number, text) in enumerate(iter_lines(path)):
        fields = tuple(field.strip() for field in text.split(","))
        where = f"{path}, line {number}"

        # Blank lines may come before the header, so it is the first line with text.
        if position == 0:
            if fields != ("video", "audio", "label"):
                raise DataError(
                    f"{where}: found {quote(text)}, expected the header video,audio,label"
                )
            continue

        if len(fields) != 3 or not (pattern.fullmatch(fields[0]) and pattern.fullmatch(fields[1])):
            raise DataError(f"{where}: found {quote(text)}, expected two of {what} and a label")

        video_id, audio_id, label = fields
        if label not in ("non-sounding", "sounding"):
            raise DataError(f"{where}: label is {quote(label)}, expected non-sounding or sounding")
        if (video_id, audio_id) in pairs:
            first = pairs[video_id, audio_id]
            raise DataError(f"{where}: {video_id},{audio_id} appears twice, first in line {first}")

        if label == "non-sounding":
            pairs[video_id, audio_id] = number

    if not pairs:
        raise DataError(f"{path}: holds no negative, expected rows labelled non-sounding")
    return list(pairs)
