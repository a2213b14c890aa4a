"""Is this machine ready for a long run? Tools, disk, accelerator, cluster, and one canary for each source.

Nothing here imports torch, Dask or yt-dlp; what hangs is given up after ``_CANARY_SECONDS``.
"""

import datetime
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from earshot.errors import EarshotError
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.reasons import REASONS, classify
from pipeline.downloads.ytdlp import find_js_runtimes, read_package_version, read_program_version
from pipeline.media.ffmpeg import find_ffmpeg, read_version

_OLD_DAYS = 60
_CANARY_SECONDS = 20.0
_HOST_SECONDS = 8.0
_TOOL_SECONDS = 10.0
_YOUTUBE_CANARY = (
    "https://www.youtube.com/watch?v=jNQXAC9IVRw"  # the first video of the site, there since 2005
)
# Oldest runtimes that yt-dlp works with, in its order of preference.
_OLDEST_RUNTIMES = {"deno": (2, 3), "node": (22,), "bun": (1, 2, 11), "quickjs": (2023, 12, 9)}


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis; ``level`` is ``ok``, ``warn`` (something will be slower or missing) or ``FAIL``."""

    name: str
    level: str
    text: str
    advice: str = ""


def check_ffmpeg(source: str) -> Check:
    """Which ffmpeg is used; 8.1 is reported to break sections (yt-dlp issue 16546)."""
    try:
        path = find_ffmpeg(source)
        version = read_version(path)
    except EarshotError as error:
        return Check("ffmpeg", "FAIL", str(error), "install the package imageio-ffmpeg")
    if re.match(r"n?8\.1(?![0-9])", version):
        return Check(
            "ffmpeg",
            "warn",
            f"{version} ({path}): 8.1 is reported to break sections of long videos (yt-dlp issue 16546)",
            "set download.ffmpeg to `package` or to the path of another version",
        )
    return Check("ffmpeg", "ok", f"{version} ({path})")


def check_yt_dlp(version: str | None, *, today: datetime.date) -> Check:
    """yt-dlp must be young: sites change weekly."""
    if version is None:
        return Check("yt-dlp", "FAIL", "not installed", "pip install -U 'yt-dlp[default,deno]'")
    found = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)
    if not found:
        return Check("yt-dlp", "warn", f"{version}: a version without a date")
    num_days = (today - datetime.date(*map(int, found.groups()))).days
    if num_days > _OLD_DAYS:
        return Check(
            "yt-dlp",
            "warn",
            f"{version} is {num_days} days old",
            "pip install -U 'yt-dlp[default,deno]'",
        )
    return Check("yt-dlp", "ok", f"{version}, {max(num_days, 0)} days old")


def check_js_runtime(
    runtimes: dict[str, str], version_of: Callable[[str], str | None] = read_program_version
) -> Check:
    """YouTube hides media behind JavaScript that yt-dlp lets a runtime solve."""
    advice = "pip install deno (or node >= 22); without it most of YouTube's formats are missing"
    too_old = []
    for name, path in runtimes.items():
        version = version_of(path) or "0"
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        if numbers >= _OLDEST_RUNTIMES[name]:
            return Check("JavaScript runtime", "ok", f"{name} {version} ({path})")
        too_old.append(f"{name} {version}")
    if too_old:
        return Check(
            "JavaScript runtime", "warn", f"{', '.join(too_old)}: too old for yt-dlp", advice
        )
    return Check("JavaScript runtime", "warn", "none found (deno, node, bun, quickjs)", advice)


def check_disk(folder: Path, *, min_free_gigabytes: float) -> Check:
    """Free space where the cache is, and whether it can be written."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free_gigabytes = shutil.disk_usage(existing).free / 1e9
    text = f"{free_gigabytes:.1f} GB free at {folder}"
    if not os.access(existing, os.W_OK):
        return Check(
            "disk",
            "FAIL",
            f"{existing} cannot be written",
            "give this user the right to write there",
        )
    if free_gigabytes < min_free_gigabytes:
        return Check(
            "disk", "FAIL", text, f"free some: downloads stop below {min_free_gigabytes:g} GB"
        )
    if free_gigabytes < 20:
        return Check(
            "disk", "warn", text, "enough for sample; VGG-Sound needs about 150 GB, Urbansas 20 GB"
        )
    return Check("disk", "ok", text)


def check_gpu() -> Check:
    """What nvidia-smi says; training also runs without."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", "ok", "none (no nvidia-smi): training runs on the CPU")
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_TOOL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(
            "GPU",
            "warn",
            f"nvidia-smi does not answer ({type(error).__name__})",
            "look at the driver",
        )
    if done.returncode != 0:
        words = " ".join((done.stdout + done.stderr).split())[:200]
        return Check(
            "GPU",
            "warn",
            f"nvidia-smi failed: {words}",
            "look at the driver; training runs on the CPU",
        )
    return Check("GPU", "ok", "; ".join(line.strip() for line in done.stdout.strip().split("\n")))


def check_compiled() -> Check:
    """Which code computes flow and shrinks pictures; both give the same bits, so that no key or shard names it."""
    from pipeline.kernels.area_averages import (
        load_average_rows,
    )  # both compile for some seconds where nobody has yet
    from pipeline.kernels.farneback import load_refine_level

    name, numba = "compiled code", read_package_version("numba")
    loaded = {"optical flow": load_refine_level(), "shrinking pictures": load_average_rows()}
    left = [what for what, function in loaded.items() if function is None]
    if not left:
        return Check(name, "ok", f"by Numba {numba}, the same bits as OpenCV's, compared just now")
    return Check(
        name,
        "warn",
        f"OpenCV's own is used for {' and '.join(left)}, two to seven times as slow: code compiled by Numba "
        f"{numba} cannot be kept on disk, or differs from it by a bit here",
        "set NUMBA_CACHE_DIR to a folder that can be written",
    )


def check_scheduler(address: str | None) -> Check:
    """Whether something listens at the Dask scheduler's address."""
    if not address:
        return Check("Dask", "ok", "no scheduler address: features use a local cluster")
    advice = "start the scheduler, or set cluster.scheduler_address to null for a local cluster"
    parts = urllib.parse.urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        return Check(
            "Dask", "FAIL", f"scheduler address {address!r}, expected tcp://host:port", advice
        )
    try:
        socket.create_connection((host, port), timeout=_HOST_SECONDS).close()
    except OSError as error:
        return Check("Dask", "FAIL", f"no scheduler answers at {address}: {_words(error)}", advice)
    return Check("Dask", "ok", f"a scheduler listens at {address}")


def check_sources(
    project: Project, names: list[str], parameters: DownloadParameters
) -> list[Check]:
    """One line a dataset: are its lists, files or sites within reach? All at once, within ``_CANARY_SECONDS``."""
    answers: queue.SimpleQueue[tuple[str, Check]] = queue.SimpleQueue()
    deadline = time.monotonic() + _CANARY_SECONDS

    def look(name: str) -> None:
        try:
            answers.put((name, check_source(project, name, parameters, deadline=deadline)))
        except EarshotError as error:
            answers.put(
                (
                    name,
                    Check(name, "FAIL", str(error), f"mend section sources.{name} of params.yaml"),
                )
            )

    for name in names:
        threading.Thread(target=look, args=(name,), daemon=True).start()
    found: dict[str, Check] = {}
    while len(found) < len(names):
        try:
            name, check = answers.get(timeout=max(deadline + 1.0 - time.monotonic(), 0.01))
        except queue.Empty:
            break
        found[name] = check
    late = f"no answer within {_CANARY_SECONDS:g} s"
    return [found.get(name) or Check(name, "FAIL", late, "look at the network") for name in names]


def check_source(
    project: Project, name: str, parameters: DownloadParameters, *, deadline: float
) -> Check:
    """The canary of one dataset."""
    section = project.parameters(load(name).parameters, f"sources.{name}")
    values = {field.name: getattr(section, field.name) for field in fields(section)}
    texts = []
    for key in ("folder", "lists_dir", "annotations_dir"):
        if values.get(key):
            if not Path(values[key]).expanduser().is_dir():
                return Check(
                    name,
                    "FAIL",
                    f"sources.{name}.{key}: {values[key]} is no folder",
                    "set it to one that exists",
                )
            texts.append(f"{key} is there")
    urls = [value for key, value in values.items() if key.endswith("_url") and value]
    if values.get("folder"):
        urls = []
    elif values.get("lists_dir"):
        urls = [value for key, value in values.items() if key in ("video_url", "unlisted_url")]
    if not urls:
        return Check(name, "ok", "; ".join(texts) or "made on this machine, needs no network")
    by_host: dict[str, str] = {}
    for url in urls:
        by_host.setdefault(urllib.parse.urlsplit(url).netloc, url)
    trouble = reach_hosts(by_host, proxy=parameters.proxy, deadline=deadline)
    if trouble:
        words = "; ".join(f"{host}: {error}" for host, error in trouble.items())
        is_all = len(trouble) == len(by_host)
        return Check(
            name,
            "FAIL",
            ("no network: " if is_all else "cannot reach ") + words,
            "look at the network or download.proxy; lists can come from a folder (lists_dir), clips from `import`",
        )
    texts.append(f"{', '.join(by_host)} answer{'s' if len(by_host) == 1 else ''}")
    if any(host.endswith(("youtube.com", "youtu.be")) for host in by_host):
        check = check_video(
            name, _YOUTUBE_CANARY, parameters, limit_seconds=deadline - time.monotonic()
        )
        if check.level != "ok":
            return check
        texts.append(check.text)
    return Check(name, "ok", "; ".join(texts))


def reach_hosts(urls: dict[str, str], *, proxy: str | None, deadline: float) -> dict[str, str]:
    """What is wrong with each host that does not answer; any answer of HTTP, also a refusal, is one."""
    answers: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for host, url in urls.items():
        threading.Thread(
            target=lambda h=host, u=url: answers.put((h, _reach(u, proxy))), daemon=True
        ).start()
    found: dict[str, str | None] = {}
    while len(found) < len(urls):
        try:
            host, error = answers.get(
                timeout=max(min(deadline - time.monotonic(), 2 * _HOST_SECONDS), 0.01)
            )
        except queue.Empty:
            break
        found[host] = error
    late = dict.fromkeys(set(urls) - set(found), "no answer")
    return late | {host: error for host, error in found.items() if error is not None}


def check_video(
    name: str, url: str, parameters: DownloadParameters, *, limit_seconds: float
) -> Check:
    """Whether yt-dlp finds a format of a video (nothing is downloaded)."""
    command = [
        sys.executable,
        "-m",
        "yt_dlp",
        "--ignore-config",
        "--no-warnings",
        "--no-cache-dir",
        "--simulate",
    ]
    command += [
        "--format-sort",
        f"res:{parameters.max_height}",
        "--print",
        "%(format_id)s %(height)s",
    ]
    for runtime, path in find_js_runtimes().items():
        command += ["--js-runtimes", f"{runtime}:{path}"]
    if parameters.proxy:
        command += ["--proxy", parameters.proxy]
    copy = None
    try:
        if parameters.cookies_path:  # yt-dlp rewrites the file that it is given
            copy = _copy_cookies(parameters.cookies_path)
            command += ["--cookies", str(copy)]
        done = subprocess.run(
            [*command, "--", url],
            capture_output=True,
            text=True,
            timeout=max(limit_seconds, 1.0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(
            name, "FAIL", "the canary video gives no answer in time", "look at the network"
        )
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)
    if done.returncode == 0:
        return Check(
            name, "ok", f"the canary video can be had (format {' '.join(done.stdout.split())}p)"
        )
    text = " ".join(done.stderr.split())
    reason = classify(text)
    return Check(
        name, "FAIL", f"the canary video fails with {reason}: {text[:200]}", REASONS[reason].advice
    )


def _copy_cookies(path: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="cookies-", suffix=".txt")
    with os.fdopen(descriptor, "wb") as file:
        file.write(Path(path).read_bytes())
    return Path(name)


def _reach(url: str, proxy: str | None) -> str | None:
    url = re.sub(r"\{[^}]*\}", "x", url)
    handlers = []
    if proxy:
        if proxy.startswith("socks"):
            return None  # only yt-dlp can go through it
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    request = urllib.request.Request(
        url, method="HEAD", headers={"User-Agent": "Mozilla/5.0 (earshot doctor)"}
    )
    try:
        urllib.request.build_opener(*handlers).open(request, timeout=_HOST_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return _words(getattr(error, "reason", error))
    return None


def _words(error) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def diagnose(project: Project, names: list[str], *, scheduler_address: str | None) -> list[Check]:
    """All checks, tools first."""
    parameters = project.parameters(DownloadParameters, "download")
    checks = [
        check_ffmpeg(parameters.ffmpeg),
        check_yt_dlp(read_package_version("yt-dlp"), today=datetime.date.today()),
        check_js_runtime(find_js_runtimes()),
        check_disk(project.root / "cache", min_free_gigabytes=parameters.min_free_gigabytes),
        check_gpu(),
        check_compiled(),
        check_scheduler(scheduler_address),
    ]
    if parameters.cookies_path and not os.access(parameters.cookies_path, os.R_OK):
        checks.append(
            Check(
                "cookies", "FAIL", f"{parameters.cookies_path} cannot be read", "export them anew"
            )
        )
    return checks + check_sources(project, names, parameters)
