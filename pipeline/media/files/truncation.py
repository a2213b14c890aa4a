"""Tell whether a media file is cut off: shorter than it says itself.

Most containers say how long their parts are. If a file was cut off, its last part reaches beyond
the end of the file. Only the heads of the parts are read. MPEG-TS, MPEG-PS and raw streams do not
say how long they are: such a file that was cut off is a shorter recording.
"""

import functools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from av.container import InputContainer

_EBML_HEAD = bytes.fromhex("1A45DFA3")  # how a Matroska file begins
_EBML_SEGMENT, _EBML_CLUSTER = bytes.fromhex("18538067"), bytes.fromhex("1F43B675")
_FLV_TAG_KINDS = (8, 9, 18)  # sound, picture, data
_FLV_TAG_BYTES = 11  # of a tag's head; four bytes with its length follow each tag
_ASF_DATA = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")
_OGG_MAGIC = b"OggS"


def is_cut_off(container: InputContainer) -> bool:
    """Return whether a file is shorter than its container says.

    Args:
        container: The open file.
    """
    name = container.format.name
    check = next((check for start, check in _CHECKS.items() if name.startswith(start)), None)
    if check is None:
        return False

    path = Path(container.name)
    facts = path.stat()
    return _check(check, path, facts.st_size, facts.st_mtime_ns)


def has_cut_off_packets(container: InputContainer) -> bool:
    """Return whether the index of an MP4 or MOV file lists packets beyond the end of the file."""
    if not container.format.name.startswith("mov"):
        return False

    num_bytes = Path(container.name).stat().st_size
    return any(
        entry.pos + entry.size > num_bytes
        for stream in container.streams
        if stream.type in ("video", "audio")
        for entry in stream.index_entries
    )


def find_recording_end(container: InputContainer) -> int | None:
    """Return where the first recording of a Matroska or WebM file ends, if another one follows.

    FFmpeg reads the packets of both and mixes their times. `find_recordings` joins those of other
    formats.

    Args:
        container: The open file, or its first recording.

    Returns:
        The byte behind it; None where nothing follows.
    """
    if not container.format.name.startswith("matroska"):
        return None

    path = Path(container.name)
    facts = path.stat()
    return _find_second_recording(path, facts.st_size, facts.st_mtime_ns)


def has_more_recordings(container: InputContainer) -> bool:
    """Return whether a file goes on with another recording of which FFmpeg shows nothing.

    `cat` makes such files. Of Matroska, MP4 and FLV only the first recording counts.

    Args:
        container: The open file, or its first recording.
    """
    path, name = Path(container.name), container.format.name
    with open(path, "rb") as file:
        if name.startswith("mov"):
            return _has_second_movie(file, path.stat().st_size)
        if name.startswith("flv"):
            return _read_at(file, _find_flv_end(file, path.stat().st_size), 3) == b"FLV"
    return find_recording_end(container) is not None


# A file is opened several times while it is read, but its structure is checked once.
@functools.lru_cache(maxsize=64)
def _check(
    check: Callable[[BinaryIO, int], bool], path: Path, num_bytes: int, _mtime_ns: int
) -> bool:
    # Its size and date are part of the call, so a file that has changed is checked again.
    with open(path, "rb") as file:
        return check(file, num_bytes)


def _is_mp4_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """Media data (`mdat`, or a fragment's `moof`) reaches beyond the end."""
    atoms = _iter_atoms(file, num_bytes)
    return any(atom.stop > num_bytes and atom.name in (b"mdat", b"moof") for atom in atoms)


def _has_second_movie(file: BinaryIO, num_bytes: int) -> bool:
    """A second file type follows, and not as a part of a fragmented file."""
    names = [atom.name for atom in _iter_atoms(file, num_bytes)]
    return names.count(b"ftyp") > 1 and names.count(b"moov") > 1 and b"moof" not in names


class _FileAtom(NamedTuple):
    name: bytes
    stop: int  # where the next one begins


def _iter_atoms(file: BinaryIO, num_bytes: int) -> Iterator[_FileAtom]:
    """Yield the atoms of a file up to a damaged one, or one that reaches to or beyond the end."""
    # A file is a row of atoms, each with its size and its name.
    position = 0
    while position + 8 <= num_bytes:
        size, kind = struct.unpack(">I4s", _read_at(file, position, 8))
        if size == 1:  # the size follows as eight bytes
            size = int.from_bytes(_read_at(file, position + 8, 8), "big")
        if size < 8:  # 0: up to the end of the file; others are damage
            return

        position += size
        yield _FileAtom(kind, position)


def _is_matroska_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """The segment (or the last part of a live recording without sizes) reaches beyond the end."""
    # A segment with a size holds all clusters, so only its own end counts.
    for element_id, _, payload_position, size in _iter_ebml(file, num_bytes):
        if element_id == _EBML_SEGMENT and size is not None:
            return payload_position + size > num_bytes
        if size is not None and payload_position + size > num_bytes:
            return True
    return False


@functools.lru_cache(maxsize=64)
def _find_second_recording(path: Path, num_bytes: int, _mtime_ns: int) -> int | None:
    """Return where a Matroska file begins anew; None where it does not."""
    with open(path, "rb") as file:
        for element in _iter_ebml(file, num_bytes):
            if element.id == _EBML_HEAD and element.position > 0:
                return element.position
    return None


class _Element(NamedTuple):
    """A part of a Matroska file."""

    id: bytes
    position: int  # of its first byte
    payload_position: int
    size: int | None  # of its payload; segments and clusters may have none


def _iter_ebml(file: BinaryIO, num_bytes: int) -> Iterator[_Element]:
    """Yield the elements that follow each other; also those within one without a size."""
    position = 0
    while position < num_bytes:
        head = _read_at(file, position, 12)
        # The number of leading zero bits says how many bytes an id or a size has.
        id_length = 9 - head[0].bit_length()
        if id_length > 4 or len(head) <= id_length:
            return
        size_length = 9 - head[id_length].bit_length()
        if size_length > 8 or len(head) < id_length + size_length:
            return

        # The bit that marks the length does not belong to the size. All ones: size unknown.
        element_id = head[:id_length]
        mask = (1 << (7 * size_length)) - 1
        size = int.from_bytes(head[id_length : id_length + size_length], "big") & mask
        payload_position = position + id_length + size_length
        if size == mask:
            if element_id not in (_EBML_SEGMENT, _EBML_CLUSTER):
                return
            yield _Element(element_id, position, payload_position, None)
            position = payload_position
        else:
            yield _Element(element_id, position, payload_position, size)
            position = payload_position + size


def _is_avi_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """The list of the packets (`movi`) of a RIFF reaches beyond the end."""
    position = 0
    while position + 12 <= num_bytes:
        kind, size, form = struct.unpack("<4sI4s", _read_at(file, position, 12))
        # A program that crashes leaves the size 0, which says nothing.
        if kind == b"LIST" and form == b"movi" and size and position + 8 + size > num_bytes:
            return True
        # Look into RIFF, and step over everything else, which begins at an even byte.
        position += 12 if kind == b"RIFF" else 8 + size + size % 2
    return False


def _is_flv_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """The last tag reaches beyond the end."""
    return _find_flv_end(file, num_bytes) > num_bytes


def _find_flv_end(file: BinaryIO, num_bytes: int) -> int:
    """Return where the tags end: where something else begins, or beyond the end of the file."""
    # The header says how long it is. Before the first tag lie four bytes for the tag before it.
    position = int.from_bytes(_read_at(file, 5, 4), "big") + 4
    while position < num_bytes:
        head = _read_at(file, position, 4)
        if head[0] & 0x1F not in _FLV_TAG_KINDS:
            return position  # damage, or something that was appended
        if len(head) < 4:
            return num_bytes + 1

        position += _FLV_TAG_BYTES + int.from_bytes(head[1:4], "big")
        if position > num_bytes:
            return position
        # The tag's length follows once more, for reading backwards.
        position += 4
    return min(position, num_bytes)


def _is_asf_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """The data object reaches beyond the end."""
    position = 0
    # Each object begins with an id of 16 bytes and its size, which counts these 24 bytes.
    while position + 24 <= num_bytes:
        head = _read_at(file, position, 24)
        size = int.from_bytes(head[16:], "little")
        if size < 24:
            return False  # a live recording, or damage

        if head[:16] == _ASF_DATA:
            return position + size > num_bytes
        position += size
    return False


def _is_ogg_cut_off(file: BinaryIO, num_bytes: int) -> bool:
    """The last page reaches beyond the end."""
    position = 0
    while position < num_bytes:
        # A head of 27 bytes, then the sizes of the page's segments: up to 255 of them, a byte each.
        head = _read_at(file, position, 27 + 255)
        if not head.startswith(_OGG_MAGIC[: len(head)]):
            return False  # damage, or something that was appended
        if len(head) < 27 or len(head) < 27 + head[26]:
            return True

        num_segments = head[26]
        position += 27 + num_segments + sum(head[27 : 27 + num_segments])
    return position > num_bytes


def _read_at(file: BinaryIO, position: int, num_bytes: int) -> bytes:
    file.seek(position, os.SEEK_SET)
    return file.read(num_bytes)


# By the beginning of FFmpeg's name of the format.
_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov": _is_mp4_cut_off,
    "matroska": _is_matroska_cut_off,
    "avi": _is_avi_cut_off,
    "flv": _is_flv_cut_off,
    "asf": _is_asf_cut_off,
    "ogg": _is_ogg_cut_off,
}
