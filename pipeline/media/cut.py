"""Cut exact sections and shrink pictures with the ffmpeg program, where a file needs it."""

import subprocess
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.media.formats import make_program_options

# Small enough to be fast and to keep a cache small; good enough that the coding does not show in
# flow and spectrograms.
_CRF = 20
_PRESET = "veryfast"
_AUDIO_BITRATE = "128k"
_MAX_MESSAGE_CHARACTERS = 1000


class CuttingError(Exception):
    """ffmpeg failed.

    The message begins with the words that yt-dlp has for the same failure, so that one table of
    reasons serves both. ffmpeg's own message follows.
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

    Decoding begins at the keyframe before the section, and everything is encoded again: a section
    that is copied begins at a keyframe and is up to seconds too long. The same input gives the same
    bytes (one encoder thread, no dates).

    Args:
        source_path: The file.
        target_path: Where the clip is written.
        start_seconds: From the file's beginning.
        stop_seconds: From the file's beginning; None: to its end.
        max_height: Pictures whose shorter side has more pixels shrink to it.
        video_index: Of the video stream in the file.
        audio_index: Of the audio stream in the file.
        ffmpeg_path: The ffmpeg program.
        limit_seconds: After this ffmpeg is stopped.

    Raises:
        CuttingError: ffmpeg failed or took too long.
    """
    # Seeking in the input is exact when everything is encoded again, and skips what is before.
    input_options: dict[str, Any] = {"ss": start_seconds, **make_program_options()}
    if stop_seconds is not None:
        input_options["t"] = stop_seconds - start_seconds
    source = ffmpeg.input(str(source_path.absolute()), **input_options)

    # Square pixels and even sides (4:2:0 needs them), the shorter one at most max_height.
    factor = f"min(1,{max_height}/min(ih*dar,ih))"
    video = source[str(video_index)].filter(
        "scale", w=f"2*trunc(ih*dar*{factor}/2)", h=f"2*trunc(ih*{factor}/2)"
    )
    output = ffmpeg.output(
        video.filter("setsar", 1),
        source[str(audio_index)],
        str(target_path),
        vcodec="libx264",
        crf=_CRF,
        preset=_PRESET,
        pix_fmt="yuv420p",
        acodec="aac",
        audio_bitrate=_AUDIO_BITRATE,
        movflags="+faststart",
        map_metadata=-1,
        threads=1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact", "flags:a": "+bitexact"},
    )
    _run(output, ffmpeg_path, limit_seconds)


def _run(output: Any, ffmpeg_path: Path | str, limit_seconds: float) -> None:
    """Run an ffmpeg-python graph. Raises CuttingError."""
    quiet = output.global_args("-nostdin", "-hide_banner", "-loglevel", "error")
    command = ffmpeg.compile(quiet, cmd=str(ffmpeg_path), overwrite_output=True)
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
    message = " ".join(result.stderr.decode("utf-8", "replace").split())[-_MAX_MESSAGE_CHARACTERS:]
    if "No space left" in message:
        raise CuttingError(f"no space left on device: {message}")
    raise CuttingError(f"ffmpeg exited with code {result.returncode}: {message}")
