"""Find the ffmpeg program: that of the PyPI package imageio-ffmpeg, or the machine's own.

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
        source: ``auto`` (the package's, which is pinned, else the machine's), ``package``,
            ``system`` (the machine's), or the path of an executable file.

    Raises:
        EarshotError: There is no such program.
    """
    if source in ("auto", "package"):
        try:
            return Path(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError as error:
            if source == "package":
                raise EarshotError(f"ffmpeg: imageio-ffmpeg has none: {error}") from error

    if source in ("auto", "system"):
        found = shutil.which("ffmpeg")
        if not found:
            raise EarshotError(
                "ffmpeg: not found on this machine's PATH; install it, or the package "
                "imageio-ffmpeg (ffmpeg: package)"
            )
        return Path(found)

    path = Path(os.path.expanduser(source))
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
