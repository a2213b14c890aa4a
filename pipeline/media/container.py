"""Open a media file, and tell whether it is cut off or damaged.

FFmpeg chooses the demuxer by a file's content, so a suffix does not make a text file a video.
"""

import errno
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from pipeline.media.formats import make_library_options

_EBML_ID = bytes.fromhex("1a45dfa3")  # how a Matroska file begins
_MATROSKA_SEGMENT_ID = bytes.fromhex("18538067")
_HEAD_BYTES = 4096


def open_container(path: Path | str, *, options: dict[str, str] | None = None) -> InputContainer:
    """Open a media file for reading.

    All decoding uses one thread: Earshot works on many clips at once instead.

    Args:
        path: The file. A name with a colon (``12:30.mp4``) is not taken for a protocol.
        options: Of FFmpeg's demuxer.

    Returns:
        The open container. The caller closes it.

    Raises:
        av.FFmpegError: The file cannot be opened as media, or is a text that names other files.
    """
    # FFmpeg takes what is before a colon for a protocol, but not in an absolute path.
    name = str(Path(path).absolute())
    try:
        container = av.open(
            name, metadata_errors="ignore", options=make_library_options() | (options or {})
        )
    except av.error.FFmpegError as error:
        # What FFmpeg says of formats and protocols that are not in the lists.
        if error.errno != errno.EINVAL:
            raise
        reason = "it is damaged or, like a playlist, a text that names other files"
        raise av.error.InvalidDataError(error.errno, reason, name) from error

    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.thread_count = 1
    return container


def has_index(container: InputContainer) -> bool:
    """Return whether the file is MP4 or MOV, which list all their packets in an index."""
    return container.format.name.startswith("mov")


def is_cut_off(container: InputContainer) -> bool:
    """Return whether a Matroska or WebM file is shorter than its header says."""
    if not container.format.name.startswith("matroska"):
        return False

    path = Path(container.name)
    with open(path, "rb") as file:
        stop = find_matroska_end(file.read(_HEAD_BYTES))
    return stop is not None and path.stat().st_size < stop


def has_more_recordings(container: InputContainer) -> bool:
    """Return whether a Matroska or WebM file goes on with another one, which FFmpeg does not join.

    `find_recordings` joins those of the formats of which FFmpeg reads all recordings.
    """
    if not container.format.name.startswith("matroska"):
        return False

    with open(container.name, "rb") as file:
        stop = find_matroska_end(file.read(_HEAD_BYTES))
        if stop is None:
            return False
        file.seek(stop)
        return file.read(len(_EBML_ID)) == _EBML_ID


def has_lost_its_end(
    container: InputContainer, stream: av.VideoStream, last_dts: int | None, *, is_cut_off: bool
) -> bool:
    """Return whether a stream that ended should have gone on.

    Args:
        container: The file.
        stream: Its video.
        last_dts: The decoding time of the last packet that was read.
        is_cut_off: Whether the file is known to be shorter than it says.
    """
    if is_cut_off:
        return True
    if last_dts is None or not has_index(container):
        return False
    entries = stream.index_entries
    return len(entries) > 0 and entries[-1].timestamp > last_dts


def find_damaged_packets(container: InputContainer, stream: av.stream.Stream) -> frozenset[int]:
    """Return the positions of a stream's packets that are damaged in an MPEG-TS file.

    Transport packets are numbered, so FFmpeg notices lost ones. Where it also cuts the stream into
    pictures, it marks the picture ahead of the damaged one, and nothing for the first one. So the
    packets are read as they are.

    Args:
        container: An open file. It is opened anew; all of its packets are read.
        stream: One of its streams.

    Returns:
        Where they begin in the file, in bytes; none where the file is not MPEG-TS.
    """
    if container.format.name != "mpegts":
        return frozenset()

    with open_container(container.name, options={"fflags": "noparse"}) as fresh:
        packets = fresh.demux(fresh.streams[stream.index])
        return frozenset(
            packet.pos for packet in packets if packet.is_corrupt and packet.pos is not None
        )


def has_dropped_frames(container: InputContainer, stream: av.VideoStream) -> bool:
    """Return whether an AVI has frames without data, as captures do.

    FFmpeg counts some of them twice after it has sought.
    """
    if container.format.name != "avi":
        return False
    entries = stream.index_entries
    return len(entries) > 0 and entries[-1].timestamp >= len(entries)


def find_matroska_end(head: bytes) -> int | None:
    """Find where a Matroska file says that its segment ends.

    Args:
        head: The first bytes of the file. Elements are an id and a size, both of variable
            length, then the payload.

    Returns:
        The offset in bytes, or None where the file does not say (live recordings).
    """
    position = 0
    while position + 12 <= len(head):
        # The number of leading zero bits says how many bytes an id or a size has.
        id_length = 9 - head[position].bit_length()
        size_position = position + id_length
        size_length = 9 - head[size_position].bit_length()
        payload_position = size_position + size_length
        if id_length > 4 or size_length > 8 or payload_position > len(head):
            return None

        # The bit that marks the length does not belong to the size. All ones: size unknown.
        mask = (1 << (7 * size_length)) - 1
        size = int.from_bytes(head[size_position:payload_position], "big") & mask
        if head[position:size_position] == _MATROSKA_SEGMENT_ID:
            return None if size == mask else payload_position + size

        position = payload_position + size
    return None
