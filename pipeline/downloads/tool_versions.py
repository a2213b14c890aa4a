"""Find the programs and packages that downloads depend on, and read their versions."""

import importlib.metadata
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from earshot.errors import EarshotError
from pipeline.media.files.ffmpeg import find_ffmpeg, read_version

# Program by yt-dlp's name, in yt-dlp's order of preference; YouTube needs one of them.
JS_RUNTIMES = {"deno": "deno", "node": "node", "bun": "bun", "quickjs": "qjs"}

_LIMIT_SECONDS = 10.0


@lru_cache(maxsize=1)
def find_js_runtimes() -> dict[str, str]:
    """Return the path of each JavaScript runtime that is installed, by yt-dlp's name for it.

    A runtime beside this Python comes first: that is where the wheel of deno puts its program.
    """
    python_dir = str(Path(sys.executable).parent)
    found = {}
    for name, program in JS_RUNTIMES.items():
        path = shutil.which(program, path=python_dir) or shutil.which(program)
        if path:
            found[name] = path
    return found


@lru_cache(maxsize=8)
def read_program_version(path: str) -> str | None:
    """Return the version that a program prints for ``--version``; None if it does not."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None

    # The first word that begins like a number, such as "2.1.0" of "deno 2.1.0 (stable)".
    words = done.stdout.split("\n")[0].split()
    if done.returncode != 0 or not words:
        return None
    version = next((word for word in words if word.lstrip("v")[:1].isdigit()), words[0])
    return version.lstrip("v")


def read_package_version(name: str) -> str | None:
    """Return the version of an installed package without importing it; None if absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=8)
def describe_tools(ffmpeg_source: str = "auto") -> str:
    """Return the versions that the ledger records with each attempt.

    They are those of yt-dlp, its solver scripts and JavaScript runtime, ffmpeg and PyAV.
    """
    # The scripts that solve YouTube's challenges are a package of their own, with own versions.
    words = [
        f"yt-dlp {read_package_version('yt-dlp')}",
        f"ejs {read_package_version('yt-dlp-ejs')}",
    ]

    # yt-dlp uses the first one it finds.
    runtime = next(iter(find_js_runtimes().items()), None)
    if runtime is None:
        words.append("no JavaScript runtime")
    else:
        words.append(f"{runtime[0]} {read_program_version(runtime[1])}")

    try:
        words.append(f"ffmpeg {read_version(find_ffmpeg(ffmpeg_source))}")
    except EarshotError:
        words.append("no ffmpeg")
    words.append(f"av {read_package_version('av')}")

    # Only some machines have it.
    curl_cffi = read_package_version("curl-cffi")
    if curl_cffi is not None:
        words.append(f"curl-cffi {curl_cffi}")
    return "; ".join(words)
