"""Fetch files over HTTP."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from earshot.errors import DataError
from earshot.files import publish

_NUM_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30.0
_USER_AGENT = "earshot (dataset preparation)"
_BLOCK_BYTES = 1 << 20


def fetch(url: str, path: Path, *, sha256: str | None = None) -> None:
    """Fetch a small file whole to ``path``; transient failures are tried again, a wrong hash publishes nothing."""
    for attempt in range(1, _NUM_ATTEMPTS + 1):
        try:
            with publish(path) as temporary_path:
                found = _fetch_once(url, temporary_path)
                if sha256 is not None and found != sha256:
                    raise DataError(
                        f"{url}: has sha256 {found}, expected {sha256}: not the file that was published"
                    )
            return
        except urllib.error.HTTPError as error:
            if (error.code < 500 and error.code != 429) or attempt == _NUM_ATTEMPTS:
                raise DataError(
                    f"{url}: the server answered {error.code} {error.reason}, expected the file"
                ) from None
        except (OSError, http.client.HTTPException) as error:
            if attempt == _NUM_ATTEMPTS:
                words = (
                    " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
                )
                raise DataError(f"{url}: cannot be fetched: {words}") from None
        except ValueError as error:
            raise DataError(f"{url}: is not an address: {error}") from None
        time.sleep(0.5 * attempt)


def open_url(url: str, headers: Mapping[str, str] | None = None):
    """Open an ``http(s)://`` address; other schemes are refused."""
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("expected http:// or https://")
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT, **(headers or {})})
    return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)


def _fetch_once(url: str, path: Path) -> str:
    digest = hashlib.sha256()
    with open_url(url) as response, open(path, "wb") as file:
        announced, num_bytes = response.headers.get("Content-Length"), 0
        while block := response.read(_BLOCK_BYTES):
            if num_bytes == 0 and block.lstrip()[:5].lower() in (
                b"<html",
                b"<!doc",
            ):  # with status 200, as proxies do
                raise DataError(f"{url}: the server sent a web page, expected the file")
            digest.update(block)
            file.write(block)
            num_bytes += len(block)
    if announced is not None and announced.isdigit() and int(announced) != num_bytes:
        raise http.client.IncompleteRead(b"", int(announced) - num_bytes)
    return digest.hexdigest()
