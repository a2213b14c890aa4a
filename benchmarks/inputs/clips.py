"""Clips to measure on: the user's own, a few rendered ones, or many copies of a few."""

import subprocess
from pathlib import Path

from pipeline.media.files.ffmpeg import find_ffmpeg

_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


def find_clips(paths: list[Path]) -> list[Path]:
    """Return the media files among ``paths`` and in their folders, sorted."""
    clips = []
    for path in paths:
        files = path.rglob("*") if path.is_dir() else [path]
        clips += [file for file in files if file.suffix.lower() in _SUFFIXES]
    return sorted(clips)


def render_clips(folder: Path, *, num_clips: int) -> list[Path]:
    """Render H.264 and AAC clips of 10 s, 640x360, 25 fps; each turns at another speed."""
    paths = []
    for index in range(num_clips):
        path = folder / f"rendered_{index}.mp4"
        picture = (
            f"testsrc2=size=640x360:rate=25:duration=10,rotate={0.1 + 0.1 * index}*t,boxblur=1"
        )
        # A chirp in the left channel, a tone in the right one.
        sound = (
            f"aevalsrc='0.4*sin(2*PI*({200 + 50 * index}*t+40*t*t))|0.2*sin(2*PI*700*t)'"
            ":s=44100:d=10"
        )
        _render(path, picture, sound, [])
        paths.append(path)
    return paths


def render_many_clips(
    folder: Path, *, num_clips: int, num_rendered: int = 8, seconds: int = 10
) -> None:
    """Make ``num_clips`` different files ``clip<number>.mp4`` out of a few rendered ones.

    They are H.264 and AAC, 640x360, 25 fps, with grain in the picture, as clips of VGG-Sound.
    """
    folder.mkdir(parents=True)
    sources = []
    for seed in range(num_rendered):
        path = folder.parent / f"source{seed}.mp4"
        picture = (
            f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=12:allf=t:all_seed={seed}"
        )
        sound = f"sine=frequency={200 + 7 * seed}:duration={seconds}:sample_rate=44100"
        _render(
            path, picture, sound, ["-preset", "veryfast", "-crf", "26", "-g", "125", "-shortest"]
        )
        sources.append(path.read_bytes())

    for i in range(num_clips):
        # Every reader skips a `free` box. The copies have other bytes and the same media.
        box = (16).to_bytes(4, "big") + b"free" + i.to_bytes(8, "big")
        (folder / f"clip{i:06d}.mp4").write_bytes(sources[i % num_rendered] + box)


def _render(path: Path, picture: str, sound: str, options: list[str]) -> None:
    """Encode a picture and a sound, both given as ffmpeg's filters."""
    command = [str(find_ffmpeg()), "-y", "-v", "error", "-nostdin"]
    command += ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", *options, str(path)]
    subprocess.run(command, check=True)
