"""Write FLV and MP4 files whose decoder is configured anew on the way, outside of the packets."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

_FLV_HEAD_BYTES = 13
_FLV_TAG_HEAD_BYTES = 11
_FLV_SCRIPT = 18  # the tag of metadata
_CONTAINER_ATOMS = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")


def write_flv_with_two_headers(path: Path, first: Path, second: Path, *, begin_ms: int) -> Path:
    """Write an FLV that has the header and the packets of another one behind its own.

    Args:
        path: Where it is written.
        first: An FLV.
        second: An FLV with the same streams.
        begin_ms: When the second one begins, in milliseconds.
    """
    data = first.read_bytes()
    for tag in _iter_flv_tags(second.read_bytes()):
        if tag[0] != _FLV_SCRIPT:
            time_ms = int.from_bytes(tag[7:8] + tag[4:7], "big") + begin_ms
            data += tag[:4] + (time_ms & 0xFFFFFF).to_bytes(3, "big") + tag[7:]
    path.write_bytes(data)
    return path


def _iter_flv_tags(data: bytes) -> Iterator[bytes]:
    """Yield the tags of an FLV, each with the length that follows it."""
    position = _FLV_HEAD_BYTES
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        stop = position + _FLV_TAG_HEAD_BYTES + size + 4
        yield data[position:stop]
        position = stop


def write_mp4_with_two_descriptions(path: Path, first: Path, second: Path) -> Path:
    """Write the stream of two MP4 clips into one MP4 with the sample description of each.

    Args:
        path: Where it is written.
        first: An MP4 with one stream.
        second: One of the same kind.
    """
    num_first = _write_packets(path, first, second)
    data = path.read_bytes()
    moov = data.index(b"moov") - 4
    assert moov > data.index(b"mdat"), "the samples would move"

    # FFmpeg writes the samples as one chunk. Here each clip gets a chunk with its description.
    (num_samples,) = struct.unpack_from(">I", data, data.index(b"stsz") + 12)
    sizes = struct.unpack_from(f">{num_samples}I", data, data.index(b"stsz") + 16)
    (chunk,) = struct.unpack_from(">I", data, data.index(b"stco") + 12)
    payloads = {
        b"stsd": struct.pack(">II", 0, 2) + read_description(first) + read_description(second),
        b"stsc": struct.pack(">8I", 0, 2, 1, num_first, 1, 2, num_samples - num_first, 2),
        b"stco": struct.pack(">4I", 0, 2, chunk, chunk + sum(sizes[:num_first])),
    }
    path.write_bytes(data[:moov] + replace_atoms(data[moov:], payloads))
    return path


def _write_packets(path: Path, first: Path, second: Path) -> int:
    """Copy the packets of two clips, one after the other; return how many the first one has."""
    counts, begin_seconds = [], Fraction(0)
    with av.open(str(path), "w") as output:
        copy = None
        for source in (first, second):
            with av.open(str(source)) as container:
                stream = container.streams[0]
                copy = copy or output.add_stream_from_template(stream)
                packets = [packet for packet in container.demux(stream) if packet.size]
                # Sound begins before zero, with what primes the decoder.
                begin = round(begin_seconds / stream.time_base) - min(packets[0].dts, 0)
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + begin, packet.dts + begin
                    packet.stream = copy
                # Written packets lose their times.
                counts.append(len(packets))
                begin_seconds = max(
                    (packet.pts + packet.duration) * packet.time_base for packet in packets
                )
                for packet in packets:
                    output.mux(packet)
    return counts[0]


def read_description(path: Path) -> bytes:
    data = path.read_bytes()
    position = data.index(b"stsd") + 12
    (size,) = struct.unpack_from(">I", data, position)
    return data[position : position + size]


def replace_atoms(data: bytes, payloads: dict[bytes, bytes]) -> bytes:
    """Return MP4 atoms in which some have another payload."""
    result, position = b"", 0
    while position < len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        payload = payloads.get(name, data[position + 8 : position + size])
        if name in _CONTAINER_ATOMS:
            payload = replace_atoms(payload, payloads)
        result += struct.pack(">I4s", len(payload) + 8, name) + payload
        position += size
    return result
