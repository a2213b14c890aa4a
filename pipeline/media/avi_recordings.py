"""Join the recordings of an AVI file that holds several of them, for example one made by `cat`.

Each recording is a whole AVI file with its own header and index. FFmpeg reads only the first
header. It takes the duration from there, and can seek only in the first recording. So this module
opens each recording as a range of bytes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer, OutputContainer

from earshot.errors import MediaError
from pipeline.media.files.byte_range import ByteRange
from pipeline.media.files.container import iter_packets
from pipeline.media.files.formats import make_library_options
from pipeline.media.files.timeline import choose_streams

# The size of a chunk counts its bytes behind the first eight; chunks begin at even positions.
_CHUNK_HEAD_BYTES = 8
_LIST_HEAD_BYTES = 12
# Matroska keeps the time of each packet, AVI only their number. For these codecs, AVI does not say
# when a picture is shown (see `is_reordered_avi`).
_UNTIMED_CODECS = ("h264", "hevc")


class AviPart(NamedTuple):
    """Where a recording lies in a file: the half-open range of bytes [start, stop)."""

    start: int
    stop: int


def find_avi_parts(path: Path | str) -> list[AviPart]:
    """Return where the recordings of an AVI file lie; a usual file has one.

    A recording of more than a gigabyte consists of several lists: one ``AVI`` and some ``AVIX``.
    """
    parts: list[AviPart] = []
    num_bytes = os.path.getsize(path)
    with open(path, "rb") as file:
        position = 0
        while position < num_bytes:
            file.seek(position)
            head = file.read(_LIST_HEAD_BYTES)
            # What lies behind the last list is padding or junk.
            if head[:4] != b"RIFF":
                break

            size = int.from_bytes(head[4:8], "little")
            # The size of a damaged or unfinished list can reach beyond the file.
            stop = min(position + _CHUNK_HEAD_BYTES + size + size % 2, num_bytes)
            if head[8:] == b"AVI ":
                parts.append(AviPart(position, stop))
            elif parts:
                parts[-1] = AviPart(parts[-1].start, stop)
            position = stop
    return parts


def find_avi_suffix(path: Path | str, part: AviPart) -> str:
    """Return the suffix of a container that keeps all packets of a recording, and their times."""
    with _open_part(path, part) as container:
        contexts = [stream.codec_context for stream in choose_streams(container)]
        is_untimed = any(context.name in _UNTIMED_CODECS for context in contexts)
        # A packet can change the palette, in a way that only AVI can store.
        has_palette = any(getattr(context, "pix_fmt", None) == "pal8" for context in contexts)
        return ".avi" if is_untimed or has_palette else ".mkv"


def measure_avi_part(path: Path | str, part: AviPart) -> float:
    """Return how many seconds a recording lasts, by all of its packets."""
    stop_seconds = 0.0
    with _open_part(path, part) as container:
        for packet, dts in _iter_packets(container):
            # A recording ends where its last picture or sound ends, not with the packet stored
            # last.
            end = (dts + (packet.duration or 0)) * packet.time_base
            stop_seconds = max(stop_seconds, float(end))
    return stop_seconds


def copy_avi_parts(
    path: Path | str,
    parts: tuple[AviPart, ...],
    durations_seconds: tuple[float, ...],
    output: OutputContainer,
) -> None:
    """Copy the packets of all recordings, each recording behind the one before.

    Args:
        path: The file with the recordings.
        parts: Where they lie.
        durations_seconds: Of each of them.
        output: Where the packets go; without streams yet.

    Raises:
        MediaError: ``corrupt`` when the recordings are of different kinds.
        av.FFmpegError: The file cannot be read, or the packets cannot be written.
    """
    kind = ""
    copies: dict[str, av.stream.Stream] = {}
    begin_seconds = 0.0
    for part, duration_seconds in zip(parts, durations_seconds, strict=True):
        with _open_part(path, part) as container:
            streams = choose_streams(container)
            if not copies:
                kind = _describe(container)
                copies = {one.type: output.add_stream_from_template(one) for one in streams}
            elif _describe(container) != kind:
                raise MediaError(
                    "corrupt",
                    f"{path}: contains {len(parts)} concatenated recordings of different kinds "
                    f"({kind}; {_describe(container)}), which cannot be joined",
                )

            for packet, dts in _iter_packets(container):
                # Streams have ticks of different lengths, so the shift is counted in those of the
                # packet.
                shift = round(begin_seconds / packet.time_base)
                packet.pts = (dts if packet.pts is None else packet.pts) + shift
                packet.dts = dts + shift
                packet.stream = copies[packet.stream.type]
                output.mux(packet)
        begin_seconds += duration_seconds


def _describe(container: InputContainer) -> str:
    """Return what all recordings of a file must have in common, as text for messages."""
    texts = []
    for stream in choose_streams(container):
        context = stream.codec_context
        if isinstance(context, av.VideoCodecContext):
            texts.append(f"{context.name} {context.width}x{context.height} {context.pix_fmt}")
        else:
            texts.append(f"{context.name} {context.sample_rate} Hz {context.channels} channels")

    return ", ".join(texts)


def _iter_packets(container: InputContainer) -> Iterator[tuple[av.Packet, int]]:
    """Yield the packets that have data and a decoding time, with that time."""
    for packet in iter_packets(container, *choose_streams(container)):
        if packet.size and packet.dts is not None:
            yield packet, packet.dts


@contextmanager
def _open_part(path: Path | str, part: AviPart) -> Iterator[InputContainer]:
    with ByteRange(path, part.start, part.stop) as file:
        with av.open(
            file,
            mode="r",
            format="avi",
            metadata_errors="ignore",
            options=make_library_options(),
        ) as container:
            yield container
