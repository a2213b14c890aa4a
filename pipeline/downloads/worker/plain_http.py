"""Fetch a video with one plain request: any ``http(s)://`` URL of a site that yt-dlp does not know.

If the server sends no video (but a web page, an error, half a file), this raises a ``FetchError``.
Its text is that of the server, because the reason is read from it.

The request goes through yt-dlp's networking, not through ``pipeline/base/http.py``. The same URL
may redirect to a site that yt-dlp knows, and one opener then has the cookies, browser headers and
proxies (SOCKS too) for both.
"""

import math
import os
import time
import urllib.parse
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol

from pipeline.downloads.account.reasons import PAGE_MARK
from pipeline.downloads.clip_files import SOURCE_STEM, choose_suffix
from pipeline.downloads.messages import FetchError

_BLOCK_BYTES = 1 << 18
_PAGE_BYTES = 1 << 16
_PAGE_CHARACTERS = 2000

# Ignore the pages of these errors: they add nothing, and their words can mislead the classifier.
_SELF_EXPLANATORY = (404, 410)


class SiteOpener(Protocol):
    """What a plain request needs of yt-dlp (``ytdlp.SiteDownloader``)."""

    def open_url(self, request: Any) -> Any:
        """Send a ``yt_dlp.networking.Request``; return its response, a context manager."""

    def is_known_site(self, url: str) -> bool:
        """Return whether yt-dlp has an extractor of its own for the URL."""


@dataclass(frozen=True)
class PlainFetch:
    """The file that arrived; None: yt-dlp must fetch ``url`` instead."""

    path: Path | None
    url: str


def fetch_plainly(
    url: str, work_dir: Path, *, sites: SiteOpener, max_gigabytes: float
) -> PlainFetch:
    """Fetch a URL with one request.

    Args:
        url: ``http://`` or ``https://``.
        work_dir: where the file goes, as ``source.<suffix>``.
        sites: gives yt-dlp's opener, and says which sites yt-dlp knows.
        max_gigabytes: larger files are refused.

    Returns:
        The file, or (``path`` None) the URL of a playlist or of a page that yt-dlp can read.

    Raises:
        FetchError: the server did not send a whole video.
    """
    from yt_dlp.networking import Request
    from yt_dlp.networking.exceptions import HTTPError, RequestError

    temporary_path = work_dir / f"{SOURCE_STEM}.download"
    try:
        # A compressed body would not have the length that is announced.
        request = Request(url, headers={"Accept-Encoding": "identity"})
        with sites.open_url(request) as response:
            # The first block shows whether this is a video at all.
            block = response.read(_BLOCK_BYTES)
            content_type = _read_content_type(response)
            if _is_for_ytdlp(url, response.url, content_type, block, sites):
                return PlainFetch(None, response.url)
            _write_body(response, block, temporary_path, max_gigabytes)
    except HTTPError as error:
        waiting = parse_retry_after(error.response.headers.get("Retry-After"))
        raise FetchError(_describe_http_error(error), retry_after_seconds=waiting) from None
    except RequestError as error:
        raise FetchError(f"{type(error).__name__}: {error}") from None

    # Renamed only now: a file of this name is whole (see fetcher.find_source).
    suffix = choose_suffix(urllib.parse.urlsplit(url).path, content_type)
    path = work_dir / f"{SOURCE_STEM}{suffix}"
    os.replace(temporary_path, path)
    return PlainFetch(path, url)


def _read_content_type(response: Any) -> str:
    return (response.headers.get("Content-Type") or "").split(";")[0].strip().lower()


def _is_for_ytdlp(
    url: str, final_url: str, content_type: str, block: bytes, sites: SiteOpener
) -> bool:
    """Return whether yt-dlp must read the answer; raise FetchError if it is just a web page."""
    is_playlist = "mpegurl" in content_type or content_type == "application/dash+xml"
    if is_playlist or block.startswith(b"#EXTM3U"):
        return True

    if content_type in ("text/html", "application/xhtml+xml") or is_html(block):
        # A redirect to a site that yt-dlp knows.
        if final_url != url and sites.is_known_site(final_url):
            return True
        page = read_page_text(block)
        raise FetchError(f"the server sent a web page, expected a video; {PAGE_MARK} {page}")
    return False


def _write_body(response: Any, block: bytes, path: Path, max_gigabytes: float) -> None:
    """Write the first block and the rest of the body to ``path``; require its announced length."""
    # The size is counted here: a server may announce none, or a wrong one.
    num_bytes = 0
    with open(path, "wb") as file:
        while block:
            num_bytes += len(block)
            if num_bytes > max_gigabytes * 1e9:
                raise FetchError(
                    f"larger than download.max_gigabytes ({max_gigabytes:g})", reason="too_large"
                )
            file.write(block)
            block = response.read(_BLOCK_BYTES)

    if num_bytes == 0:
        raise FetchError("the downloaded file is empty")

    # Some servers compress although the request forbids it. Then the announced length differs.
    is_plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
    announced = response.headers.get("Content-Length")
    if is_plain and announced is not None and announced.isdigit() and int(announced) != num_bytes:
        raise FetchError(f"content too short: {num_bytes} bytes read, {announced} announced")


def _describe_http_error(error: Any) -> str:
    text = f"HTTP Error {error.status}: {error.reason}"
    if error.status in _SELF_EXPLANATORY:
        return text
    try:
        page = read_page_text(error.response.read(_PAGE_BYTES))
    except Exception as reading_error:  # whatever the connection raises: the status is known
        page = f"(not readable: {type(reading_error).__name__})"
    return f"{text}; {PAGE_MARK} {page}" if page else text


def is_html(data: bytes) -> bool:
    """Return whether data begins like a web page."""
    # A page can begin with a byte order mark.
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body", b"<script", b"<!--")
    )


class _PageText(HTMLParser):
    """Collects the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden_depth = 0  # of scripts and styles

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter a script or a style."""
        self._hidden_depth += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        """Leave a script or a style."""
        self._hidden_depth -= tag in ("script", "style") and self._hidden_depth > 0

    def handle_data(self, data: str) -> None:
        """Collect a piece of text."""
        if not self._hidden_depth:
            self.parts.append(data)


def read_page_text(data: bytes) -> str:
    """Return the visible words of a web page, shortened."""
    parser = _PageText()
    parser.feed(data[:_PAGE_BYTES].decode("utf-8", "replace"))
    return " ".join(" ".join(parser.parts).split())[:_PAGE_CHARACTERS]


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (a number or a date).

    Returns:
        None if it is unusable: no number or date, or no time in the future. A server that says 0
        refuses all the same.
    """
    header = (header or "").strip()
    try:
        # `isdigit` alone would also take characters such as a raised two.
        if header.isascii() and header.isdigit():
            seconds = float(header)
        else:
            moment = parsedate_to_datetime(header)
            # The zone "-0000" means UTC.
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = moment.timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None
