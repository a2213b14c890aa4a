"""Read SoundNet's ``urls_public.txt``: the addresses of two million Flickr videos.

A line looks like ``http://www.flickr.com/videos/USER/ID/play/orig/SECRET``.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from earshot.errors import DataError, quote
from pipeline.lists.published_lists import log

_MAX_MALFORMED_FRACTION = 0.01
_NUM_NAMED = 5


@dataclass(frozen=True)
class Address:
    """What an address says of its video."""

    user: str
    secret: str


def read_addresses(path: Path, wanted: Collection[str]) -> dict[str, Address]:
    """Return the addresses of the wanted videos that the file knows.

    Args:
        path: ``urls_public.txt``.
        wanted: Video ids.

    Returns:
        Video id -> address; the first one where a video has several.

    Raises:
        DataError: More than 1 % of the lines are no address. Fewer such lines give a warning.
    """
    # The file has two million lines. Compare bytes, and decode only the wanted lines.
    ids = {video_id.encode() for video_id in wanted}
    addresses: dict[str, Address] = {}
    num_lines, malformed = 0, []

    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line:
                continue
            num_lines += 1

            # The id is the fourth part from the end.
            parts = line.split(b"/")
            # The first line of the file can begin with a byte order mark.
            if (
                len(parts) < 7
                or not parts[-4].isdigit()
                or not line.startswith((b"http", b"\xef\xbb\xbfhttp"))
            ):
                malformed.append((number, line))
                continue

            if parts[-4] not in ids:
                continue

            # User and secret become parts of a URL, so check their characters.
            user, video_id, secret = (parts[i].decode("ascii", "replace") for i in (-5, -4, -1))
            if re.fullmatch(r"[\w@.-]+", user, re.ASCII) and re.fullmatch(r"\w+", secret, re.ASCII):
                addresses.setdefault(video_id, Address(user, secret))
            else:
                malformed.append((number, line))

    _check_malformed(path, malformed, num_lines)
    return addresses


def _check_malformed(path: Path, malformed: list[tuple[int, bytes]], num_lines: int) -> None:
    """Warn about lines that are no address; fail if there are many."""
    if not malformed:
        return

    named = "; ".join(
        f"line {number}: {quote(line.decode('utf-8', 'replace'))}"
        for number, line in malformed[:_NUM_NAMED]
    )
    message = f"{path}: {len(malformed)} of {num_lines} lines are no Flickr address ({named})"

    # One malformed line is no error, however short the file is.
    if len(malformed) > max(_MAX_MALFORMED_FRACTION * num_lines, 1):
        raise DataError(
            f"{message}, expected lines like http://www.flickr.com/videos/USER/ID/play/orig/SECRET"
        )
    log.warning("%s; they are skipped", message)
