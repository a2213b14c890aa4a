"""Open a media file, and tell whether a stream is damaged or ends before it should.

FFmpeg chooses the demuxer by a file's content, so a suffix does not make a text file a video.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from pipeline.media.files.byte_range import ByteRange
from pipeline.media.files.formats import make_library_options
from pipeline.media.files.truncation import find_recording_end


def open_container(
    path: Path | str,
    *,
    options: dict[str, str] | None = None,
    accelerator: HWAccel | None = None,
) -> InputContainer:
    """Open a media file for reading.

    All decoding uses one thread: Earshot works on many clips at once instead. Of several recordings
    in one Matroska or WebM file only the first is read.

    Args:
        path: The file. A name with a colon (``12:30.mp4``) is not taken for a protocol.
        options: Of FFmpeg's demuxer.
        accelerator: What decodes pictures instead of the CPU.

    Returns:
        The open container. The caller closes it.

    Raises:
        av.FFmpegError: The file cannot be opened as media, or is a text that names other files.
    """
    # FFmpeg takes what is before a colon for a protocol, but not in an absolute path.
    name = str(Path(path).absolute())
    try:
        container = _open(name, make_library_options() | (options or {}), accelerator)
        if _lacks_streams(container):
            # This reads up to 100 MB, so it is not done for every file.
            container.close()
            long_options = make_library_options(is_probe_long=True) | (options or {})
            container = _open(name, long_options, accelerator)
        stop = find_recording_end(container)
        if stop is not None:
            container.close()
            first = ByteRange(name, 0, stop)
            container = _open(first, make_library_options() | (options or {}), accelerator)
    except av.error.FFmpegError as error:
        # What FFmpeg says of formats and protocols that are not in the lists.
        if error.errno != errno.EINVAL:
            raise
        reason = "it is damaged or, like a playlist, a text that names other files"
        raise av.error.InvalidDataError(error.errno, reason, name) from error

    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.thread_count = 1
            # Otherwise FFmpeg cuts the left side off only where that suits its memory.
            stream.codec_context.flags |= Flags.unaligned
    return container


def _open(
    file: str | ByteRange, options: dict[str, str], accelerator: HWAccel | None
) -> InputContainer:
    return av.open(file, "r", metadata_errors="ignore", options=options, hwaccel=accelerator)


def _lacks_streams(container: InputContainer) -> bool:
    """Return whether a stream may begin later than FFmpeg has looked.

    MPEG-TS announces its streams and not what they hold, MPEG-PS does not announce them.
    """
    kinds = {stream.type for stream in container.streams}
    if container.format.name == "mpeg" and not {"video", "audio"} <= kinds:
        return True

    sounds = [stream.codec_context for stream in container.streams.audio]
    pictures = [stream.codec_context for stream in container.streams.video]
    return any(context is not None and context.sample_rate == 0 for context in sounds) or any(
        context is not None and context.width == 0 for context in pictures
    )


def is_probe_long(container: InputContainer) -> bool:
    """Return whether the streams of an open file begin later than FFmpeg usually looks."""
    return "probesize" in container.options


def iter_packets(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Yield the packets of some streams from the container's position on, then an empty one each.

    PyAV does not know streams that appear late in a file, and fails at the end of such a file.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        # All packets of the other streams have been read by then.
        return


def has_index(container: InputContainer) -> bool:
    """Return whether the file is MP4 or MOV, which list all their packets in an index."""
    return container.format.name.startswith("mov")


def seeks_to_packets(container: InputContainer) -> bool:
    """Return whether a seek in this kind of container ends at the beginning of a packet.

    In MPEG-PS it can end within a picture or a piece of sound. FFmpeg then takes the rest for a
    packet, and gives it the time of the next one.
    """
    return container.format.name != "mpeg"


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
    # An index says it for each stream: a file that was cut off can still have all of this stream.
    if not has_index(container):
        return is_cut_off
    if last_dts is None:
        return False

    # The index has decoding times, and its last entry is that of the stream's last packet.
    entries = stream.index_entries
    return len(entries) > 0 and entries[-1].timestamp > last_dts


def find_damaged_packets(container: InputContainer, stream: av.stream.Stream) -> frozenset[int]:
    """Return the positions of a stream's packets that are damaged in an MPEG-TS file.

    Transport packets are numbered, so FFmpeg notices lost ones. But when FFmpeg also splits the
    stream into pictures, it marks the picture before the damaged one. So this function reads the
    packets without that step.

    Args:
        container: An open file. The file is opened again, and all of its packets are read.
        stream: One of its streams.

    Returns:
        Where they begin in the file, in bytes; none where the file is not MPEG-TS.
    """
    if container.format.name != "mpegts":
        return frozenset()

    with open_container(container.name, options={"fflags": "noparse"}) as fresh:
        packets = iter_packets(fresh, fresh.streams[stream.index])
        return frozenset(
            packet.pos for packet in packets if packet.is_corrupt and packet.pos is not None
        )


def has_dropped_frames(container: InputContainer, stream: av.VideoStream) -> bool:
    """Return whether an AVI has frames without data, as capture programs write them.

    FFmpeg counts some of these frames twice after a seek.

    Args:
        container: An open file. The result is False for any other format than AVI.
        stream: Its video stream.
    """
    if container.format.name != "avi":
        return False

    entries = stream.index_entries
    # It counts frames, so it ends later than it has entries where some have no data.
    return len(entries) > 0 and entries[-1].timestamp >= len(entries)
