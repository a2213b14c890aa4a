"""Check this machine before a long run: tools, disk, DVC, GPU, compiled code, Dask scheduler.

Nothing here imports torch, Dask or yt-dlp.
"""

import datetime
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from earshot.errors import EarshotError
from pipeline.downloads.tool_versions import read_package_version, read_program_version
from pipeline.media.files.ffmpeg import find_ffmpeg, read_version

_OLD_DAYS = 60  # sites change weekly, and yt-dlp follows them
_ENOUGH_GIGABYTES = 20
_SCHEDULER_SECONDS = 8.0
_TOOL_SECONDS = 10.0
_CODE_ROOT = Path(__file__).resolve().parents[2]
_UPDATE = "make update-downloader"
if Path(sys.prefix) != _CODE_ROOT / ".venv":
    _UPDATE += f" VENV={shlex.quote(sys.prefix)}"

# The oldest runtimes that yt-dlp works with, in its order of preference.
_OLDEST_RUNTIMES = {"deno": (2, 3), "node": (22,), "bun": (1, 2, 11), "quickjs": (2023, 12, 9)}


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis."""

    name: str
    level: Literal["ok", "warn", "FAIL"]  # warn: something will be slower or missing
    text: str
    advice: str = ""


def check_ffmpeg(source: str) -> Check:
    """Check which ffmpeg is used; 8.1 is reported to break sections (yt-dlp issue 16546)."""
    try:
        path = find_ffmpeg(source)
        version = read_version(path)
    except EarshotError as error:
        return Check("ffmpeg", "FAIL", str(error), "install the package imageio-ffmpeg")

    # `ffmpeg -version` of some builds has an `n` before the number.
    if re.match(r"n?8\.1(?![0-9])", version):
        return Check(
            "ffmpeg",
            "warn",
            f"{version} ({path}): 8.1 is reported to break sections of long videos "
            "(yt-dlp issue 16546)",
            "set download.ffmpeg to `package` or to the path of another version",
        )
    return Check("ffmpeg", "ok", f"{version} ({path})")


def check_yt_dlp(version: str | None, *, today: datetime.date) -> Check:
    """Check that yt-dlp is not too old, and has its solver; its version is its date."""
    if version is None:
        return Check("yt-dlp", "FAIL", "not installed", _UPDATE)
    solver = _find_solver_fault()
    if solver is not None:
        return Check("yt-dlp", "warn", f"{version}: {solver}", _UPDATE)

    # Builds from yt-dlp's repository can have other versions: their age is not known.
    found = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)
    if not found:
        return Check("yt-dlp", "warn", f"{version}: a version without a date")

    year, month, day = map(int, found.groups())
    num_days = (today - datetime.date(year, month, day)).days
    if num_days > _OLD_DAYS:
        return Check("yt-dlp", "warn", f"{version} is {num_days} days old", _UPDATE)

    # The date of a version can lie in the future where clocks or time zones differ.
    return Check("yt-dlp", "ok", f"{version}, {max(num_days, 0)} days old")


def _find_solver_fault() -> str | None:
    """Return why the scripts that solve YouTube's challenges do not fit yt-dlp; None: they do."""
    found = read_package_version("yt-dlp-ejs")
    try:
        needs = importlib.metadata.requires("yt-dlp") or []
    except importlib.metadata.PackageNotFoundError:
        return None

    # A line such as `yt-dlp-ejs==0.3.1; extra == "default"`. Without one, any version will do.
    pins = [need for need in needs if need.startswith("yt-dlp-ejs==")]
    wanted = pins[0].partition("==")[2].partition(";")[0].strip() if pins else None
    if wanted in (None, found):
        return None
    return f"its solver yt-dlp-ejs is {found or 'not installed'}, expected {wanted}"


def check_js_runtime(
    runtimes: dict[str, str],
    read_version: Callable[[str], str | None] = read_program_version,
) -> Check:
    """Check that a JavaScript runtime is there: YouTube hides media behind JavaScript."""
    name = "JavaScript runtime"
    advice = f"{_UPDATE} (or install node >= 22); without it most of YouTube's formats are missing"
    too_old = []
    for runtime, path in runtimes.items():
        version = read_version(path) or "0"
        # Three numbers are enough: no version in the table above has more.
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        if numbers >= _OLDEST_RUNTIMES[runtime]:
            return Check(name, "ok", f"{runtime} {version} ({path})")
        too_old.append(f"{runtime} {version}")

    if too_old:
        return Check(name, "warn", f"{', '.join(too_old)}: too old for yt-dlp", advice)
    return Check(name, "warn", "none found (deno, node, bun, quickjs)", advice)


def check_disk(folder: Path, *, min_free_gigabytes: float) -> Check:
    """Check the free space where the cache is, and whether this user can write there."""
    # Before the first run there is no cache yet: its disk is that of the nearest existing folder.
    existing = folder
    while not existing.exists():
        existing = existing.parent

    if not os.access(existing, os.W_OK):
        text = f"{existing} cannot be written"
        return Check("disk", "FAIL", text, "give this user the right to write there")

    free_gigabytes = shutil.disk_usage(existing).free / 1e9
    text = f"{free_gigabytes:.1f} GB free at {folder}"
    if free_gigabytes < min_free_gigabytes:
        advice = f"free some: downloads stop below {min_free_gigabytes:g} GB"
        return Check("disk", "FAIL", text, advice)
    if free_gigabytes < _ENOUGH_GIGABYTES:
        advice = "enough for sample; VGG-Sound needs about 150 GB, Urbansas 20 GB"
        return Check("disk", "warn", text, advice)
    return Check("disk", "ok", text)


def check_dvc(root: Path) -> Check:
    """Check that DVC can read what it wrote last: by itself it writes these files in place.

    Args:
        root: The checkout.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load((root / "dvc.lock").read_bytes()) or {})
        is_whole = True
    except FileNotFoundError:
        is_whole = True  # before the first run
    except (yaml.YAMLError, Invalid):
        is_whole = False
    if not is_whole:
        text = "dvc.lock is half a file, which a kill of DVC left"
        advice = "remove it, or take it from git: `dvc repro` finds results in its run cache"
        return Check("DVC", "FAIL", text, advice)

    rwlock_path = root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(rwlock_path.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        text = f"{rwlock_path} is half a file, which a kill of DVC left"
        return Check("DVC", "FAIL", text, "remove it while no DVC runs here")
    return Check("DVC", "ok", f"{read_package_version('dvc')}, its files are whole")


def check_gpu() -> Check:
    """Check what nvidia-smi says; training also runs without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", "ok", "none (no nvidia-smi): training runs on the CPU")

    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            [program, *query], capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"nvidia-smi does not answer ({type(error).__name__})"
        return Check("GPU", "warn", text, "look at the driver")

    # A driver that does not fit the kernel, for example: nvidia-smi is there but cannot answer.
    if done.returncode != 0:
        words = " ".join((done.stdout + done.stderr).split())[:200]
        advice = "look at the driver; training runs on the CPU"
        return Check("GPU", "warn", f"nvidia-smi failed: {words}", advice)

    # One line for each GPU.
    return Check("GPU", "ok", "; ".join(line.strip() for line in done.stdout.strip().split("\n")))


def check_compiled() -> Check:
    """Check which code computes optical flow.

    Both give the same bits, so no key or shard names it.
    """
    # Where no process of this machine has done so before, this compiles for some seconds.
    from pipeline.kernels.farneback import load_refine_level

    name, numba = "compiled code", read_package_version("numba")
    if load_refine_level() is not None:
        return Check(name, "ok", f"by Numba {numba}, the same bits as OpenCV's, compared just now")
    return Check(
        name,
        "warn",
        "OpenCV's own is used for optical flow, two to three times as slow: code compiled by Numba "
        f"{numba} cannot be kept on disk, or differs from it by a bit here",
        "set NUMBA_CACHE_DIR to a folder that can be written",
    )


def check_scheduler(address: str | None) -> Check:
    """Check whether something listens at the Dask scheduler's address."""
    if not address:
        return Check("Dask", "ok", "no scheduler address: features use a local cluster")

    advice = "start the scheduler, or set cluster.scheduler_address to null for a local cluster"
    # Dask also takes an address without a protocol.
    parts = urllib.parse.urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        # `port` raises for a text that is no number of a port.
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        text = f"scheduler address {address!r}, expected tcp://host:port"
        return Check("Dask", "FAIL", text, advice)

    try:
        # Only connect: asking the scheduler would need Dask, which takes a second to import.
        socket.create_connection((host, port), timeout=_SCHEDULER_SECONDS).close()
    except OSError as error:
        text = f"no scheduler answers at {address}: {_describe_error(error)}"
        return Check("Dask", "FAIL", text, advice)
    return Check("Dask", "ok", f"a scheduler listens at {address}")


def _describe_error(error: object) -> str:
    """Return an error's text in one line, without its number."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
