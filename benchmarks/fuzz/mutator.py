"""Damage the bytes of media files in the ways of disks, networks and people."""

import random
from collections.abc import Callable, Sequence

_HEADER_BYTES = 1024
# Sizes, counts and times that are wrong by much.
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bits(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Flip a few bits anywhere, as a bad disk does."""
    for _ in range(rng.choice((1, 4, 32, 256))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header_bits(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Flip a few bits in the first kilobyte, or in the last: some headers stand there."""
    num_bytes = min(_HEADER_BYTES, len(data))
    first = rng.choice((0, len(data) - num_bytes))
    for _ in range(rng.choice((1, 2, 8))):
        data[first + rng.randrange(num_bytes)] ^= 1 << rng.randrange(8)


def rewrite_numbers(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Set numbers of headers to extreme values."""
    num_bytes = min(_HEADER_BYTES, len(data) - 4)
    first = rng.choice((0, len(data) - 4 - num_bytes))
    for _ in range(rng.choice((1, 2, 6))):
        place, size = first + rng.randrange(num_bytes), rng.choice((1, 2, 4))
        value = rng.choice(_EXTREMES) % (1 << 8 * size)
        data[place : place + size] = value.to_bytes(size, rng.choice(("big", "little")))


def rewrite_names(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Exchange four-letter names, of boxes or codecs, for others of the file."""
    names = [i for i in range(len(data) - 4) if data[i : i + 4].isalpha()]
    for _ in range(rng.choice((1, 3)) if len(names) > 1 else 0):
        here, there = rng.choice(names), rng.choice(names)
        data[here : here + 4] = data[there : there + 4]


def truncate(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Cut the end off."""
    del data[rng.randrange(1, len(data)) :]


def cut_hole(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Take a piece out, as a lost packet does."""
    first = rng.randrange(len(data))
    del data[first : first + rng.choice((1, 16, 188, 4096))]


def zero_block(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Write zeros over a piece, as a download that was preallocated has them."""
    first = rng.randrange(len(data))
    size = min(rng.choice((16, 512, 4096, len(data) // 2)), len(data) - first)
    data[first : first + size] = bytes(size)


def repeat_block(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Insert a piece of the file once more."""
    first, place = rng.randrange(len(data)), rng.randrange(len(data))
    data[place:place] = data[first : first + rng.choice((16, 188, 2048))]


def splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Go on with another file."""
    data[rng.randrange(1, len(data)) :] = other[rng.randrange(len(other)) :]


def paste(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Write a piece of another file over one of this."""
    first, size = rng.randrange(len(other)), rng.choice((64, 512, 4096))
    piece = other[first : first + size]
    place = rng.randrange(max(1, len(data) - len(piece)))
    data[place : place + len(piece)] = piece


MUTATIONS: tuple[Callable[[bytearray, bytes, random.Random], None], ...] = (
    flip_bits,
    flip_header_bits,
    rewrite_numbers,
    rewrite_names,
    truncate,
    cut_hole,
    zero_block,
    repeat_block,
    splice,
    paste,
)


def mutate(files: Sequence[bytes], rng: random.Random) -> tuple[int, str, bytes]:
    """Damage one of some files, in one way or two.

    Returns:
        The position of the file, the names of the ways, and the new bytes, at least one.
    """
    index = rng.randrange(len(files))
    data = bytearray(files[index])
    ways = rng.sample(MUTATIONS, rng.choice((1, 1, 2)))
    for way in ways:
        if len(data) > 8:
            way(data, rng.choice(files), rng)
    return index, "+".join(way.__name__ for way in ways), bytes(data) or b"\0"
