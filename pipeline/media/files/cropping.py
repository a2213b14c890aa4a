"""Find which part of the picture a container shows: PixelCrop of Matroska, `clap` of MP4.

Recorders cut black bars away without encoding again: the container says so. The decoder does not
know this, and PyAV does not give FFmpeg's value. So this module reads the headers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer

from pipeline.media.files.container import has_index
from pipeline.media.files.mp4_atoms import find_atoms, iter_atoms, read_moov

# Matroska: the tracks are described within the first bytes. Elements by their ids.
_MATROSKA_HEAD_BYTES = 1 << 18
_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CROPS = {0x54BB: "top", 0x54AA: "bottom", 0x54CC: "left", 0x54DD: "right"}

# MP4: the sample descriptions of a track, and where the atoms within one begin.
_DESCRIPTIONS = (b"mdia", b"minf", b"stbl", b"stsd")
_LIST_HEAD_BYTES = 8
_PICTURE_DESCRIPTION_BYTES = 78


@dataclass(frozen=True)
class Cropping:
    """How many pixels of a stored picture are not shown, on each side."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def find_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what is shown; the whole picture if nothing would be left."""
        shown = height - self.top - self.bottom, width - self.left - self.right
        return shown if min(shown) > 0 else (height, width)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the part of an image, ``(height, width, ...)``, that is shown."""
        height, width = image.shape[:2]
        if self.find_size(height, width) == (height, width):
            return image

        rows = slice(self.top, height - self.bottom)
        columns = slice(self.left, width - self.right)
        return np.ascontiguousarray(image[rows, columns])


def read_cropping(container: InputContainer, stream: av.VideoStream) -> Cropping:
    """Return which part of a stream's pictures its container shows.

    Args:
        container: The open file.
        stream: One of its videos.
    """
    try:
        if has_index(container):
            return _read_clap(Path(container.name), stream)
        if container.format.name.startswith("matroska"):
            return _read_pixel_crop(Path(container.name), container.streams.video.index(stream))
    except (struct.error, ZeroDivisionError, IndexError):
        pass  # damaged headers: FFmpeg reads past them as well
    return Cropping()


def _read_clap(path: Path, stream: av.VideoStream) -> Cropping:
    """Read the clean aperture of an MP4: its size, and how far its centre is from the picture's."""
    for track in find_atoms(read_moov(path), b"trak"):
        (header,) = find_atoms(track, b"tkhd")[:1] or [b""]

        # Version 1 has times of 64 bits before the track's number.
        offset = 20 if header[:1] == b"\1" else 12
        if int.from_bytes(header[offset : offset + 4], "big") != stream.id:
            continue

        for descriptions in find_atoms(track, *_DESCRIPTIONS):
            # Behind the list's version, flags and number of entries.
            for description in iter_atoms(descriptions[_LIST_HEAD_BYTES:]):
                # Height and width follow 24 bytes that say nothing about the picture.
                height, width = struct.unpack_from(">24xHH", description.payload)[::-1]
                for atom in iter_atoms(description.payload[_PICTURE_DESCRIPTION_BYTES:]):
                    if atom.name == b"clap":
                        return _make_cropping(atom.payload, height=height, width=width)
                return Cropping()
    return Cropping()


def _make_cropping(clap: bytes, *, height: int, width: int) -> Cropping:
    # Four fractions: width and height of what is shown, then how far its centre moves.
    numbers = struct.unpack_from(">IIIIiIiI", clap)
    shown_width, shown_height, right_by, down_by = (
        Fraction(numbers[index], numbers[index + 1]) for index in range(0, 8, 2)
    )

    left = round((width - shown_width) / 2 + right_by)
    top = round((height - shown_height) / 2 + down_by)
    right, bottom = width - left - round(shown_width), height - top - round(shown_height)

    if min(left, top, right, bottom) < 0:
        return Cropping()
    return Cropping(top, bottom, left, right)


class _Element(NamedTuple):
    """A part of a Matroska file: what it is and where its payload lies."""

    id: int
    start: int
    stop: int


def _read_pixel_crop(path: Path, number: int) -> Cropping:
    """Read the cropping of a Matroska file's ``number``th video."""
    with open(path, "rb") as file:
        head = file.read(_MATROSKA_HEAD_BYTES)

    videos = _find_elements(head, _SEGMENT, _TRACKS, _TRACK, _VIDEO)
    crops = {
        _CROPS[element.id]: int.from_bytes(head[element.start : element.stop], "big")
        for element in _iter_elements(head, videos[number].start, videos[number].stop)
        if element.id in _CROPS
    }
    return Cropping(**crops)


def _find_elements(head: bytes, *path: int) -> list[_Element]:
    """Return the elements at a path of ids, for example the tracks of the segment."""
    found = [_Element(0, 0, len(head))]
    for id_ in path:
        found = [
            element
            for one in found
            for element in _iter_elements(head, one.start, one.stop)
            if element.id == id_
        ]
    return found


def _iter_elements(head: bytes, start: int, stop: int) -> Iterator[_Element]:
    """Yield the elements between two positions."""
    position = start
    # An id of four bytes and a size of eight are the longest ones.
    while position < min(stop, len(head) - 12):
        # The number of leading zero bits says how many bytes an id or a size has.
        id_length = 9 - head[position].bit_length()
        size_position = position + id_length
        size_length = 9 - head[size_position].bit_length()
        if id_length > 4 or size_length > 8:
            return

        # The bit that marks the length does not belong to the size. All ones: size unknown.
        payload = size_position + size_length
        mask = (1 << (7 * size_length)) - 1
        size = int.from_bytes(head[size_position:payload], "big") & mask
        end = stop if size == mask else min(payload + size, stop)
        yield _Element(int.from_bytes(head[position:size_position], "big"), payload, end)
        position = end
