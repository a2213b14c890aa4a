"""Read the atoms that describe the tracks of an MP4 or MOV file."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# An atom: its size, its name, and a size of 64 bits where the first one is 1.
_HEAD_BYTES = 8
_LONG_HEAD_BYTES = 16


class Atom(NamedTuple):
    """A part of an MP4 file."""

    name: bytes
    payload: bytes


def read_moov(path: Path | str) -> bytes:
    """Return the payload of the atom that describes the tracks; nothing where there is none."""
    with open(path, "rb") as file:
        while True:
            head = file.read(_LONG_HEAD_BYTES)
            if len(head) < _HEAD_BYTES:
                return b""

            size, name = int.from_bytes(head[:4], "big"), head[4:8]
            num_head_bytes = _HEAD_BYTES
            if size == 1:
                size, num_head_bytes = int.from_bytes(head[8:16], "big"), _LONG_HEAD_BYTES

            # Back to the payload: most atoms have a shorter head than what was read.
            file.seek(num_head_bytes - len(head), 1)
            if name == b"moov":
                return file.read(max(size - num_head_bytes, 0) if size else -1)
            # Size 0: the atom goes on to the end of the file.
            if size < num_head_bytes:
                return b""
            file.seek(size - num_head_bytes, 1)


def iter_atoms(data: bytes) -> Iterator[Atom]:
    """Yield the atoms that follow each other in ``data``, up to a damaged one."""
    position = 0
    while position + _HEAD_BYTES <= len(data):
        # Atoms within `moov` are never so large that they have a size of 64 bits.
        size, name = struct.unpack_from(">I4s", data, position)
        if size < _HEAD_BYTES:
            return

        yield Atom(name, data[position + _HEAD_BYTES : position + size])
        position += size


def find_atoms(data: bytes, *names: bytes) -> list[bytes]:
    """Return the payloads of the atoms at a path of names, for example ``trak``, ``tkhd``."""
    found = [data]
    for name in names:
        found = [atom.payload for one in found for atom in iter_atoms(one) if atom.name == name]
    return found
