"""Make clips for tests with the ffmpeg program, and read all frames asked for.

In the picture every frame is different; the sound is a chirp.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, VideoFrame

PICTURE = "testsrc2=size={size}:rate={fps}:duration={seconds}"
SOUND = "aevalsrc='0.4*sin(2*PI*(200*t+150*t*t))|0.2*sin(2*PI*700*t)':s=44100:d={seconds}"
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac")


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
    """Make a clip and return its path.

    Args:
        path: Where it is written. The suffix says which container it is.
        *options: ffmpeg's options of the output.
        size: Width and height of the picture.
        fps: Frames a second.
        seconds: How long the clip lasts.
        picture: ffmpeg's source of the picture; None: no picture.
        sound: ffmpeg's source of the sound; None: no sound.
        before: ffmpeg's options ahead of the inputs.
    """
    inputs: list[str] = []
    for source in (picture, sound):
        if source is not None:
            inputs += ["-f", "lavfi", "-i", source.format(size=size, fps=fps, seconds=seconds)]
    run_ffmpeg(*before, *inputs, *options, str(path))
    return path


def run_ffmpeg(*arguments: str) -> None:
    """Run ffmpeg with one thread; its error output becomes the assertion's message.

    The last argument is the path of the output.
    """
    quiet = ("-y", "-v", "error", "-nostdin")
    command = [str(find_ffmpeg()), *quiet, *arguments[:-1], "-threads", "1", arguments[-1]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def read_frames(reader: ClipReader, times: Sequence[float]) -> list[VideoFrame]:
    """Return the frames shown at times in any order, in that order."""
    order = sorted(range(len(times)), key=lambda index: times[index])
    frames = dict(zip(order, reader.iter_frames([times[index] for index in order]), strict=True))
    return [frames[index] for index in range(len(times))]
