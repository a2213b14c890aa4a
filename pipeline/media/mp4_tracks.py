"""Which tracks an MP4 or MOV file has, from its index, before FFmpeg opens it.

FFmpeg decodes pictures while it opens a file, to learn what these containers do not say. For the plainest of files
nothing of that is needed: see ``is_plain``.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_MAX_INDEX_BYTES = 8 * 2**20  # that of ten hours of video
_MAX_BOXES = 64
_PLAIN_TRACKS = ({("vide", "avc1")}, {("vide", "avc1"), ("soun", "mp4a")})


def is_plain(path: Path) -> bool:
    """Whether a file is an MP4 or MOV of one H.264 track and at most one of AAC (or MP3), not fragmented.

    Its timestamps, its duration and which streams are read then follow from its index and the first packets alone.
    Whatever cannot be read is not plain.
    """
    try:
        with open(path, "rb") as file:
            index = _read_index(file.fileno())
    except OSError:
        return False
    try:
        tracks = find_tracks(index)
    except (struct.error, UnicodeDecodeError):
        return False
    return tracks is not None and len(set(tracks)) == len(tracks) and set(tracks) in _PLAIN_TRACKS


def find_tracks(index: bytes) -> list[tuple[str, str]] | None:
    """Kind and codec of each track, as the four letters that the file has for them; None for fragmented files.

    ``index``: the payload of the box ``moov``. Raises struct.error when it is damaged.
    """
    tracks = []
    for kind, start, stop in _iter_boxes(index, 0, len(index)):
        if kind == b"mvex":
            return None
        if kind == b"trak":
            handler, codec = _find(index, start, stop, b"mdia", b"hdlr"), None
            description = _find(index, start, stop, b"mdia", b"minf", b"stbl", b"stsd")
            if description is not None and struct.unpack_from(">I", index, description + 4)[0] == 1:
                codec = index[description + 12 : description + 16]
            if handler is None or codec is None:
                return None
            tracks.append(
                (index[handler + 8 : handler + 12].decode("latin-1"), codec.decode("latin-1"))
            )
    return tracks


def _read_index(descriptor: int) -> bytes:
    """The payload of ``moov``; empty where there is none."""
    position = 0
    for _ in range(_MAX_BOXES):
        head = os.pread(descriptor, 16, position)
        if len(head) < 16:
            break
        size, kind, long_size = struct.unpack(">I4sQ", head)
        if not (kind.isalnum() and kind.islower()):  # no MP4 at all
            break
        if kind == b"moov":
            return (
                os.pread(descriptor, size - 8, position + 8)
                if 8 < size <= _MAX_INDEX_BYTES
                else b""
            )
        if size == 1:
            size = long_size
        if size < 8:
            break
        position += size
    return b""


def _find(index: bytes, start: int, stop: int, *path: bytes) -> int | None:
    """Where the payload of the first box at a path begins."""
    for wanted in path:
        for kind, inner_start, inner_stop in _iter_boxes(index, start, stop):
            if kind == wanted:
                start, stop = inner_start, inner_stop
                break
        else:
            return None
    return start


def _iter_boxes(index: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box in a range, where its payload begins and where it ends."""
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", index, start)
        if size < 8 or start + size > stop:
            raise struct.error(f"a box of {size} bytes")
        yield kind, start + 8, start + size
        start += size
