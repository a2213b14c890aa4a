"""Fetch one video and make its clips: the work of one worker process (``python -m pipeline.fetching``).

The process reads requests, one JSON object a line, from its standard input and answers each with one line on its
standard output. It is alone in its process group: when its parent closes the pipe or dies, it kills the group (itself,
ffmpeg, a JavaScript runtime), so that no orphan goes on downloading. ``pipeline/workers.py`` is the other side.

How a video is fetched:

- ``file://``: through yt-dlp (a copy), or linked where the dataset is the user's own (``is_linked``).
- ``http(s)://`` of a site that yt-dlp knows: through its extractor, only the wanted sections when the video is long.
- any other ``http(s)://``: one plain request through yt-dlp's networking (its proxy, cookies and headers).

What arrives lies in the request's work folder until it was validated, hashed and synced; the parent publishes it.
"""

import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from pipeline.cutting import CuttingError, cut_clip
from pipeline.errors import MediaError
from pipeline.failures import classify
from pipeline.ffmpeg import find_ffmpeg
from pipeline.files import sha256_of, sync
from pipeline.parameters import build
from pipeline.tools import find_js_runtimes
from pipeline.validation import ValidationParameters, look_at_source, validate_clip

SOURCE_STEM = "source"
_BLOCK_BYTES = 1 << 18
_PAGE_BYTES = 1 << 16
_PAGE_CHARACTERS = 2000
_ANY_HEIGHT = 1 << 20
_WHOLE_SLACK_SECONDS = 0.1  # a file that is longer than its section by less is not encoded again
_UNFINISHED_SUFFIXES = (".part", ".ytdl", ".temp", ".download")
_PLAIN_SUFFIXES = {
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".flv",
    ".ts",
    ".mpg",
    ".mpeg",
    ".3gp",
    ".ogv",
    ".wmv",
}


@dataclass(frozen=True)
class FetchParameters:
    """What a worker needs to know; built by the engine from ``DownloadParameters``."""

    max_height: int
    format: str | None
    ffmpeg: str
    cookies_path: str | None
    proxy: str | None
    num_site_retries: int
    socket_timeout_seconds: float
    time_limit_seconds: float
    section_above_seconds: float
    max_gigabytes: float
    validation: ValidationParameters


class FetchError(Exception):
    """A video could not be had; ``text`` is raw. ``reason`` None: to be read from the text."""

    def __init__(self, text: str, *, reason: str | None = None, retry_after_seconds: float | None = None):
        super().__init__(text)
        self.text, self.reason, self.retry_after_seconds = text, reason, retry_after_seconds


class Fetcher:
    """Fetches videos one after another, with one yt-dlp instance for files and one for sites."""

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._private_dir = private_dir
        self._downloaders = {}

    def fetch(self, request: dict) -> dict:
        """The results of a request of ``pipeline/downloads.py``: ``{"clips": [...], "retry_after_seconds": ...}``."""
        work_dir = Path(request["work_dir"])
        results, retry_after_seconds, failure = {}, None, None
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            media = self._get_media(request, work_dir)
            for clip in request["clips"]:
                results[clip["clip_id"]] = self._finish_clip(clip, media[clip["clip_id"]], request, work_dir)
        except FetchError as error:
            retry_after_seconds = error.retry_after_seconds
            failure = _failure(error.reason, error.text)
        except OSError as error:
            failure = _failure(None, f"{type(error).__name__}: {error}")
        clips = [
            {"clip_id": clip["clip_id"], **results.get(clip["clip_id"], failure or {})} for clip in request["clips"]
        ]
        return {"clips": clips, "retry_after_seconds": retry_after_seconds}

    def prepare(self, url: str) -> None:
        """Load yt-dlp before the first video, which is then asked for when the engine says so, not a second later."""
        self._yt_dlp(is_file=url.startswith("file:"))

    def close(self) -> None:
        """Let yt-dlp write its cookies; nothing of this worker remains."""
        for downloader in self._downloaders.values():
            downloader.close()
        shutil.rmtree(self._private_dir, ignore_errors=True)

    # --- getting the bytes

    def _get_media(self, request: dict, work_dir: Path) -> dict[str, "_Media"]:
        """For each clip the file that it is in."""
        url = request["url"]
        scheme = urllib.parse.urlsplit(url).scheme.lower()
        # A killed worker's file is kept where fetching costs somebody something; a file of this machine is read anew.
        path = find_source(work_dir) if scheme != "file" else None
        if path is None:
            if scheme == "file":
                path = self._get_file(path_of_file_url(url), work_dir, is_linked=request["is_linked"])
            elif scheme not in ("http", "https"):
                raise FetchError(f"{url}: has scheme {scheme!r}, expected file, http or https", reason="unknown")
            elif self._is_known_site(url):
                return self._get_from_site(request, work_dir)
            else:
                path, site_url = self._get_plain(url, work_dir)
                if path is None:
                    return self._get_from_site(dict(request, url=site_url), work_dir)
        return {clip["clip_id"]: _Media(path) for clip in request["clips"]}

    def _get_file(self, path: Path, work_dir: Path, *, is_linked: bool) -> Path:
        if not path.exists():
            raise FetchError(f"{printable(path)}: no such file", reason="gone")
        if not path.is_file():
            raise FetchError(f"{printable(path)}: is not a file", reason="gone")
        if not os.access(path, os.R_OK):
            raise FetchError(f"{printable(path)}: may not be read by this user", reason="unknown")
        if is_linked:
            target_path = work_dir / f"{SOURCE_STEM}{_suffix_of(path.name)}"
            link(path, target_path)
            return target_path
        # A plain name of our own: the user's may hold anything.
        alias_path = work_dir / f"alias{_suffix_of(path.name)}"
        alias_path.unlink(missing_ok=True)
        alias_path.symlink_to(path)
        info = self._download(alias_path.as_uri(), work_dir, is_file=True)
        alias_path.unlink()
        return Path(info["requested_downloads"][0]["filepath"])

    def _get_plain(self, url: str, work_dir: Path) -> tuple[Path | None, str]:
        """One request: the file and where it came from; None when yt-dlp is to read what is there.

        That is a playlist, or a page of a site that it knows and that the request was redirected to.
        """
        from yt_dlp.networking import Request
        from yt_dlp.networking.exceptions import HTTPError, RequestError

        temporary_path = work_dir / f"{SOURCE_STEM}.download"
        try:
            with self._yt_dlp().urlopen(Request(url, headers={"Accept-Encoding": "identity"})) as response:
                content_type = (response.headers.get("Content-Type") or "").split(";")[0].strip().lower()
                announced = response.headers.get("Content-Length")
                block = response.read(_BLOCK_BYTES)
                if "mpegurl" in content_type or block.startswith(b"#EXTM3U") or content_type == "application/dash+xml":
                    return None, response.url
                if content_type in ("text/html", "application/xhtml+xml") or is_html(block):
                    if response.url != url and self._is_known_site(response.url):
                        return None, response.url
                    page = text_of_page(block)
                    raise FetchError(f"the server sent a web page, expected a video; the page says: {page}")
                num_bytes = 0
                with open(temporary_path, "wb") as file:
                    while block:
                        num_bytes += len(block)
                        self._require_allowed_size(num_bytes)
                        file.write(block)
                        block = response.read(_BLOCK_BYTES)
                if num_bytes == 0:
                    raise FetchError("the downloaded file is empty")
                if announced is not None and announced.isdigit() and int(announced) != num_bytes:
                    raise FetchError(f"content too short: {num_bytes} bytes read, {announced} announced")
        except HTTPError as error:
            text = f"HTTP Error {error.status}: {error.reason}"
            if error.status not in (404, 410):  # their pages say nothing more, but may say it in misleading words
                page = _page_of(error.response)
                text = f"{text}; the page says: {page}" if page else text
            waiting = seconds_to_wait(error.response.headers.get("Retry-After"))
            raise FetchError(text, retry_after_seconds=waiting) from None
        except RequestError as error:
            raise FetchError(f"{type(error).__name__}: {error}") from None
        path = work_dir / f"{SOURCE_STEM}{_suffix_of(urllib.parse.urlsplit(url).path, content_type)}"
        os.replace(temporary_path, path)
        return path, url

    def _require_allowed_size(self, num_bytes: int) -> None:
        if num_bytes > self._parameters.max_gigabytes * 1e9:
            raise FetchError(
                f"larger than download.max_gigabytes ({self._parameters.max_gigabytes:g})", reason="too_large"
            )

    def _get_from_site(self, request: dict, work_dir: Path) -> dict[str, "_Media"]:
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
                raise FetchError(f"the video lasts {duration:g} s and ends before the section", reason="too_short")
            return ranges

        info = self._download(request["url"], work_dir, download_ranges=choose_ranges)
        media = {}
        for download in info["requested_downloads"]:
            path, number = Path(download["filepath"]), download.get("section_number")
            if number is None:
                return {clip["clip_id"]: _Media(path) for clip in request["clips"]}
            media[request["clips"][number - 1]["clip_id"]] = _Media(path, is_section=True)
        for clip in request["clips"]:
            media.setdefault(clip["clip_id"], _Media(None))
        return media

    def _download(self, url: str, work_dir: Path, *, is_file: bool = False, download_ranges=None) -> dict:
        from yt_dlp.utils import DownloadError, YoutubeDLError

        downloader = self._yt_dlp(is_file=is_file)
        folder = str(work_dir).replace("%", "%%")
        downloader.params["outtmpl"]["default"] = (
            f"{folder}/{SOURCE_STEM}%(section_number&-|)s%(section_number|)s.%(ext)s"
        )
        downloader.params.pop("download_ranges", None)
        if download_ranges is not None:
            downloader.params["download_ranges"] = download_ranges
        try:
            info = downloader.extract_info(url, ie_key="Generic" if is_file else None)
        except DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            raise FetchError(_text_of(error, cause), retry_after_seconds=_retry_after_of(cause)) from None
        except YoutubeDLError as error:
            raise FetchError(_text_of(error, error)) from None
        except (FetchError, OSError):
            raise
        except Exception as error:  # a bug of an extractor costs its video, not the worker
            raise FetchError(f"{type(error).__name__}: {error}") from error
        downloads = (info or {}).get("requested_downloads") or []
        if not downloads:
            raise FetchError("yt-dlp returned no file (a playlist or a page without a video)")
        if any(not os.path.exists(download["filepath"]) for download in downloads):
            # What yt-dlp does with files above max_filesize: no error, no file.
            raise FetchError(
                f"yt-dlp left no file; larger than download.max_gigabytes ({self._parameters.max_gigabytes:g})?"
            )
        return info

    def _is_known_site(self, url: str) -> bool:
        """Whether yt-dlp has an extractor of its own for the URL."""
        extractors = self._yt_dlp()._ies
        return any(key != "Generic" and extractor.suitable(url) for key, extractor in extractors.items())

    def _yt_dlp(self, *, is_file: bool = False):
        if is_file not in self._downloaders:
            import yt_dlp
            from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

            options = self._options(is_file=is_file)
            # Sections look here, not at the option.
            FFmpegPostProcessor._ffmpeg_location.set(options["ffmpeg_location"])
            self._downloaders[is_file] = yt_dlp.YoutubeDL(options)
        return self._downloaders[is_file]

    def _options(self, *, is_file: bool) -> dict:
        parameters = self._parameters
        options = {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "color": "never",
            "logger": _SilentLogger(),
            "cachedir": False,
            "enable_file_urls": is_file,  # never for sites: their playlists could name files of this machine
            "noplaylist": True,
            "format": parameters.format or "bv*+ba/b",
            "format_sort": [f"res:{parameters.max_height}", "vcodec:h264", "acodec:m4a"],
            "merge_output_format": "mp4/mkv",
            "force_keyframes_at_cuts": True,
            "overwrites": True,
            "continuedl": False,
            "updatetime": False,
            "retries": parameters.num_site_retries,
            "fragment_retries": parameters.num_site_retries,
            "extractor_retries": parameters.num_site_retries,
            "skip_unavailable_fragments": False,
            "socket_timeout": parameters.socket_timeout_seconds,
            "max_filesize": int(parameters.max_gigabytes * 1e9),
            "ffmpeg_location": str(find_ffmpeg(parameters.ffmpeg)),
            "js_runtimes": {name: {"path": path} for name, path in find_js_runtimes().items()},
            "outtmpl": {"default": f"{SOURCE_STEM}.%(ext)s"},
        }
        if parameters.proxy:
            options["proxy"] = parameters.proxy
        if parameters.cookies_path and not is_file:
            self._private_dir.mkdir(parents=True, exist_ok=True)
            cookies_path = self._private_dir / "cookies.txt"  # yt-dlp rewrites it on closing
            cookies_path.touch(mode=0o600)
            shutil.copyfile(parameters.cookies_path, cookies_path)
            options["cookiefile"] = str(cookies_path)
        return options

    # --- from what arrived to a clip

    def _finish_clip(self, clip: dict, media: "_Media", request: dict, work_dir: Path) -> dict:
        try:
            return self._make_clip(clip, media, request, work_dir)
        except MediaError as error:
            return _failure(error.reason, str(error))
        except CuttingError as error:
            return _failure(None, str(error))

    def _make_clip(self, clip: dict, media: "_Media", request: dict, work_dir: Path) -> dict:
        parameters, path = self._parameters, media.path
        if path is None:
            raise MediaError("too_short", "the video ends before the section begins")
        start_seconds, end_seconds = clip["start_seconds"] or 0.0, clip["end_seconds"]
        wanted_seconds = None if end_seconds is None else end_seconds - start_seconds
        source = look_at_source(path)
        source_sha256 = None
        ends_there = end_seconds is None or (
            source.duration_seconds is not None and source.duration_seconds <= end_seconds + _WHOLE_SLACK_SECONDS
        )
        is_whole = media.is_section or (start_seconds == 0 and ends_there)
        is_small = request["is_linked"] or source.short_side <= parameters.max_height
        facts = None
        if not is_whole or not is_small:
            # Only a source with both streams can be cut; the others are refused for what they lack.
            if source.video_index is None or source.audio_index is None:
                facts = validate_clip(path, wanted_seconds=None, parameters=parameters.validation)
            if (
                source.duration_seconds is not None
                and not media.is_section
                and source.duration_seconds <= start_seconds
            ):
                raise MediaError(
                    "too_short", f"lasts {source.duration_seconds:.2f} s, the section begins at {start_seconds:g} s"
                )
            if request["url"].startswith("file:"):
                source_sha256 = sha256_of(path)
            cut_path = work_dir / f"cut-{clip['file_stem']}.mp4"
            cut_clip(
                path,
                cut_path,
                start_seconds=0.0 if media.is_section else start_seconds,
                stop_seconds=None if media.is_section else end_seconds,
                max_height=_ANY_HEIGHT if request["is_linked"] else parameters.max_height,
                video_index=source.video_index,
                audio_index=source.audio_index,
                ffmpeg_path=find_ffmpeg(parameters.ffmpeg),
                limit_seconds=parameters.time_limit_seconds,
            )
            path = cut_path
        facts = validate_clip(path, wanted_seconds=wanted_seconds, parameters=parameters.validation)
        staged_path = work_dir / f"whole-{clip['file_stem']}{path.suffix}"
        staged_path.unlink(missing_ok=True)
        if path.is_symlink():
            staged_path.symlink_to(os.readlink(path))
        else:
            os.link(path, staged_path)
        if not request["is_linked"]:
            sync(staged_path)
            sync(work_dir)
        digest = sha256_of(staged_path)
        return {
            "outcome": "ok",
            "file": {
                "path": f"{clip['file_stem']}{path.suffix}",
                "staged": str(staged_path.relative_to(request["clips_dir"])),
                "bytes": staged_path.stat().st_size,
                "sha256": digest,
                "source_sha256": source_sha256 or digest,
                **facts.as_mapping(),
            },
        }


@dataclass(frozen=True)
class _Media:
    """A file with a clip: the whole video, or (``is_section``) its section alone; None: the section is not in it."""

    path: Path | None
    is_section: bool = False


def find_source(work_dir: Path) -> Path | None:
    """What a killed worker had fetched wholly: yt-dlp and ``_get_plain`` rename only what is complete."""
    for path in sorted(work_dir.glob(f"{SOURCE_STEM}.*")):
        if path.suffix not in _UNFINISHED_SUFFIXES and path.stem == SOURCE_STEM:
            return path
    return None


def link(source_path: Path, target_path: Path) -> None:
    """A hard link, or a symbolic one where the file system allows none (another disk, other owners)."""
    target_path.unlink(missing_ok=True)
    source_path = Path(os.path.realpath(source_path))
    try:
        os.link(source_path, target_path)
    except OSError:
        target_path.symlink_to(source_path)


def path_of_file_url(url: str) -> Path:
    """The local path of a ``file://`` URL; percent-encoded bytes of any file name survive."""
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"{url}: names the host {parts.netloc}, expected file:///path", reason="unknown")
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(parts.path)))


def printable(path: Path | str) -> str:
    """A path as text that every table can hold (names need not be UTF-8)."""
    return os.fsencode(path).decode("utf-8", "replace")


def is_html(data: bytes) -> bool:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body", b"<script", b"<!--"))


class _PageText(HTMLParser):
    def __init__(self):
        super().__init__()
        self.parts, self._hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data):
        if not self._hidden:
            self.parts.append(data)


def text_of_page(data: bytes) -> str:
    """The visible words of a page, at most ``_PAGE_CHARACTERS``."""
    parser = _PageText()
    parser.feed(data[:_PAGE_BYTES].decode("utf-8", "replace"))
    return " ".join(" ".join(parser.parts).split())[:_PAGE_CHARACTERS]


def seconds_to_wait(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header (a number, or a date); None when it says nothing usable."""
    if not header:
        return None
    header = header.strip()
    if header.isdigit():
        return float(header)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _page_of(response) -> str:
    try:
        data = response.read(_PAGE_BYTES)
    except Exception as error:
        return f"(not readable: {type(error).__name__})"
    return text_of_page(data)


def _retry_after_of(error) -> float | None:
    """The ``Retry-After`` of the HTTP error below an extractor's error."""
    for _ in range(5):
        if error is None:
            return None
        response = getattr(error, "response", None)
        if response is not None and hasattr(response, "headers"):
            return seconds_to_wait(response.headers.get("Retry-After"))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _text_of(error, cause) -> str:
    text = str(error)
    name = type(cause).__name__
    # Only this class says more than its text does.
    return f"{text} ({name})" if name == "GeoRestrictedError" else text


def _suffix_of(name: str, content_type: str = "") -> str:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _PLAIN_SUFFIXES:
        return suffix
    return {"video/webm": ".webm", "video/x-matroska": ".mkv", "video/quicktime": ".mov"}.get(content_type, ".mp4")


def _failure(reason: str | None, text: str) -> dict:
    if reason is not None:
        return {"outcome": "failed", "reason": reason, "text": text, "by": "check"}
    return {"outcome": "failed", "reason": classify(text), "text": text, "by": "text"}


class _SilentLogger:
    """yt-dlp prints errors that it also raises."""

    def debug(self, message): ...

    def info(self, message): ...

    def warning(self, message): ...

    def error(self, message): ...


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not reach the parent as an answer
    requests = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    settings = requests.get()
    fetcher = Fetcher(
        build(FetchParameters, settings["parameters"], "download"), private_dir=Path(settings["private_dir"])
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
