"""Join the recordings of an AVI file that holds several of them, for example one made by `cat`.

Each recording is a whole AVI file with its own header and index. FFmpeg reads only the first
header. It takes the duration from there, and can seek only in the first recording. So this module
opens each recording as a range of bytes.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer, OutputContainer

from earshot.errors import MediaError
from pipeline.media.files.byte_range import ByteRange
from pipeline.media.files.container import iter_packets, open_container
from pipeline.media.files.formats import make_library_options
from pipeline.media.files.media_file import Opening
from pipeline.media.files.timeline import choose_stream, choose_streams
from pipeline.media.pictures.timestamps import ShownTimes, is_reordered_avi

# The size of a chunk counts its bytes behind the first eight; chunks begin at even positions.
_CHUNK_HEAD_BYTES = 8
_LIST_HEAD_BYTES = 12
# Matroska can hold it, but only by a name that few programs know.
_UNHELD_CODECS = ("rawvideo",)
# By which the end of a stream in the joined file may differ from what was written.
_END_TOLERANCE_SECONDS = 0.1


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
    with av.open(io.BytesIO(), "w", format="matroska") as output:
        held = output.supported_codecs - set(_UNHELD_CODECS)

    # A packet can change the palette, in a way that only AVI can store.
    has_palette = any(getattr(context, "pix_fmt", None) == "pal8" for context in contexts)
    is_held = all(context.codec.canonical_name in held for context in contexts)
    return ".mkv" if is_held and not has_palette else ".avi"


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
) -> dict[str, float]:
    """Copy the packets of all recordings, each recording behind the one before.

    Args:
        path: The file with the recordings.
        parts: Where they lie.
        durations_seconds: Of each of them.
        output: Where the packets go; without streams yet.

    Returns:
        When the last packet ends, in seconds, by the type of the stream.

    Raises:
        MediaError: ``corrupt`` when the recordings are of different kinds.
        av.FFmpegError: The file cannot be read, or the packets cannot be written.
    """
    kind = ""
    copies: dict[str, av.stream.Stream] = {}
    ends: dict[str, float] = {}
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

            times = _find_shown_times(path, part)
            for packet, dts in _iter_packets(container):
                kind_of_stream = packet.stream.type
                if times is not None and kind_of_stream == "video":
                    if not times.set_times(packet):
                        continue
                    dts = packet.dts or 0

                # Streams have ticks of different lengths, so the shift is counted in those of the
                # packet.
                shift = round(begin_seconds / packet.time_base)
                packet.pts = (dts if packet.pts is None else packet.pts) + shift
                packet.dts = dts + shift
                end_seconds = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[kind_of_stream] = max(ends.get(kind_of_stream, 0.0), end_seconds)
                packet.stream = copies[kind_of_stream]
                output.mux(packet)
        begin_seconds += duration_seconds
    return ends


def require_ends(path: Path | str, ends: dict[str, float]) -> None:
    """Check that a joined file has all packets, at their times: some codecs do not fit into AVI.

    Args:
        path: The joined file.
        ends: What ``copy_avi_parts`` returned.

    Raises:
        ValueError: A stream ends elsewhere.
    """
    found: dict[str, float] = {}
    with open_container(path) as container:
        for packet, dts in _iter_packets(container):
            shown = dts if packet.pts is None else packet.pts
            end = float((shown + (packet.duration or 0)) * packet.time_base)
            found[packet.stream.type] = max(found.get(packet.stream.type, 0.0), end)

    for kind, end in ends.items():
        if abs(found.get(kind, 0.0) - end) > _END_TOLERANCE_SECONDS:
            raise ValueError(f"no container holds its {kind} with its times")


def _find_shown_times(path: Path | str, part: AviPart) -> ShownTimes | None:
    """Return when the pictures of a recording are shown, if the file does not say it."""
    with _open_part(path, part) as container:
        video = choose_stream(container, "video")
        if video is None or not is_reordered_avi(Opening(container, video, None)):
            return None
        return ShownTimes.from_frames(container.decode(video))


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
