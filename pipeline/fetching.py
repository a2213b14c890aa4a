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

import contextlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

from pipeline.errors import MediaError
from pipeline.failures import classify
from pipeline.files import sha256_of, sync
from pipeline.parameters import build
from pipeline.validation import ValidationParameters, validate_clip

SOURCE_STEM = "source"
_BLOCK_BYTES = 1 << 18
_PAGE_BYTES = 1 << 16
_PAGE_CHARACTERS = 2000
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
    cookies_path: str | None
    proxy: str | None
    num_site_retries: int
    socket_timeout_seconds: float
    section_above_seconds: float
    max_gigabytes: float
    validation: ValidationParameters


class FetchError(Exception):
    """A video could not be had; ``text`` is raw. ``reason`` None: to be read from the text."""

    def __init__(self, text: str, *, reason: str | None = None, retry_after_seconds: float | None = None):
        super().__init__(text)
        self.text, self.reason, self.retry_after_seconds = text, reason, retry_after_seconds


class Fetcher:
    """Fetches videos one after another with one yt-dlp instance."""

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._private_dir = private_dir
        self._downloader = None

    def fetch(self, request: dict) -> dict:
        """``{"clips": [result, ...], "retry_after_seconds": ..., "versions": ...}`` for a request (see ``workers.py``)."""
        work_dir = Path(request["work_dir"])
        results, retry_after_seconds = {}, None
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
        for clip in request["clips"]:
            if clip["clip_id"] not in results:
                results[clip["clip_id"]] = failure
        return {
            "clips": [dict(clip_id=key, **value) for key, value in results.items()],
            "retry_after_seconds": retry_after_seconds,
        }

    def close(self) -> None:
        if self._downloader is not None:
            self._downloader.close()
        shutil.rmtree(self._private_dir, ignore_errors=True)

    # --- getting the bytes

    def _get_media(self, request: dict, work_dir: Path) -> dict[str, tuple[Path, bool]]:
        """For each clip the file it is in, and whether that file is its section already."""
        url = request["url"]
        scheme = urllib.parse.urlsplit(url).scheme.lower()
        whole_path = find_source(work_dir)
        if whole_path is None:
            if scheme == "file":
                whole_path = self._get_file(path_of_file_url(url), work_dir, is_linked=request["is_linked"])
            elif scheme in ("http", "https"):
                if self._is_known_site(url):
                    return self._get_from_site(request, work_dir)
                whole_path = self._get_plain(url, work_dir)
            else:
                raise FetchError(f"{url}: has scheme {scheme!r}, expected file, http or https", reason="unknown")
        return {clip["clip_id"]: (whole_path, False) for clip in request["clips"]}

    def _get_file(self, path: Path, work_dir: Path, *, is_linked: bool) -> Path:
        if not path.exists():
            raise FetchError(f"{printable(path)}: no such file", reason="gone")
        if not path.is_file():
            raise FetchError(f"{printable(path)}: is not a file", reason="gone")
        if is_linked:
            target_path = work_dir / f"{SOURCE_STEM}{_suffix_of(path.name)}"
            link(path, target_path)
            return target_path
        # A plain name of our own: the user's may hold anything.
        alias_path = work_dir / f"alias{_suffix_of(path.name)}"
        alias_path.unlink(missing_ok=True)
        alias_path.symlink_to(path)
        info = self._download(alias_path.as_uri(), work_dir)
        alias_path.unlink()
        return Path(info["requested_downloads"][0]["filepath"])

    def _get_plain(self, url: str, work_dir: Path) -> Path:
        import yt_dlp.networking.exceptions
        from yt_dlp.networking import Request

        temporary_path = work_dir / f"{SOURCE_STEM}.download"
        try:
            with self._yt_dlp().urlopen(Request(url, headers={"Accept-Encoding": "identity"})) as response:
                content_type = (response.headers.get("Content-Type") or "").lower()
                announced = response.headers.get("Content-Length")
                first = response.read(_BLOCK_BYTES)
                if content_type.startswith(("text/html", "application/xhtml")) or is_html(first):
                    raise FetchError(f"the server sent a web page, expected a video: {text_of_page(first)}")
                num_bytes = 0
                with open(temporary_path, "wb") as file:
                    block = first
                    while block:
                        num_bytes += len(block)
                        if num_bytes > self._parameters.max_gigabytes * 1e9:
                            raise FetchError(f"larger than download.max_gigabytes ({self._parameters.max_gigabytes})")
                        file.write(block)
                        block = response.read(_BLOCK_BYTES)
                if num_bytes == 0:
                    raise FetchError("the downloaded file is empty")
                if announced is not None and announced.isdigit() and int(announced) != num_bytes:
                    raise FetchError(f"content too short: {num_bytes} bytes read, {announced} announced")
        except yt_dlp.networking.exceptions.HTTPError as error:
            text = f"HTTP Error {error.status}: {error.reason}"
            if error.status not in (404, 410):
                page = _page_of(error.response)
                text = f"{text}; the page says: {page}" if page else text
            raise FetchError(
                text, retry_after_seconds=seconds_to_wait(error.response.headers.get("Retry-After"))
            ) from None
        except yt_dlp.networking.exceptions.RequestError as error:
            raise FetchError(f"{type(error).__name__}: {error}") from None
        path = work_dir / f"{SOURCE_STEM}{_suffix_of(urllib.parse.urlsplit(url).path, content_type)}"
        os.replace(temporary_path, path)
        return path

    def _get_from_site(self, request: dict, work_dir: Path) -> dict[str, tuple[Path, bool]]:
        info = self._download(request["url"], work_dir)
        path = Path(info["requested_downloads"][0]["filepath"])
        return {clip["clip_id"]: (path, False) for clip in request["clips"]}

    def _download(self, url: str, work_dir: Path, **changes) -> dict:
        from yt_dlp.utils import DownloadError, YoutubeDLError

        downloader = self._yt_dlp()
        downloader.params["outtmpl"]["default"] = (
            str(work_dir / f"{SOURCE_STEM}.%(ext)s")
            .replace("%(ext)s", "\0")
            .replace("%", "%%")
            .replace("\0", "%(ext)s")
        )
        downloader.params.update(changes)
        try:
            info = downloader.extract_info(url)
        except DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            raise FetchError(_text_of(error, cause), retry_after_seconds=_retry_after_of(cause)) from None
        except YoutubeDLError as error:
            raise FetchError(_text_of(error, error)) from None
        if not info or not info.get("requested_downloads"):
            raise FetchError("yt-dlp returned no file")
        return info

    def _is_known_site(self, url: str) -> bool:
        """Whether yt-dlp has an extractor of its own for the URL."""
        for key, extractor in self._yt_dlp()._ies.items():
            if key != "Generic" and extractor.suitable(url):
                return True
        return False

    def _yt_dlp(self):
        if self._downloader is None:
            import yt_dlp

            self._downloader = yt_dlp.YoutubeDL(self._options())
        return self._downloader

    def _options(self) -> dict:
        parameters = self._parameters
        options = {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "color": "never",
            "logger": _SilentLogger(),
            "cachedir": False,
            "enable_file_urls": True,
            "noplaylist": True,
            "format": parameters.format or "bv*+ba/b",
            "format_sort": [f"res:{parameters.max_height}", "vcodec:h264", "acodec:m4a"],
            "merge_output_format": "mp4/mkv",
            "overwrites": True,
            "continuedl": False,
            "updatetime": False,
            "retries": parameters.num_site_retries,
            "fragment_retries": parameters.num_site_retries,
            "extractor_retries": parameters.num_site_retries,
            "socket_timeout": parameters.socket_timeout_seconds,
            "max_filesize": int(parameters.max_gigabytes * 1e9),
            "outtmpl": {"default": f"{SOURCE_STEM}.%(ext)s"},
        }
        if parameters.proxy:
            options["proxy"] = parameters.proxy
        if parameters.cookies_path:
            self._private_dir.mkdir(parents=True, exist_ok=True)
            cookies_path = self._private_dir / "cookies.txt"  # yt-dlp rewrites it on closing
            shutil.copyfile(parameters.cookies_path, cookies_path)
            options["cookiefile"] = str(cookies_path)
        return options

    # --- from what arrived to a clip

    def _finish_clip(self, clip: dict, media: tuple[Path, bool], request: dict, work_dir: Path) -> dict:
        media_path, _ = media
        try:
            facts = validate_clip(media_path, wanted_seconds=None, parameters=self._parameters.validation)
        except MediaError as error:
            return _failure(error.reason, str(error))
        staged_path = work_dir / f"whole-{clip['file_stem']}{media_path.suffix}"
        staged_path.unlink(missing_ok=True)
        if media_path.is_symlink():
            staged_path.symlink_to(os.readlink(media_path))
        else:
            os.link(media_path, staged_path)
        if not request["is_linked"]:
            sync(staged_path)
        return {
            "outcome": "ok",
            "file": {
                "path": f"{clip['file_stem']}{media_path.suffix}",
                "staged": str(staged_path.relative_to(request["clips_dir"])),
                "bytes": staged_path.stat().st_size,
                "sha256": sha256_of(staged_path),
                **facts.as_mapping(),
            },
        }


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


def tool_versions() -> str:
    """Versions that decide what can be fetched: yt-dlp, JavaScript runtime, ffmpeg, Python packages."""
    import av
    import yt_dlp.version

    return f"yt-dlp {yt_dlp.version.__version__}; av {av.__version__}"


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
    answers.write(json.dumps({"versions": tool_versions()}).encode() + b"\n")
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
