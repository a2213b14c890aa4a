"""MPEG-TS files that are several recordings one after the other: their clocks jump where one ends and the next begins.

Cameras, recorders and `cat` make such files. Whoever reads them by timestamps finds two moments for one time, and a
length that is the last recording's or, where the clock seems to have wrapped around, 26 hours. Here the recordings are
found and written into one file with one clock; packets are copied, nothing is encoded.
"""

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error

from earshot.errors import MediaError
from earshot.files import publish

# What the ffmpeg program, too, takes for another clock rather than for jitter or a pause.
_BACKWARD_SECONDS = 0.1
_FORWARD_SECONDS = 10.0
_TICKS_PER_SECOND = 90_000  # of every stream of an MPEG-TS file
_END_TICKS = _TICKS_PER_SECOND


@dataclass
class Run:
    """Packets of one stream up to a jump: where in the file the first and last are, first and last moment in ticks."""

    first_position: int
    last_position: int
    start: int
    stop: int
    damaged_at: int | None = None

    @property
    def is_damaged_within(self) -> bool:
        """Damaged elsewhere than at its end, where the next recording's packets begin out of turn."""
        return self.damaged_at is not None and self.stop - self.damaged_at > _END_TICKS


@dataclass(frozen=True)
class JoinedRecordings:
    """What an MPEG-TS file is made of: the length of each recording, and by how many ticks each run of each stream
    (by its index) moves so that they follow each other.
    """

    durations_seconds: tuple[float, ...]
    shifts: dict[int, list[int]]


def find_recordings(path: Path | str) -> JoinedRecordings | None:
    """The recordings of an MPEG-TS file whose clock jumps; None for every other file.

    Reads all packets and decodes nothing. Raises MediaError ``corrupt`` when a file of several is damaged within
    one of them: in a copy that could not be seen any more.
    """
    with _open(path) as container:
        if container.format.name != "mpegts":
            return None
        runs: dict[int, list[Run]] = {}
        for packet, number in _iter_runs(container):
            known = runs.setdefault(packet.stream.index, [])
            if number == len(known):
                first = (
                    packet.pos
                    if packet.pos is not None
                    else known[-1].last_position + 1
                    if known
                    else 0
                )
                known.append(Run(first, first, packet.dts, packet.dts))
            run = known[number]
            run.last_position = max(run.last_position, packet.pos or 0)
            run.stop = max(
                run.stop,
                (packet.dts if packet.pts is None else packet.pts) + (packet.duration or 0),
            )
            if packet.is_corrupt and run.damaged_at is None:
                run.damaged_at = packet.dts
    if all(len(known) == 1 for known in runs.values()):
        return None
    recordings = _join_runs(runs)
    if any(run.is_damaged_within for known in runs.values() for run in known):
        raise MediaError(
            "corrupt",
            f"{path}: is {len(recordings.durations_seconds)} recordings in one file, and damaged besides",
        )
    return recordings


def write_joined(path: Path | str, target_path: Path, recordings: JoinedRecordings) -> None:
    """Publish an MPEG-TS file in which the recordings of ``path`` follow each other. Raises MediaError ``corrupt``."""
    try:
        with _open(path) as source, publish(target_path) as temporary_path:
            with av.open(os.fspath(temporary_path), "w", format="mpegts") as output:
                streams = {
                    stream.index: output.add_stream_from_template(stream)
                    for stream in _streams_of(source)
                }
                for packet, number in _iter_runs(source):
                    shifts = recordings.shifts[packet.stream.index]
                    if packet.is_corrupt and number == len(shifts) - 1:
                        continue  # the end of the file, in the middle of a packet
                    packet.dts += shifts[number]
                    packet.pts = packet.dts if packet.pts is None else packet.pts + shifts[number]
                    packet.stream = streams[packet.stream.index]
                    output.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        num_recordings = len(recordings.durations_seconds)
        raise MediaError(
            "corrupt",
            f"{path}: is {num_recordings} recordings in one file that cannot be joined: {error}",
        ) from None


def _open(path: Path | str):
    return av.open(os.fspath(path), metadata_errors="ignore")


def _streams_of(container) -> list:
    return [
        stream for stream in map(container.streams.best, ("video", "audio")) if stream is not None
    ]


def _iter_runs(container) -> Iterator[tuple[av.Packet, int]]:
    """Packets of the best streams that have a time, each with the number of its stream's run."""
    last: dict[int, tuple[int, int]] = {}  # stream -> time and number of its last packet
    for packet in container.demux(_streams_of(container)):
        if packet.dts is None:
            continue
        previous, number = last.get(packet.stream.index, (packet.dts, 0))
        step = (packet.dts - previous) * packet.time_base
        if not -_BACKWARD_SECONDS <= step <= _FORWARD_SECONDS:
            number += 1
        last[packet.stream.index] = packet.dts, number
        yield packet, number


def _join_runs(runs: dict[int, list[Run]]) -> JoinedRecordings:
    """Which runs of several streams are of one recording, by where they are in the file, and how far each moves."""
    starts: list[int] = []  # positions in the file at which a recording begins
    gaps = [
        (run.first_position, known[number - 1].last_position if number else -1)
        for known in runs.values()
        for number, run in enumerate(known)
    ]
    for first_position, previous_position in sorted(gaps):
        if (
            not starts or starts[-1] <= previous_position
        ):  # else another stream's beginning lies in this gap
            starts.append(first_position)
    numbers = {
        index: [bisect.bisect_right(starts, run.first_position) - 1 for run in known]
        for index, known in runs.items()
    }
    pairs = [
        pair for index, known in runs.items() for pair in zip(numbers[index], known, strict=True)
    ]
    spans = []
    for number in range(len(starts)):
        of_this = [run for of, run in pairs if of == number]
        spans.append((min(run.start for run in of_this), max(run.stop for run in of_this)))
    shifts, begin = [], 0
    for start, stop in spans:
        shifts.append(begin - start)
        begin += stop - start
    return JoinedRecordings(
        tuple((stop - start) / _TICKS_PER_SECOND for start, stop in spans),
        {index: [shifts[number] for number in known] for index, known in numbers.items()},
    )
