"""Find the ffmpeg program: the machine's own, or that of the PyPI package imageio-ffmpeg.

Reading media needs neither, because PyAV brings FFmpeg's libraries. Downloading with yt-dlp and
cutting clips need the program.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg

from earshot.errors import EarshotError


def find_ffmpeg(source: str | Path = "auto") -> Path:
    """Return the path of an ffmpeg program.

    Args:
        source: ``auto`` (the machine's ffmpeg if it has one, else the package's), ``system``,
            ``package``, or the path of an executable file.

    Raises:
        EarshotError: There is no such program.
    """
    if source in ("auto", "system"):
        found = shutil.which("ffmpeg")
        if found:
            return Path(found)
        if source == "system":
            raise EarshotError(
                "ffmpeg: not found on this machine's PATH; install it, or use the package's "
                "(ffmpeg: package)"
            )

    if source in ("auto", "package"):
        try:
            return Path(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError as error:
            raise EarshotError(
                f"ffmpeg: not on PATH and imageio-ffmpeg has none either: {error}"
            ) from error

    path = Path(source).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EarshotError(f"ffmpeg: {path} is not an executable file")
    return path


def read_version(path: Path | str) -> str:
    """Return the version that an ffmpeg program reports, for example ``7.0.2-static``.

    Raises:
        EarshotError: The program does not run or is not ffmpeg.
    """
    try:
        result = subprocess.run(
            [str(path), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EarshotError(f"ffmpeg: {path} does not run: {error}") from error

    found = re.match(r"ffmpeg version (\S+)", result.stdout)
    if result.returncode != 0 or not found:
        raise EarshotError(
            f"ffmpeg: {path} does not answer -version like ffmpeg (exit code {result.returncode})"
        )
    return found[1]
