"""Outside programs and packages that fetching depends on: where they are and in which version."""

import importlib.metadata
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from earshot.errors import EarshotError
from pipeline.media.ffmpeg import find_ffmpeg, read_version

# In yt-dlp's order of preference; YouTube needs one of them.
JS_RUNTIMES = {"deno": "deno", "node": "node", "bun": "bun", "quickjs": "qjs"}
_LIMIT_SECONDS = 10.0


@lru_cache(maxsize=1)
def find_js_runtimes() -> dict[str, str]:
    """Paths by yt-dlp's name of the JavaScript runtimes on PATH or beside this Python (a wheel of deno lies there)."""
    own_dir = str(Path(sys.executable).parent)
    found = {}
    for name, program in JS_RUNTIMES.items():
        path = shutil.which(program, path=own_dir) or shutil.which(program)
        if path:
            found[name] = path
    return found


@lru_cache(maxsize=8)
def version_of(path: str) -> str | None:
    """First line that a program answers to ``--version``, without its own name; None when it does not answer."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split("\n")[0].split()
    if done.returncode != 0 or not words:
        return None
    version = next((word for word in words if word.lstrip("v")[:1].isdigit()), words[0])
    return version.lstrip("v")


@lru_cache(maxsize=8)
def tool_versions(ffmpeg_source: str = "auto") -> str:
    """What enters the ledger with each attempt: yt-dlp, its JavaScript runtime and solver scripts, ffmpeg, PyAV."""
    words = [f"yt-dlp {package_version('yt-dlp')}", f"ejs {package_version('yt-dlp-ejs')}"]
    runtime = next(iter(find_js_runtimes().items()), None)
    words.append(f"{runtime[0]} {version_of(runtime[1])}" if runtime else "no JavaScript runtime")
    try:
        words.append(f"ffmpeg {read_version(find_ffmpeg(ffmpeg_source))}")
    except EarshotError:
        words.append("no ffmpeg")
    words.append(f"av {package_version('av')}")
    return "; ".join(words)


def package_version(name: str) -> str | None:
    """Version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
