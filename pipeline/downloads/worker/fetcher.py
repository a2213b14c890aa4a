"""Fetch one video and make its clips.

How a video is fetched:

- ``file://``: copied, or linked where the request says so.
- ``http(s)://`` of a site that yt-dlp knows: by its extractor. Of a long video only the wanted
  sections are fetched.
- any other ``http(s)://``: by one plain request through yt-dlp's networking.

Files stay in the request's work folder until they are validated, hashed and synced. Then the engine
moves them to their place.
"""

import contextlib
import json
import os
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

from earshot.files import publish_text
from pipeline.base.disk import link_file
from pipeline.base.os_errors import is_machine_error
from pipeline.downloads.clip_files import (
    SOURCE_STEM,
    choose_suffix,
    format_path,
    path_of_file_url,
)
from pipeline.downloads.messages import (
    ClipRequest,
    ClipResult,
    FetchAnswer,
    FetchError,
    FetchRequest,
    make_failure,
)
from pipeline.downloads.parameters import FetchParameters
from pipeline.downloads.worker.make_clip import ClipMedia, make_clip
from pipeline.downloads.worker.plain_http import fetch_plainly
from pipeline.downloads.worker.ytdlp import SiteDownloader

_UNFINISHED_SUFFIXES = (".part", ".ytdl", ".temp", ".download")


class Fetcher:
    """Fetches videos, one after another."""

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._sites = SiteDownloader(parameters, private_dir=private_dir)

    def fetch(self, request: FetchRequest) -> FetchAnswer:
        """Fetch one video and make its clips; failures are results, not exceptions."""
        work_dir = Path(request["work_dir"])
        results: dict[str, ClipResult] = {}
        failure: ClipResult = {"outcome": "failed"}
        retry_after_seconds = None

        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            media = self._get_media(request, work_dir)
            for clip in request["clips"]:
                results[clip["clip_id"]] = make_clip(
                    clip, media[clip["clip_id"]], request, work_dir, self._parameters
                )
        except FetchError as error:
            retry_after_seconds = error.retry_after_seconds
            failure = make_failure(error.reason, error.text)
        except (OSError, MemoryError) as error:
            # A full disk is not the fault of the video.
            reason = "local" if is_machine_error(error) else None
            failure = make_failure(reason, f"{type(error).__name__}: {error}")

        # Clips that were finished before the error keep their result.
        clips: list[ClipResult] = [
            {**results.get(clip["clip_id"], failure), "clip_id": clip["clip_id"]}
            for clip in request["clips"]
        ]
        return {"clips": clips, "retry_after_seconds": retry_after_seconds}

    def prepare(self, url: str) -> None:
        """Load yt-dlp now, so that the first request is sent at the moment that the pace gives."""
        if url.startswith("file:"):
            return  # a file of this machine needs no yt-dlp

        # yt-dlp compiles the patterns of all its sites when the first URL is compared with them.
        with contextlib.suppress(ValueError):  # not an address; its request reports it
            self._sites.is_known_site(url)

    def close(self) -> None:
        """Let yt-dlp write its cookies and remove the worker's private folder."""
        self._sites.close()

    def _get_media(self, request: FetchRequest, work_dir: Path) -> dict[str, ClipMedia]:
        """Return for each clip the file that contains it, by clip id."""
        url = request["url"]
        try:
            scheme = urllib.parse.urlsplit(url).scheme.lower()
        except ValueError as error:
            raise FetchError(f"{url}: is not an address: {error}", reason="unknown") from None

        # A file of this machine is read again each time: it may have changed.
        if scheme == "file":
            path = self._get_file(path_of_file_url(url), work_dir, is_linked=request["is_linked"])
            return _same_media(path, request["clips"])

        # A killed worker may have fetched the whole video: then send no request.
        self._forget_other_settings(work_dir)
        found = find_source(work_dir)
        if found is not None:
            return _same_media(found, request["clips"])

        if scheme not in ("http", "https"):
            raise FetchError(
                f"{url}: has scheme {scheme!r}, expected file, http or https", reason="unknown"
            )
        if self._sites.is_known_site(url):
            return self._get_from_site(url, request["clips"], work_dir)

        # A plain request may find a playlist, or be redirected to a site that yt-dlp knows.
        plain = fetch_plainly(
            url, work_dir, sites=self._sites, max_gigabytes=self._parameters.max_gigabytes
        )
        if plain.path is None:
            return self._get_from_site(plain.url, request["clips"], work_dir)
        return _same_media(plain.path, request["clips"])

    def _forget_other_settings(self, work_dir: Path) -> None:
        """Remove what an earlier run fetched with other settings; note those of this run."""
        stamp_path = work_dir / "settings.json"
        stamp = json.dumps([self._parameters.max_height, self._parameters.format])
        if not stamp_path.exists() or stamp_path.read_text() != stamp:
            shutil.rmtree(work_dir)
            work_dir.mkdir()
            publish_text(stamp_path, stamp)

    def _get_file(self, path: Path, work_dir: Path, *, is_linked: bool) -> Path:
        """Copy or link a file of this machine into the work folder."""
        if not path.exists():
            raise FetchError(f"{format_path(path)}: no such file", reason="gone")
        if not path.is_file():
            raise FetchError(f"{format_path(path)}: is not a file", reason="gone")
        if not os.access(path, os.R_OK):
            raise FetchError(f"{format_path(path)}: may not be read by this user", reason="unknown")

        # The copy gets a plain name, because the user's file name may contain any characters.
        target_path = work_dir / f"{SOURCE_STEM}{choose_suffix(path.name)}"
        if is_linked:
            link_file(path, target_path, otherwise="symlink")
            return target_path

        max_gigabytes = self._parameters.max_gigabytes
        if path.stat().st_size > max_gigabytes * 1e9:
            raise FetchError(
                f"{format_path(path)}: larger than download.max_gigabytes ({max_gigabytes:g})",
                reason="too_large",
            )
        # A killed worker may have left a copy of an older file.
        target_path.unlink(missing_ok=True)
        shutil.copyfile(path, target_path)
        return target_path

    def _get_from_site(
        self, url: str, clips: list[ClipRequest], work_dir: Path
    ) -> dict[str, ClipMedia]:
        """Fetch through an extractor, once for all clips."""
        choose_ranges = _SectionChooser(clips, self._parameters)
        info = self._sites.download(url, work_dir, download_ranges=choose_ranges)

        # Without a section number the file is the whole video.
        media = {}
        for download in info["requested_downloads"]:
            path, number = Path(download["filepath"]), download.get("section_number")
            if number is None:
                return _same_media(path, clips)
            media[clips[number - 1]["clip_id"]] = ClipMedia(path, is_section=True)

        # Sections that begin after the end of the video were not fetched.
        for clip in clips:
            media.setdefault(clip["clip_id"], ClipMedia(None))
        return media


class _SectionChooser:
    """Tells yt-dlp which parts of a video to fetch, when it knows how long the video is."""

    def __init__(self, clips: list[ClipRequest], parameters: FetchParameters):
        self._num_clips = len(clips)
        self._sections = {
            number: (clip["start_seconds"] or 0.0, clip["end_seconds"])
            for number, clip in enumerate(clips, start=1)
            if clip["end_seconds"] is not None
        }
        self._above_seconds = parameters.section_above_seconds
        self._has_socks_proxy = (parameters.proxy or "").startswith("socks")

    def __call__(self, info: dict[str, Any], _downloader: object) -> list[dict[str, Any]]:
        duration = info.get("duration")
        # A clip without an end is the whole video.
        wants_whole = len(self._sections) < self._num_clips
        is_short = duration is not None and duration <= self._above_seconds
        # yt-dlp lets ffmpeg fetch sections, and ffmpeg cannot use a SOCKS proxy.
        if wants_whole or is_short or self._has_socks_proxy:
            return [{}]

        # The index comes back as the section number of the file.
        ranges = [
            {"start_time": start, "end_time": end, "index": number}
            for number, (start, end) in self._sections.items()
            if duration is None or start < duration
        ]
        if not ranges:
            raise FetchError(
                f"the video lasts {duration:g} s and ends before the section", reason="too_short"
            )
        return ranges


def _same_media(path: Path, clips: list[ClipRequest]) -> dict[str, ClipMedia]:
    return {clip["clip_id"]: ClipMedia(path) for clip in clips}


def find_source(work_dir: Path) -> Path | None:
    """Return the whole video that a killed worker left, None if there is none.

    yt-dlp and ``fetch_plainly`` rename a file to this name only when it is complete.
    """
    for path in sorted(work_dir.glob(f"{SOURCE_STEM}.*")):
        if path.suffix not in _UNFINISHED_SUFFIXES and path.stem == SOURCE_STEM:
            return path
    return None
