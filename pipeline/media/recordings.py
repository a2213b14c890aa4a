"""Repair files that hold several recordings one after the other.

Cameras, recorders and `cat` make such files. In MPEG-TS and MPEG-PS (MPG, VOB) the clock jumps
where one recording ends and the next begins. So one time means two moments. FFmpeg takes the
duration of the last recording for that of the file, or 26 hours if the clock seems to have wrapped
around. In AVI, FFmpeg sees only the first recording (`avi_recordings.py`).

`find_recordings` finds the recordings, and `write_joined` writes them into one file with one clock.
Packets are copied; nothing is encoded.
"""

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import av
import av.error
from av.container import InputContainer, OutputContainer

from earshot.errors import MediaError
from earshot.files import publish
from pipeline.media.avi_recordings import (
    AviPart,
    copy_avi_parts,
    find_avi_parts,
    find_avi_suffix,
    measure_avi_part,
    require_ends,
)
from pipeline.media.files.container import iter_packets, open_container
from pipeline.media.files.timeline import choose_streams

# Larger steps are another clock, not jitter or a pause. The ffmpeg program uses the same limits.
_BACKWARD_SECONDS = 0.1
_FORWARD_SECONDS = 10.0
# Their streams share one clock, and every packet has a time of it.
_CLOCKED_FORMATS = ("mpegts", "mpeg")
_TICKS_PER_SECOND = 90_000  # of every stream of these formats
_TICKS_PER_DAY = 24 * 3600 * _TICKS_PER_SECOND
_FORMATS = {".ts": "mpegts", ".vob": "vob", ".avi": "avi", ".mkv": "matroska"}
# Samples that MPEG-TS cannot hold.
_VOB_CODECS = ("pcm_dvd",)
# Damage within the last second of a recording is normal: its end.
_END_TICKS = _TICKS_PER_SECOND


@dataclass
class Run:
    """Packets of one stream between two jumps of its clock.

    Positions are bytes in the file, times are ticks of the clock.
    """

    first_position: int
    last_position: int
    start: int
    stop: int
    damaged_at: int | None = None

    @property
    def is_damaged_within(self) -> bool:
        """Whether a packet is damaged elsewhere than in the last second.

        At the end damage is normal: the next recording begins in the middle of a packet.
        """
        return self.damaged_at is not None and self.stop - self.damaged_at > _END_TICKS

    def add(self, packet: av.Packet, dts: int) -> None:
        """Extend the run by its next packet."""
        shown = dts if packet.pts is None else packet.pts
        self.last_position = max(self.last_position, packet.pos or 0)
        # A B picture is stored after a picture that is shown later, so no packet is known as the
        # last.
        self.stop = max(self.stop, shown + (packet.duration or 0))
        if packet.is_corrupt and self.damaged_at is None:
            self.damaged_at = dts


@dataclass(frozen=True)
class JoinedRecordings:
    """The recordings that a file consists of."""

    durations_seconds: tuple[float, ...]  # of each recording
    suffix: str  # of the file that they are joined in
    # By a stream's index: how many ticks each of its runs moves, so that recordings follow each
    # other.
    shifts: dict[int, list[int]] = field(default_factory=dict)
    avi_parts: tuple[AviPart, ...] = ()  # of AVI: where the recordings lie


def may_have_recordings(format_name: str) -> bool:
    """Return whether FFmpeg reads all recordings of files of a format, by its name of it."""
    return format_name == "avi" or format_name in _CLOCKED_FORMATS


def find_recordings(path: Path | str) -> JoinedRecordings | None:
    """Find the recordings of a file that holds several.

    Reads all packets of MPEG-TS and MPEG-PS, and decodes nothing.

    Args:
        path: Any media file.

    Returns:
        None for every file that holds one recording.

    Raises:
        MediaError: ``corrupt`` when a file of several recordings is damaged within one of them. In
            the joined copy the damage could no longer be seen.
        av.FFmpegError: The file cannot be read.
    """
    with open_container(path) as container:
        if container.format.name == "avi":
            return _find_avi_recordings(path)
        if not may_have_recordings(container.format.name):
            return None

        runs = _find_runs(container)
        codecs = {stream.codec_context.name for stream in choose_streams(container)}
        suffix = ".vob" if codecs.intersection(_VOB_CODECS) else ".ts"
    # A clock that never jumps is one recording, the usual case.
    if all(len(known) == 1 for known in runs.values()):
        return None

    recordings = _join_runs(runs, suffix)
    if any(run.is_damaged_within for known in runs.values() for run in known):
        num_recordings = len(recordings.durations_seconds)
        raise MediaError(
            "corrupt",
            f"{path}: contains {num_recordings} concatenated recordings and is also damaged",
        )
    return recordings


def _find_avi_recordings(path: Path | str) -> JoinedRecordings | None:
    parts = find_avi_parts(path)
    if len(parts) < 2:
        return None

    # Their headers cannot be trusted: a recorder that crashes does not write the duration.
    durations_seconds = tuple(measure_avi_part(path, part) for part in parts)
    return JoinedRecordings(
        durations_seconds, find_avi_suffix(path, parts[0]), avi_parts=tuple(parts)
    )


def write_joined(path: Path | str, target_path: Path, recordings: JoinedRecordings) -> None:
    """Publish a file in which the recordings of another one follow each other.

    Args:
        path: The file with several recordings.
        target_path: Where the joined file is published; with the suffix ``recordings.suffix``.
        recordings: What ``find_recordings`` found in ``path``.

    Raises:
        MediaError: ``corrupt``.
    """
    num_recordings = len(recordings.durations_seconds)
    container_format = _FORMATS[recordings.suffix]

    try:
        with publish(target_path) as temporary_path:
            ends = {}
            with av.open(os.fspath(temporary_path), "w", format=container_format) as output:
                if recordings.avi_parts:
                    durations_seconds = recordings.durations_seconds
                    ends = copy_avi_parts(path, recordings.avi_parts, durations_seconds, output)
                else:
                    _copy_runs(path, recordings, output)
            require_ends(temporary_path, ends)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            "corrupt",
            f"{path}: contains {num_recordings} concatenated recordings that cannot be joined: "
            f"{error}",
        ) from None


def _copy_runs(path: Path | str, recordings: JoinedRecordings, output: OutputContainer) -> None:
    """Copy the packets of a file whose clock jumps."""
    with open_container(path) as source:
        streams = {
            stream.index: output.add_stream_from_template(stream)
            for stream in choose_streams(source)
        }

        last_dts: dict[int, int] = {}
        for packet, dts, number in _iter_packets(source):
            index = packet.stream.index
            shifts = recordings.shifts[index]
            # The file can end in the middle of a packet.
            if packet.is_corrupt and number == len(shifts) - 1:
                continue

            shown = dts if packet.pts is None else packet.pts
            # Times that FFmpeg counts between those of the file can run back by a little.
            packet.dts = max(dts + shifts[number], last_dts.get(index, -_TICKS_PER_DAY) + 1)
            packet.pts = max(shown + shifts[number], packet.dts)
            last_dts[index] = packet.dts
            packet.stream = streams[index]
            output.mux(packet)


class _NumberedPacket(NamedTuple):
    packet: av.Packet
    dts: int
    run: int  # the number of its stream's run


@dataclass(frozen=True)
class _Last:
    """The last packet of a stream."""

    dts: int
    run: int
    # By the index of each other stream: its run at that time.
    other_runs: dict[int, int]


def _iter_packets(container: InputContainer) -> Iterator[_NumberedPacket]:
    """Yield the packets that have a decoding time, of the streams that are read."""
    last: dict[int, _Last] = {}
    for packet in iter_packets(container, *choose_streams(container)):
        dts, index = packet.dts, packet.stream.index
        if dts is None:
            continue

        number = 0
        if index in last:
            number = last[index].run + _is_jump(index, dts, last)
        runs = {other: one.run for other, one in last.items() if other != index}
        last[index] = _Last(dts, number, runs)
        yield _NumberedPacket(packet, dts, number)


def _is_jump(index: int, dts: int, last: dict[int, _Last]) -> bool:
    """Return whether a stream's clock jumps to a decoding time, its next one."""
    step_seconds = (dts - last[index].dts) / _TICKS_PER_SECOND

    if step_seconds <= _FORWARD_SECONDS:
        return step_seconds < -_BACKWARD_SECONDS

    # The stream only paused if another stream continued on the same clock up to this time.
    for other, one in last.items():
        has_gone_on = other != index and one.run == last[index].other_runs.get(other)
        if has_gone_on and abs(dts - one.dts) <= _FORWARD_SECONDS * _TICKS_PER_SECOND:
            return False
    return True


def _find_runs(container: InputContainer) -> dict[int, list[Run]]:
    """Return the runs of each stream, by its index."""
    runs: dict[int, list[Run]] = {}

    for packet, dts, number in _iter_packets(container):
        known = runs.setdefault(packet.stream.index, [])
        # The first packet of a run says where it begins. Not every packet has a position.
        if number == len(known):
            position = packet.pos
            if position is None:
                position = known[-1].last_position + 1 if known else 0
            # FFmpeg's start of a stream: when its first packet is shown, not when it is decoded.
            shown = dts if packet.pts is None else packet.pts
            known.append(Run(position, position, shown, shown))
        known[number].add(packet, dts)
    return runs


def _join_runs(runs: dict[int, list[Run]], suffix: str) -> JoinedRecordings:
    """Find which runs of the streams form one recording, and how far each of them moves."""
    starts = _find_starts(runs)

    # By stream: the recording of each of its runs.
    numbers = {
        index: [bisect.bisect_right(starts, run.first_position) - 1 for run in known]
        for index, known in runs.items()
    }

    # A recording spans the runs of all its streams.
    spans = []
    for number in range(len(starts)):
        members = [
            run
            for index, known in runs.items()
            for run, number_of_run in zip(known, numbers[index], strict=True)
            if number_of_run == number
        ]
        spans.append((min(run.start for run in members), max(run.stop for run in members)))

    # Each recording begins where the one before ends.
    # All streams of it move by the same number, so picture and sound keep their offset.
    shifts, begin = [], 0
    for start, stop in spans:
        shifts.append(begin - start)
        begin += stop - start
    return JoinedRecordings(
        tuple((stop - start) / _TICKS_PER_SECOND for start, stop in spans),
        suffix,
        {index: [shifts[number] for number in known] for index, known in numbers.items()},
    )


def _find_starts(runs: dict[int, list[Run]]) -> list[int]:
    """Return the positions in the file at which a recording begins, ascending.

    Streams are interleaved, so the runs of one recording begin at different positions. There is a
    gap between the last packet of a run and the first packet of the stream's next run. Overlapping
    gaps of several streams are one border.
    """
    # A stream's first run counts as a gap that begins before the file's first byte.
    gaps = sorted(
        (run.first_position, known[number - 1].last_position if number else -1)
        for known in runs.values()
        for number, run in enumerate(known)
    )
    starts: list[int] = []
    for first_position, previous_position in gaps:
        # Otherwise the last border is in this gap, so it is the same border.
        if not starts or starts[-1] <= previous_position:
            starts.append(first_position)
    return starts
