"""Exact sections and smaller pictures, with ffmpeg: only where the file is not already what is wanted."""

import subprocess
from pathlib import Path

import ffmpeg

# Small enough to be fast and keep a cache small, good enough that flow and spectrograms do not see the coding.
_CRF = 20
_PRESET = "veryfast"
_AUDIO_BITRATE = "128k"


class CuttingError(Exception):
    """ffmpeg failed; the message is in yt-dlp's words for it, followed by ffmpeg's own."""


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
    """Encode ``[start_seconds, stop_seconds)`` of two streams of a file as H.264 and AAC, exact to the frame.

    Decoding begins at the keyframe before the section, and everything is encoded anew: a copied section would begin at
    a keyframe and be up to seconds too long. ``stop_seconds`` None: to the end. Pictures whose shorter side
    is longer than ``max_height`` shrink. The same input gives the same bytes (one encoder thread, no dates).
    """
    options = {"ss": start_seconds}
    if stop_seconds is not None:
        options["t"] = stop_seconds - start_seconds
    source = ffmpeg.input(str(source_path), **options)
    # Square pixels and even sides (4:2:0), the shorter one at most max_height.
    factor = f"min(1,{max_height}/min(ih*dar,ih))"
    video = source[str(video_index)].filter(
        "scale", w=f"2*trunc(ih*dar*{factor}/2)", h=f"2*trunc(ih*{factor}/2)"
    )
    stream = ffmpeg.output(
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
    ).global_args("-nostdin", "-hide_banner", "-loglevel", "error")
    command = ffmpeg.compile(stream, cmd=str(ffmpeg_path), overwrite_output=True)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CuttingError(f"ffmpeg timed out after {limit_seconds:g} s") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[-1000:]
        if "No space left" in words:
            raise CuttingError(f"no space left on device: {words}")
        raise CuttingError(f"ffmpeg exited with code {done.returncode}: {words}")
