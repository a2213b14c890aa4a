"""Cut exact sections and shrink pictures with the ffmpeg program, where a file needs it."""

import contextlib
import dataclasses
import functools
import math
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg

from earshot.errors import MediaError
from pipeline.media.files.configuration import may_change_configuration
from pipeline.media.files.container import (
    has_index,
    is_probe_long,
    iter_packets,
    open_container,
)
from pipeline.media.files.ffmpeg import read_version
from pipeline.media.files.formats import make_program_options
from pipeline.media.files.media_file import Opening, name_errors
from pipeline.media.files.timeline import choose_stream, choose_streams, find_frame_rate
from pipeline.media.files.truncation import find_recording_end
from pipeline.media.pictures.timestamps import is_reordered_avi
from pipeline.media.reader import ClipReader

# A quality at which encoding is fast and clips are small, and at which the coding does not show in
# flow and spectrograms.
_CRF = 20
_PRESET = "veryfast"
_AUDIO_BITRATE = "128k"
_MAX_MESSAGE_CHARACTERS = 1000
# The resolution of frame times. It is finer than the tolerance of `timeline`.
_TICKS_PER_SECOND = 1_000_000
# Bounds lie between two ticks of containers that count milliseconds.
_HALF_TICK_SECONDS = 0.0005
_PREROLL_SECONDS = 0.5
# A longer step in the sound's timestamps is a pause, or a joint of two recordings; not rounding.
_PAUSE_SECONDS = 0.02
# The packets of these say how many channels they have, and it can change.
_CHANNEL_CODECS = ("aac", "ac3", "eac3", "dca", "mp1", "mp2", "mp3")
# What stands for the files until ffmpeg is run: ffmpeg-python takes no names that are not UTF-8.
_SOURCE, _TARGET = "the source", "the target"
# The mean of as many channels as there are.
_MEAN_OF_CHANNELS = "mono|c0<" + "+".join(f"c{number}" for number in range(8))


class CuttingError(Exception):
    """ffmpeg failed.

    The message begins with the words that yt-dlp uses for the same failure, so that one table of
    reasons covers both. ffmpeg's own message follows.
    """


def cut_clip(
    source_path: Path,
    target_path: Path,
    *,
    start_seconds: float,
    stop_seconds: float | None,
    max_height: int,
    video_index: int,
    audio_index: int,
    ffmpeg_path: Path | str,
    limit_seconds: float,
) -> None:
    """Encode [start_seconds, stop_seconds) of a file as H.264 and AAC, exact to the frame.

    At each time t the clip has the picture and the sound that the file has at start_seconds + t.
    Frames keep their times, also if their distances differ. Everything is encoded again, because a
    copied section would begin at a keyframe, which can be seconds too early. The same input gives
    the same bytes (one encoder thread, no dates).

    Args:
        source_path: The file.
        target_path: Where the clip is written.
        start_seconds: On the file's timeline, as ``timeline`` defines it.
        stop_seconds: On the file's timeline; None: to its end.
        max_height: If the shorter side has more pixels, pictures shrink to this number.
        video_index: Of the video stream in the file.
        audio_index: Of the audio stream in the file.
        ffmpeg_path: The ffmpeg program.
        limit_seconds: ffmpeg is stopped after this time.

    Raises:
        CuttingError: ffmpeg failed or took too long.
        MediaError: ``corrupt`` or ``no_video``: the file has no picture for the start.
            ``no_audio``: it has no sound in the section.
    """
    section = _find_section(source_path, start_seconds, stop_seconds)
    source = ffmpeg.input(_SOURCE, **section.make_input_options())
    video = section.trim_video(source[str(video_index)])

    # Square pixels and even sides (4:2:0 needs them), the shorter one at most max_height.
    factor = f"min(1,{max_height}/min(ih*dar,ih))"
    video = video.filter(
        "scale", w=_round_to_even(f"ih*dar*{factor}"), h=_round_to_even(f"ih*{factor}")
    )
    output = ffmpeg.output(
        video.filter("setsar", 1),
        section.trim_audio(source[str(audio_index)]),
        _TARGET,
        vcodec="libx264",
        crf=_CRF,
        preset=_PRESET,
        pix_fmt="yuv420p",
        # Otherwise the encoder counts whole frames of one rate, and moves irregular ones.
        enc_time_base=f"1:{_TICKS_PER_SECOND}",
        acodec="aac",
        audio_bitrate=_AUDIO_BITRATE,
        # The index in front: a player can begin before it has the whole file.
        movflags="+faststart",
        # Titles and dates of the source would make equal sections different files.
        map_metadata=-1,
        map_chapters=-1,
        threads=1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact", "flags:a": "+bitexact"},
        **_find_frame_options(str(ffmpeg_path), section),
    )
    try:
        # The filters count by the file's own clock.
        _run(
            output.global_args("-copyts"),
            ffmpeg_path,
            limit_seconds,
            names={_SOURCE: section.make_input_name(source_path), _TARGET: str(target_path)},
        )
    except CuttingError:
        if not _has_sound(source_path, section):
            raise MediaError("no_audio", "has no sound in the section") from None
        raise


@dataclass(frozen=True)
class _Section:
    """A part of a file, in seconds of the file's own timestamps."""

    start_seconds: float
    stop_seconds: float | None
    first_seconds: float  # timestamp of the frame that is shown at the start
    seek_seconds: float | None  # where reading begins; None: at the file's beginning
    # Frames a second where frames are counted, because their timestamps are wrong.
    counted_rate: Fraction | None = None
    is_probe_long: bool = False  # a stream begins later than FFmpeg usually looks
    num_bytes: int | None = None  # of the recording that counts; None: of the whole file
    has_changing_channels: bool = False  # of the sound, up to the section's end

    def make_input_name(self, path: Path) -> str:
        """Return how ffmpeg is told to open the file."""
        # An absolute path: ffmpeg takes `12:30.mp4` for a protocol and `-a.mp4` for an option.
        name = str(path.absolute())
        return name if self.num_bytes is None else f"subfile,,start,0,end,{self.num_bytes},,:{name}"

    def make_input_options(self) -> dict[str, Any]:
        """Return ffmpeg's options of the input."""
        options: dict[str, Any] = make_program_options(is_probe_long=self.is_probe_long)
        if self.num_bytes is not None:
            options["protocol_whitelist"] += ",subfile"
        if self.seek_seconds is not None:
            # Keep what is before the section: the filters cut more exactly.
            options |= {"ss": f"{self.seek_seconds:.6f}", "seek_timestamp": 1}
            options["noaccurate_seek"] = None

        return options

    def trim_video(self, stream: Any) -> Any:
        """Keep the frames from the one shown at the start on, and count time from there."""
        bounds = {"start": f"{self.first_seconds - _HALF_TICK_SECONDS:.6f}"}
        if self.stop_seconds is not None:
            # Where the picture begins later, its first frame is shown from the start on.
            end_seconds = max(self.stop_seconds, self.first_seconds + 2 * _HALF_TICK_SECONDS)
            bounds["end"] = f"{end_seconds - _HALF_TICK_SECONDS:.6f}"

        stream = stream.filter("settb", f"1/{_TICKS_PER_SECOND}")
        # The pictures of such a file come in the right order; only their times are wrong.
        if self.counted_rate is not None:
            stream = stream.filter("setpts", f"round(N*{1 / self.counted_rate}/TB)")
        stream = stream.filter("trim", **bounds)
        # The first frame is the one shown at the start, even if its own time is earlier or later.
        # At time zero it keeps the clip's clock where the section begins.
        stream = stream.filter("settb", f"1/{_TICKS_PER_SECOND}").filter("trim", **bounds)
        # Not by its number: the filters begin anew where the size of the picture changes.
        ticks = round(self.start_seconds * _TICKS_PER_SECOND)
        first_ticks = round((self.first_seconds + _HALF_TICK_SECONDS) * _TICKS_PER_SECOND)
        return stream.filter("setpts", f"if(lte(PTS,{first_ticks}),0,max(0,round(PTS-{ticks})))")

    def trim_audio(self, stream: Any) -> Any:
        """Keep the samples of the section, with silence where the sound pauses."""
        bounds = {"start": f"{self.start_seconds:.6f}"}
        if self.stop_seconds is not None:
            bounds["end"] = f"{self.stop_seconds:.6f}"

        # ffmpeg would make others of the channels that it begins with, louder or softer.
        if self.has_changing_channels:
            stream = stream.filter("pan", _MEAN_OF_CHANNELS)
        stream = stream.filter("atrim", **bounds)
        stream = stream.filter("asetpts", f"round(PTS-{self.start_seconds:.6f}/TB)")
        return stream.filter("aresample", **{"async": 1, "min_hard_comp": _PAUSE_SECONDS})


def _find_section(source_path: Path, start_seconds: float, stop_seconds: float | None) -> _Section:
    """Translate a section of the clip's timeline to the file's own clock.

    Raises:
        MediaError: ``corrupt`` or ``no_video``: there is no frame to begin with.
    """
    with name_errors(source_path), open_container(source_path) as container:
        video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
        opening = Opening(container, video, audio)
        can_seek = _can_seek(opening)
        is_counted = video is not None and is_reordered_avi(opening)
        counted_rate = find_frame_rate(video) if video is not None and is_counted else None
        has_late_streams = is_probe_long(container)
        num_bytes = find_recording_end(container)

    with ClipReader(source_path) as reader:
        origin_seconds = reader.origin_seconds
        # Fails where there is no picture for the start, before ffmpeg writes anything.
        (first,) = reader.iter_frames([start_seconds])

    start = origin_seconds + start_seconds
    first_seconds = origin_seconds + first.time_seconds
    # The decoder of the sound needs some time before the section to settle.
    seek_seconds = min(first_seconds, start) - _PREROLL_SECONDS
    section = _Section(
        start_seconds=start,
        stop_seconds=None if stop_seconds is None else origin_seconds + stop_seconds,
        first_seconds=first_seconds,
        seek_seconds=seek_seconds if can_seek and seek_seconds > origin_seconds else None,
        counted_rate=counted_rate,
        is_probe_long=has_late_streams,
        num_bytes=num_bytes,
    )
    has_changes = _has_changing_channels(source_path, section)
    return dataclasses.replace(section, has_changing_channels=has_changes)


def _has_sound(path: Path, section: _Section) -> bool:
    """Return whether a packet of the sound lies in a section."""
    stop_seconds = section.stop_seconds or math.inf
    with name_errors(path), open_container(path) as container:
        stream = choose_stream(container, "audio")
        for packet in iter_packets(container, stream) if stream is not None else ():
            if packet.pts is None or not packet.size or packet.is_discard:
                continue
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            if end > section.start_seconds and float(packet.pts * packet.time_base) < stop_seconds:
                return True
    return False


def _has_changing_channels(path: Path, section: _Section) -> bool:
    """Return whether the sound that ffmpeg reads for a section changes its channels."""
    with name_errors(path), open_container(path) as container:
        stream = choose_stream(container, "audio")
        if stream is None or not stream.codec_context.name.startswith(_CHANNEL_CODECS):
            return False
        # One description of a track says it for the whole track.
        if has_index(container) and not may_change_configuration(path, stream):
            return False

        if section.seek_seconds is not None:
            container.seek(round(section.seek_seconds * av.time_base), backward=True)
        counts: set[int] = set()
        for packet in iter_packets(container, stream):
            # Damage is no change.
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    assert isinstance(frame, av.AudioFrame)
                    counts.add(frame.layout.nb_channels)
            seconds = 0.0 if packet.pts is None else float(packet.pts * packet.time_base)
            if len(counts) > 1 or seconds > (section.stop_seconds or math.inf):
                break
        return len(counts) > 1


def _can_seek(opening: Opening) -> bool:
    """Return whether ffmpeg finds the keyframe before a time: MP4, MOV and Matroska list them.

    In other containers ffmpeg searches for the time, and can end between keyframes.
    """
    container = opening.container
    if not container.format.name.startswith(("mov", "matroska")):
        return False

    path = Path(container.name)
    return not any(may_change_configuration(path, stream) for stream in choose_streams(container))


def _round_to_even(expression: str) -> str:
    return f"max(2,2*round({expression}/2))"


def _find_frame_options(ffmpeg_path: str, section: _Section) -> dict[str, str]:
    """Return the options that keep all frames with their times, and end the last one in time."""
    if _is_old(ffmpeg_path):
        return {"vsync": "passthrough"}

    options = {"fps_mode": "passthrough"}
    if section.stop_seconds is not None:
        # Otherwise the last frame lasts as long as in the file, beyond the clip's end.
        seconds = section.stop_seconds - section.start_seconds
        duration = f"min(DURATION\\,max(1\\,{seconds:.6f}/TB-PTS))"
        options["bsf:v"] = f"setts=pts=PTS:dts=DTS:duration={duration}"
    return options


@functools.cache
def _is_old(ffmpeg_path: str) -> bool:
    """Return whether ffmpeg is older than 5.1, where options have other names."""
    found = re.match(r"n?(\d+)\.(\d+)", read_version(ffmpeg_path))

    return found is not None and (int(found[1]), int(found[2])) < (5, 1)


def _run(
    output: Any, ffmpeg_path: Path | str, limit_seconds: float, *, names: dict[str, str]
) -> None:
    """Run an ffmpeg-python graph in which files have other names. Raises CuttingError."""
    quiet = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error")
    command = ffmpeg.compile(quiet, cmd=str(ffmpeg_path), overwrite_output=True)
    command = [names.get(argument, argument) for argument in command]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CuttingError(f"ffmpeg timed out after {limit_seconds:g} s") from None

    if result.returncode == 0:
        return

    # ffmpeg names the cause last, after what it says about each stream.
    message = " ".join(result.stderr.decode("utf-8", "replace").split())[-_MAX_MESSAGE_CHARACTERS:]
    if "No space left" in message:
        raise CuttingError(f"no space left on device: {message}")
    raise CuttingError(f"ffmpeg exited with code {result.returncode}: {message}")
