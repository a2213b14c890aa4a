"""Check whether the sources of each dataset can be reached: folders, hosts, one canary video.

All datasets are checked at the same time, and all hosts of a dataset too. What does not answer
within ``_CANARY_SECONDS`` counts as unreachable: the threads are not waited for.
"""

import contextlib
import json
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import requests

from earshot.errors import EarshotError
from pipeline.base.http import describe_error, open_session, open_url
from pipeline.base.project import Project
from pipeline.commands.doctor_checks import Check
from pipeline.datasets.dataset import load
from pipeline.downloads.account.reasons import REASONS, classify
from pipeline.downloads.browser_cookies import use_browser_cookies
from pipeline.downloads.parameters import DownloadParameters

_CODE_ROOT = Path(__file__).resolve().parents[2]
_CANARY_SECONDS = 20.0
_HOST_SECONDS = 8.0
_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")  # says nothing to a user

# The first video of the site, there since 2005.
_YOUTUBE_CANARY = "https://www.youtube.com/watch?v=jNQXAC9IVRw"

# Parameters of a dataset's section that name folders, and URLs that are needed beside its lists.
_FOLDER_KEYS = ("folder", "lists_dir", "annotations_dir", "media_dir")
_CLIP_URL_KEYS = ("video_url", "unlisted_url")


def check_sources(
    project: Project, names: Sequence[str], parameters: DownloadParameters
) -> list[Check]:
    """Check all datasets at once, within ``_CANARY_SECONDS``; one line a dataset."""
    answers: queue.SimpleQueue[tuple[str, Check]] = queue.SimpleQueue()
    deadline = time.monotonic() + _CANARY_SECONDS

    def answer(name: str) -> None:
        """Check one dataset; runs in a thread."""
        try:
            check = check_source(project, name, parameters, deadline=deadline)
        except EarshotError as error:
            advice = f"mend section sources.{name} of params.yaml"
            check = Check(name, "FAIL", str(error), advice)
        answers.put((name, check))

    # Daemons: a host that never answers must not keep this process from ending.
    for name in names:
        threading.Thread(target=answer, args=(name,), daemon=True).start()

    # The checks end at the deadline themselves. One second more lets their answers arrive.
    found: dict[str, Check] = {}
    with contextlib.suppress(queue.Empty):
        while len(found) < len(names):
            name, check = answers.get(timeout=max(deadline + 1.0 - time.monotonic(), 0.01))
            found[name] = check

    late = f"no answer within {_CANARY_SECONDS:g} s"
    return [found.get(name) or Check(name, "FAIL", late, "look at the network") for name in names]


def check_source(
    project: Project, name: str, parameters: DownloadParameters, *, deadline: float
) -> Check:
    """Check one dataset: its folders, then its hosts, then a video."""
    section: Any = project.parameters(load(name).parameters, f"sources.{name}")
    values = {field.name: getattr(section, field.name) for field in fields(section)}

    # Folders first: a dataset with folders of its own needs fewer hosts, or none (`_list_urls`).
    facts = []
    for key in _FOLDER_KEYS:
        if values.get(key):
            if not Path(values[key]).expanduser().is_dir():
                text = f"sources.{name}.{key}: {values[key]} is no folder"
                return Check(name, "FAIL", text, "set it to one that exists")
            facts.append(f"{key} is there")

    by_host: dict[str, str] = {}  # one URL a host
    for url in _list_urls(values):
        by_host.setdefault(urllib.parse.urlsplit(url).netloc, url)
    if not by_host:
        return Check(name, "ok", "; ".join(facts) or "made on this machine, needs no network")

    if not parameters.network:
        facts.append("network is off (download.network): no site is asked")
        return Check(name, "ok", "; ".join(facts))

    errors = find_unreachable(by_host, proxy=parameters.proxy, deadline=deadline)
    if errors:
        words = "; ".join(f"{host}: {error}" for host, error in errors.items())
        # If no host answers at all, this machine probably has no network.
        beginning = "no network: " if len(errors) == len(by_host) else "cannot reach "
        return Check(
            name,
            "FAIL",
            beginning + words,
            "look at the network or download.proxy; lists can come from a folder (lists_dir), "
            "clips from `import`",
        )
    facts.append(f"{', '.join(by_host)} answer{'s' if len(by_host) == 1 else ''}")

    # YouTube's host also answers machines that it refuses: only a video shows whether it works.
    if any(host.endswith(("youtube.com", "youtu.be")) for host in by_host):
        seconds = deadline - time.monotonic()
        check = check_video(name, _YOUTUBE_CANARY, parameters, limit_seconds=seconds)
        if check.level != "ok":
            return check
        facts.append(check.text)
    return Check(name, "ok", "; ".join(facts))


def _list_urls(values: dict[str, Any]) -> list[str]:
    """Return the URLs that the dataset needs: none with its own folder, fewer with its lists."""
    if values.get("folder"):
        return []
    if values.get("lists_dir"):
        return [values[key] for key in _CLIP_URL_KEYS if values.get(key)]
    return [value for key, value in values.items() if key.endswith("_url") and value]


def find_unreachable(urls: dict[str, str], *, proxy: str | None, deadline: float) -> dict[str, str]:
    """Return what is wrong with each host that does not answer.

    Args:
        urls: one URL for each host.
        proxy: of section ``download``.
        deadline: on the clock of ``time.monotonic``.

    Returns:
        A description of the error by host. A host that answers with an HTTP error is reachable.
    """
    answers: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()

    def answer(host: str, url: str) -> None:
        """Ask one host; runs in a thread."""
        answers.put((host, _find_error(url, proxy)))

    for host, url in urls.items():
        threading.Thread(target=answer, args=(host, url), daemon=True).start()

    # A host that gives no answer in time keeps this text.
    found: dict[str, str | None] = dict.fromkeys(urls, "no answer")
    with contextlib.suppress(queue.Empty):
        for _ in urls:
            # A host may use its limit twice: to connect, and until it sends something.
            seconds = min(deadline - time.monotonic(), 2 * _HOST_SECONDS)
            host, error = answers.get(timeout=max(seconds, 0.01))
            found[host] = error
    return {host: error for host, error in found.items() if error is not None}


def _find_error(url: str, proxy: str | None) -> str | None:
    """Return why a URL cannot be reached; None if any HTTP answer comes."""
    url = re.sub(r"\{[^}]*\}", "x", url)  # a template such as .../{video_id}
    try:
        with (
            open_session(proxy=proxy or None) as session,
            open_url(url, session=session, timeout_seconds=_HOST_SECONDS),
        ):
            return None
    except requests.HTTPError:
        # Also an error is an answer: the host can be reached.
        return None
    except (requests.RequestException, ValueError) as error:
        return _ERROR_NUMBER.sub("", describe_error(error))


def check_video(
    name: str, url: str, parameters: DownloadParameters, *, limit_seconds: float
) -> Check:
    """Check whether yt-dlp finds a format of a video; nothing is downloaded."""
    command = [sys.executable, "-m", "pipeline.downloads.worker.canary"]
    with use_browser_cookies(parameters) as own:
        # Not on the command line, which every user of this machine can read.
        request = json.dumps({"parameters": asdict(own.for_workers()), "url": url})
        try:
            done = subprocess.run(
                command,
                input=request,
                cwd=_CODE_ROOT,
                capture_output=True,
                text=True,
                # The hosts may have used up the time: give yt-dlp a second all the same.
                timeout=max(limit_seconds, 1.0),
                check=False,
            )
        except subprocess.TimeoutExpired:
            text = "the canary video gives no answer in time"
            return Check(name, "FAIL", text, "look at the network")

    if done.returncode == 0:
        words = " ".join(done.stdout.split())
        return Check(name, "ok", f"the canary video can be had (format {words}p)")

    # Downloads classify the same texts, so the advice fits what a run would meet.
    text = parameters.hide_secrets(" ".join(done.stderr.split()))
    reason = REASONS[classify(text)]
    text = f"the canary video fails with {reason.name}: {text[:200]}"
    return Check(name, "FAIL", text, reason.advice)
