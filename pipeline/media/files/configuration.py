"""Tell whether the configuration of a decoder changes within a file.

H.264, HEVC, AV1 and AAC need parameters before their first packet. MP4, MOV and FLV keep these
outside of the packets and can change them within the file: an MP4 by several sample descriptions,
an FLV by another header. After a seek behind such a change, a decoder still has the old parameters.
It then gives wrong pictures, often without an error. So such files are read from their beginning.
"""

from pathlib import Path

import av
from av.container import InputContainer

from pipeline.media.files.container import has_index, iter_packets, open_container
from pipeline.media.files.mp4_atoms import find_atoms, read_moov

# These containers have one configuration a stream (Matroska, AVI), or carry it in the packets.
_FIXED_FORMATS = ("matroska", "avi", "mpegts", "mpeg", "asf")


def may_change_configuration(path: Path | str, stream: av.stream.Stream) -> bool:
    """Return whether a stream's decoder may get another configuration outside of its packets.

    Args:
        path: The file. Its packets are read where the container has no list of configurations.
        stream: A stream of the open file.

    Raises:
        av.FFmpegError: The file cannot be read.
    """
    container = stream.container
    assert isinstance(container, InputContainer)

    if has_index(container):
        return _has_several_descriptions(path)
    if container.format.name.startswith(_FIXED_FORMATS):
        return False
    return _has_new_extradata(path, stream)


def _has_several_descriptions(path: Path | str) -> bool:
    """Return whether a track of an MP4 has several sample descriptions, or none was found."""
    lists = find_atoms(read_moov(path), b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    # Version and flags, then the number of descriptions.
    counts = [int.from_bytes(one[4:8], "big") for one in lists]
    return not counts or max(counts) > 1


def _has_new_extradata(path: Path | str, stream: av.stream.Stream) -> bool:
    """Return whether a packet of a stream brings a configuration that is not the first one."""
    first = stream.codec_context.extradata
    with open_container(path) as fresh:
        for packet in iter_packets(fresh, fresh.streams[stream.index]):
            # Some programs repeat the same header before each keyframe.
            has_header = packet.has_sidedata("new_extradata")
            if has_header and bytes(packet.get_sidedata("new_extradata")) != first:
                return True
    return False
