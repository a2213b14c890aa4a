"""Clips for tests: a picture in which every frame is different, a chirp as sound, made by the ffmpeg program."""

import subprocess
from pathlib import Path

from pipeline.media.ffmpeg import find_ffmpeg

PICTURE = "testsrc2=size={size}:rate={fps}:duration={seconds}"
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac")
SOUND = "aevalsrc='0.4*sin(2*PI*(200*t+150*t*t))|0.2*sin(2*PI*700*t)':s=44100:d={seconds}"


def make_clip(
    path: Path,
    *options: str,
    size: str = "160x120",
    fps: str = "25",
    seconds: float = 4,
    picture: str | None = PICTURE,
    sound: str | None = SOUND,
    before: tuple[str, ...] = (),
) -> Path:
    """Make a clip; ``options`` go before the output, ``before`` ahead of the inputs."""
    inputs = []
    for source in (picture, sound):
        if source is not None:
            inputs += ["-f", "lavfi", "-i", source.format(size=size, fps=fps, seconds=seconds)]
    run_ffmpeg(*before, *inputs, *options, str(path))
    return path


def run_ffmpeg(*arguments: str) -> None:
    """Run ffmpeg, one thread, bit-exact; its complaint becomes the assertion's message."""
    command = [
        str(find_ffmpeg()),
        "-y",
        "-v",
        "error",
        "-nostdin",
        *arguments[:-1],
        "-threads",
        "1",
        arguments[-1],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
