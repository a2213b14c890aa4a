"""One plain request for a video: any ``http(s)://`` URL that is no site which yt-dlp knows.

What comes instead of a video (a page, an error, half a file) becomes a ``FetchError`` whose text says what the server
said, since a reason is read from it.
"""

import os
import time
import urllib.parse
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from pipeline.downloads.messages import SOURCE_STEM, FetchError, suffix_of

_BLOCK_BYTES = 1 << 18
_PAGE_BYTES = 1 << 16
_PAGE_CHARACTERS = 2000


def fetch_plainly(
    url: str,
    work_dir: Path,
    *,
    open_url: Callable,
    is_known_site: Callable[[str], bool],
    max_gigabytes: float,
) -> tuple[Path | None, str]:
    """One request: the file and where it came from; None when yt-dlp is to read what is there.

    That is a playlist, or a page of a site that it knows and that the request was redirected to. ``open_url`` takes a
    request of yt-dlp's networking and gives its response.
    """
    from yt_dlp.networking import Request
    from yt_dlp.networking.exceptions import HTTPError, RequestError

    temporary_path = work_dir / f"{SOURCE_STEM}.download"
    try:
        with open_url(Request(url, headers={"Accept-Encoding": "identity"})) as response:
            content_type = (
                (response.headers.get("Content-Type") or "").split(";")[0].strip().lower()
            )
            announced = response.headers.get("Content-Length")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                announced = None  # packed although nobody asked for it: the length is that of the packed bytes
            block = response.read(_BLOCK_BYTES)
            if (
                "mpegurl" in content_type
                or block.startswith(b"#EXTM3U")
                or content_type == "application/dash+xml"
            ):
                return None, response.url
            if content_type in ("text/html", "application/xhtml+xml") or is_html(block):
                if response.url != url and is_known_site(response.url):
                    return None, response.url
                page = text_of_page(block)
                raise FetchError(
                    f"the server sent a web page, expected a video; the page says: {page}"
                )
            num_bytes = 0
            with open(temporary_path, "wb") as file:
                while block:
                    num_bytes += len(block)
                    _require_allowed_size(num_bytes, max_gigabytes)
                    file.write(block)
                    block = response.read(_BLOCK_BYTES)
            if num_bytes == 0:
                raise FetchError("the downloaded file is empty")
            if announced is not None and announced.isdigit() and int(announced) != num_bytes:
                raise FetchError(
                    f"content too short: {num_bytes} bytes read, {announced} announced"
                )
    except HTTPError as error:
        text = f"HTTP Error {error.status}: {error.reason}"
        if error.status not in (
            404,
            410,
        ):  # their pages say nothing more, but may say it in misleading words
            page = _page_of(error.response)
            text = f"{text}; the page says: {page}" if page else text
        waiting = seconds_to_wait(error.response.headers.get("Retry-After"))
        raise FetchError(text, retry_after_seconds=waiting) from None
    except RequestError as error:
        raise FetchError(f"{type(error).__name__}: {error}") from None
    path = work_dir / f"{SOURCE_STEM}{suffix_of(urllib.parse.urlsplit(url).path, content_type)}"
    os.replace(temporary_path, path)
    return path, url


def _require_allowed_size(num_bytes: int, max_gigabytes: float) -> None:
    if num_bytes > max_gigabytes * 1e9:
        raise FetchError(
            f"larger than download.max_gigabytes ({max_gigabytes:g})", reason="too_large"
        )


def is_html(data: bytes) -> bool:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body", b"<script", b"<!--")
    )


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
