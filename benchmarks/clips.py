"""Clips to measure on: those of the user, or some rendered here."""

import subprocess
from pathlib import Path

from pipeline.media.ffmpeg import find_ffmpeg

_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


def find_clips(paths: list[Path]) -> list[Path]:
    """Media files among ``paths`` and in their folders, sorted."""
    found = []
    for path in paths:
        files = path.rglob("*") if path.is_dir() else [path]
        found += [file for file in files if file.suffix.lower() in _SUFFIXES]
    return sorted(found)


def render_clips(
    folder: Path, *, num_clips: int, seconds: float = 10, size: str = "640x360", fps: int = 25
) -> list[Path]:
    """H.264 + AAC clips with a moving picture and a chirp, each of another pace."""
    paths = []
    for index in range(num_clips):
        path = folder / f"rendered_{index}.mp4"
        picture = f"testsrc2=size={size}:rate={fps}:duration={seconds},rotate={0.1 + 0.1 * index}*t,boxblur=1"
        sound = f"aevalsrc='0.4*sin(2*PI*({200 + 50 * index}*t+40*t*t))|0.2*sin(2*PI*700*t)':s=44100:d={seconds}"
        command = [
            str(find_ffmpeg()),
            "-y",
            "-v",
            "error",
            "-nostdin",
            "-f",
            "lavfi",
            "-i",
            picture,
        ]
        command += [
            "-f",
            "lavfi",
            "-i",
            sound,
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
            str(path),
        ]
        subprocess.run(command, check=True)
        paths.append(path)
    return paths
