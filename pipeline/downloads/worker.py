"""Fetch one video and make its clips: the work of one worker process (``python -m pipeline.downloads.worker``).

The process reads requests, one JSON object a line, from its standard input and answers each with one line on its
standard output. It is alone in its process group: when its parent closes the pipe or dies, it kills the group (itself,
ffmpeg, a JavaScript runtime), so that no orphan goes on downloading. ``pipeline/downloads/worker_pool.py`` is the other side.

How a video is fetched:

- ``file://``: through yt-dlp (a copy), or linked where the dataset is the user's own (``is_linked``).
- ``http(s)://`` of a site that yt-dlp knows: through its extractor, only the wanted sections when the video is long.
- any other ``http(s)://``: one plain request through yt-dlp's networking (its proxy, cookies and headers).

What arrives lies in the request's work folder until it was validated, hashed and synced; the parent publishes it.
"""

import json
import os
import queue
import signal
import sys
import threading
import urllib.parse
from pathlib import Path

from pipeline.base.disk import link_file
from pipeline.base.parameters import build
from pipeline.downloads.make_clip import ClipMedia, finish_clip
from pipeline.downloads.messages import (
    SOURCE_STEM,
    FetchError,
    FetchParameters,
    failed_outcome,
    path_of_file_url,
    printable,
    suffix_of,
)
from pipeline.downloads.plain_http import fetch_plainly
from pipeline.downloads.ytdlp import SiteDownloader

_UNFINISHED_SUFFIXES = (".part", ".ytdl", ".temp", ".download")


class Fetcher:
    """Fetches videos one after another."""

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._sites = SiteDownloader(parameters, private_dir=private_dir)

    def fetch(self, request: dict) -> dict:
        """The results of a request of ``pipeline/downloads/engine.py``: ``{"clips": [...], "retry_after_seconds": ...}``."""
        work_dir = Path(request["work_dir"])
        results, retry_after_seconds, failure = {}, None, None
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            media = self._get_media(request, work_dir)
            for clip in request["clips"]:
                results[clip["clip_id"]] = finish_clip(
                    clip, media[clip["clip_id"]], request, work_dir, self._parameters
                )
        except FetchError as error:
            retry_after_seconds = error.retry_after_seconds
            failure = failed_outcome(error.reason, error.text)
        except OSError as error:
            failure = failed_outcome(None, f"{type(error).__name__}: {error}")
        clips = [
            {"clip_id": clip["clip_id"], **results.get(clip["clip_id"], failure or {})}
            for clip in request["clips"]
        ]
        return {"clips": clips, "retry_after_seconds": retry_after_seconds}

    def prepare(self, url: str) -> None:
        """Load yt-dlp before the first video, which is then asked for when the engine says so, not a second later."""
        self._sites.instance(is_file=url.startswith("file:"))

    def close(self) -> None:
        """Let yt-dlp write its cookies; nothing of this worker remains."""
        self._sites.close()

    # --- getting the bytes

    def _get_media(self, request: dict, work_dir: Path) -> dict[str, ClipMedia]:
        """For each clip the file that it is in."""
        url = request["url"]
        try:
            scheme = urllib.parse.urlsplit(url).scheme.lower()
        except ValueError as error:
            raise FetchError(f"{url}: is not an address: {error}", reason="unknown") from None
        # A killed worker's file is kept where fetching costs somebody something; a file of this machine is read anew.
        path = find_source(work_dir) if scheme != "file" else None
        if path is None:
            if scheme == "file":
                path = self._get_file(
                    path_of_file_url(url), work_dir, is_linked=request["is_linked"]
                )
            elif scheme not in ("http", "https"):
                raise FetchError(
                    f"{url}: has scheme {scheme!r}, expected file, http or https", reason="unknown"
                )
            elif self._sites.is_known_site(url):
                return self._get_from_site(request, work_dir)
            else:
                path, site_url = fetch_plainly(
                    url,
                    work_dir,
                    open_url=self._sites.instance().urlopen,
                    is_known_site=self._sites.is_known_site,
                    max_gigabytes=self._parameters.max_gigabytes,
                )
                if path is None:
                    return self._get_from_site(dict(request, url=site_url), work_dir)
        return {clip["clip_id"]: ClipMedia(path) for clip in request["clips"]}

    def _get_file(self, path: Path, work_dir: Path, *, is_linked: bool) -> Path:
        if not path.exists():
            raise FetchError(f"{printable(path)}: no such file", reason="gone")
        if not path.is_file():
            raise FetchError(f"{printable(path)}: is not a file", reason="gone")
        if not os.access(path, os.R_OK):
            raise FetchError(f"{printable(path)}: may not be read by this user", reason="unknown")
        if is_linked:
            target_path = work_dir / f"{SOURCE_STEM}{suffix_of(path.name)}"
            link_file(path, target_path, otherwise="symlink")
            return target_path
        # A plain name of our own: the user's may hold anything.
        alias_path = work_dir / f"alias{suffix_of(path.name)}"
        alias_path.unlink(missing_ok=True)
        alias_path.symlink_to(path)
        info = self._sites.download(alias_path.as_uri(), work_dir, is_file=True)
        alias_path.unlink()
        return Path(info["requested_downloads"][0]["filepath"])

    def _get_from_site(self, request: dict, work_dir: Path) -> dict[str, ClipMedia]:
        """Through an extractor, once for all clips: the whole of a short video, the wanted sections of a long one."""
        sections = {
            number: (clip["start_seconds"] or 0.0, clip["end_seconds"])
            for number, clip in enumerate(request["clips"], start=1)
            if clip["end_seconds"] is not None
        }
        wants_whole = len(sections) < len(request["clips"])

        def choose_ranges(info, _downloader):
            duration = info.get("duration")
            is_short = duration is not None and duration <= self._parameters.section_above_seconds
            # yt-dlp hands sections to ffmpeg, which knows no SOCKS proxy.
            if wants_whole or is_short or (self._parameters.proxy or "").startswith("socks"):
                return [{}]
            ranges = [
                {"start_time": start, "end_time": end, "index": number}
                for number, (start, end) in sections.items()
                if duration is None or start < duration
            ]
            if not ranges:
                raise FetchError(
                    f"the video lasts {duration:g} s and ends before the section",
                    reason="too_short",
                )
            return ranges

        info = self._sites.download(request["url"], work_dir, download_ranges=choose_ranges)
        media = {}
        for download in info["requested_downloads"]:
            path, number = Path(download["filepath"]), download.get("section_number")
            if number is None:
                return {clip["clip_id"]: ClipMedia(path) for clip in request["clips"]}
            media[request["clips"][number - 1]["clip_id"]] = ClipMedia(path, is_section=True)
        for clip in request["clips"]:
            media.setdefault(clip["clip_id"], ClipMedia(None))
        return media


def find_source(work_dir: Path) -> Path | None:
    """What a killed worker had fetched wholly: yt-dlp and ``fetch_plainly`` rename only what is complete."""
    for path in sorted(work_dir.glob(f"{SOURCE_STEM}.*")):
        if path.suffix not in _UNFINISHED_SUFFIXES and path.stem == SOURCE_STEM:
            return path
    return None


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not reach the parent as an answer
    requests = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    settings = requests.get()
    fetcher = Fetcher(
        build(FetchParameters, settings["parameters"], "download"),
        private_dir=Path(settings["private_dir"]),
    )
    if settings["first_url"] is not None:
        fetcher.prepare(settings["first_url"])
    answers.write(json.dumps({"is_ready": True}).encode() + b"\n")
    while True:
        request = requests.get()
        if request is None:
            break
        answer = fetcher.fetch(request)
        answers.write(json.dumps(answer).encode() + b"\n")
    fetcher.close()


def _read_requests(requests: queue.SimpleQueue) -> None:
    """Queue each line; at the end of the pipe (the parent is gone) end the whole process group at once."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
