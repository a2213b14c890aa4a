"""Fetch files over HTTP: the only HTTP client of the project, built on ``requests``.

Proxies come from the environment (``HTTPS_PROXY``, ``NO_PROXY``, ...) unless a session names one.
The certificates of the system are trusted, and those of ``REQUESTS_CA_BUNDLE``.
"""

import contextlib
import hashlib
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from earshot.errors import DataError
from earshot.files import publish_bytes, sync
from pipeline.base.disk import require_space
from pipeline.base.progress import Progress

_USER_AGENT = "earshot (dataset preparation)"
_TIMEOUT_SECONDS = 30.0  # to connect, and between two pieces of an answer
_BLOCK_BYTES = 1 << 20

_NUM_ATTEMPTS = 3  # for a small file
_NUM_ATTEMPTS_WITHOUT_PROGRESS = 5  # for a large file: in a row, without a single new byte
_PAUSE_SECONDS = 1.0

_refusals: list[str] = []  # why nothing may be requested now


def open_session(*, proxy: str | None = None) -> requests.Session:
    """Return a session whose requests carry the project's name.

    Args:
        proxy: URL of a proxy that replaces those of the environment. An empty string means none.

    Returns:
        A session that trusts the certificates of the system.
    """
    session = requests.Session()
    session.headers["User-Agent"] = _USER_AGENT
    # A packed answer would have another length and another hash than the file.
    session.headers["Accept-Encoding"] = "identity"
    session.mount("https://", _SystemCertificates())

    if proxy is not None:
        # By default, requests prefers the proxies of the environment to those of a session.
        session.trust_env = False
        session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    return session


class _SystemCertificates(HTTPAdapter):
    """Trust the certificates of the system; ``requests`` alone knows only its own bundle."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Give direct connections the certificates of the system."""
        super().init_poolmanager(*arguments, ssl_context=ssl.create_default_context(), **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Give connections through a proxy the same certificates."""
        return super().proxy_manager_for(proxy, ssl_context=ssl.create_default_context(), **options)


@contextlib.contextmanager
def open_url(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    session: requests.Session | None = None,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Iterator[requests.Response]:
    """Send a GET request and yield the response before its body is read.

    Read the body with ``iter_blocks``.

    Args:
        url: An ``http://`` or ``https://`` address. Redirects are followed.
        headers: Headers of this request, beside those of the session.
        session: From ``open_session``. Without one, the request has a session of its own.
        timeout_seconds: Limit on connecting and on each silence of the server.

    Yields:
        The response, with a status below 400. It is closed at the end of the ``with`` block.

    Raises:
        ValueError: ``url`` is not an address, or has another scheme.
        DataError: Requests are refused (``refuse_requests``).
        requests.HTTPError: The server answered with a status of 400 or more.
        requests.RequestException: There is no answer, or it breaks off while it is read.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("expected http:// or https://")
    if _refusals:
        raise DataError(f"{url}: is not fetched: {_refusals[-1]}")

    # The stack closes a session that was opened here. The caller's own session stays open.
    with contextlib.ExitStack() as stack:
        session = session or stack.enter_context(open_session())
        response = stack.enter_context(
            session.get(url, headers=headers, stream=True, timeout=timeout_seconds)
        )
        response.raise_for_status()
        yield response


@contextlib.contextmanager
def refuse_requests(why: str) -> Iterator[None]:
    """Raise ``DataError`` where this module would request something, while the body runs.

    Args:
        why: Ends the message; it says what the user can do.
    """
    _refusals.append(why)
    try:
        yield
    finally:
        _refusals.pop()


def iter_blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of a response as it arrives.

    ``Response.iter_content`` would drop the last incomplete block when a transfer breaks off.
    """
    try:
        while block := response.raw.read1(_BLOCK_BYTES):
            yield block
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def describe_error(error: Exception) -> str:
    """Return what went wrong, on one line.

    Args:
        error: Of ``requests``, or any other.

    Returns:
        The status of an ``HTTPError``; otherwise the message of the innermost error.
    """
    if isinstance(error, requests.HTTPError):
        return f"{error.response.status_code} {error.response.reason}"

    # requests wraps the system's error two or three times and repeats the address each time.
    inner: BaseException = error
    while True:
        # urllib3 has the error that it wraps as an argument, not as a cause.
        wrapped = inner.__cause__ or (inner.args[0] if inner.args else None)
        if not isinstance(wrapped, BaseException):
            break
        inner = wrapped
    return " ".join(str(inner).split()) or type(inner).__name__


def is_transient(error: requests.RequestException) -> bool:
    """Return whether the same request may succeed later."""
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        # The server's own trouble, or too many requests. Other answers from 400 on would stay the
        # same.
        return status >= 500 or status == requests.codes.too_many_requests
    return True


def ask_size(url: str) -> int:
    """Ask the server for the size of a file, in bytes.

    Send a GET request and do not read the body: some servers refuse HEAD.

    Raises:
        DataError: The server cannot be reached, refuses, or does not say the size.
    """
    try:
        with open_url(url) as response:
            announced = response.headers.get("Content-Length", "")
    except requests.HTTPError as error:
        raise DataError(f"{url}: the server answered {describe_error(error)}") from None
    except (requests.RequestException, ValueError) as error:
        raise DataError(f"{url}: cannot be fetched: {describe_error(error)}") from None

    # A server that makes its answer while sending it does not know the length.
    if not announced.isdigit():
        raise DataError(f"{url}: the server does not say how long the file is")
    return int(announced)


def fetch_file(url: str, path: Path, *, sha256: str | None = None) -> None:
    """Fetch a small file and publish it at ``path``; retry after transient failures.

    Args:
        url: An ``http://`` or ``https://`` address.
        path: Where the file appears, only when all of it is right.
        sha256: The whole hexadecimal digest that the file must have. None accepts any file.

    Raises:
        DataError: The file cannot be fetched, or it is not the file with this digest.
    """
    for attempt in range(1, _NUM_ATTEMPTS + 1):
        try:
            with open_url(url) as response:
                content = b"".join(iter_blocks(response))
            break
        except requests.HTTPError as error:
            if not is_transient(error) or attempt == _NUM_ATTEMPTS:
                raise DataError(
                    f"{url}: the server answered {describe_error(error)}, expected the file"
                ) from None
        # InvalidURL and others are both a RequestException and a ValueError. Do not retry them.
        except ValueError as error:
            raise DataError(f"{url}: is not an address: {error}") from None
        except requests.RequestException as error:
            if attempt == _NUM_ATTEMPTS:
                raise DataError(f"{url}: cannot be fetched: {describe_error(error)}") from None

        time.sleep(_PAUSE_SECONDS * attempt / 2)

    # Proxies and portals answer with a page and status 200.
    if content.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        raise DataError(f"{url}: the server sent a web page, expected the file")

    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{url}: has sha256 {digest}, expected {sha256}: not the file that was published"
        )

    publish_bytes(path, content)


def fetch_large_file(
    url: str,
    path: Path,
    *,
    num_bytes: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    is_quiet: bool = False,
) -> None:
    """Fetch a large file to ``path``; resume where an earlier, interrupted call stopped.

    The bytes that have arrived lie beside ``path``, in ``.part-<name>``. When the file is complete
    but has another digest, they are removed.

    Args:
        url: An ``http://`` or ``https://`` address.
        path: Where the file appears, only when all of it is right.
        num_bytes: Size of the file. None asks the server.
        md5: Hexadecimal digest that the file must have, or its first digits.
        sha256: The same for SHA-256.
        headers: Of all requests, for example credentials; another host does not get those.
        is_quiet: No progress.

    Raises:
        DataError: The file cannot be fetched, has another digest, or does not fit on the disk.
    """
    path = Path(path)
    if num_bytes is None:
        num_bytes = ask_size(url)

    # Only the bytes that are still missing need space.
    part_path = path.with_name(f".part-{path.name}")
    why = f"{path.name} has {num_bytes} bytes"
    require_space(path.parent, num_bytes - _size_of(part_path), why)

    description = f"fetching {path.name}"
    with Progress(num_bytes, description, unit="byte", is_quiet=is_quiet) as progress:
        # The bar begins where the earlier call stopped.
        progress.update(_size_of(part_path))
        _complete_part(
            url, part_path, num_bytes=num_bytes, progress=progress, headers=headers or {}
        )

    _require_digests(url, part_path, {"md5": md5, "sha256": sha256}, num_bytes=num_bytes)

    # Sync before the renaming: a power cut must not leave the name with only a part of the bytes.
    sync(part_path)
    os.replace(part_path, path)
    sync(path.parent)


def _complete_part(
    url: str, part_path: Path, *, num_bytes: int, progress: Progress, headers: Mapping[str, str]
) -> None:
    """Request the missing bytes until ``part_path`` has ``num_bytes`` or nothing more comes."""
    part_path.touch()
    num_failures = 0  # in a row, without a new byte

    while (size := _size_of(part_path)) < num_bytes:
        try:
            _append(url, part_path, num_bytes=num_bytes, progress=progress, headers=headers)
            # A transfer can end early without an error, so only the size tells.
            problem = f"the server sent {_size_of(part_path)} of {num_bytes} bytes"
        except requests.HTTPError as error:
            problem = describe_error(error)
            if error.response.status_code == requests.codes.requested_range_not_satisfiable:
                part_path.unlink()  # the server's file is shorter than the part: start again
            elif not is_transient(error):
                raise DataError(f"{url}: the server answered {problem}") from None
        except ValueError as error:
            raise DataError(f"{url}: is not an address: {error}") from None
        except requests.RequestException as error:
            problem = describe_error(error)

        # Any new byte is progress: a line that often breaks still completes a large file.
        num_failures = 0 if _size_of(part_path) > size else num_failures + 1
        if num_failures >= _NUM_ATTEMPTS_WITHOUT_PROGRESS:
            raise DataError(
                f"{url}: cannot be fetched: {problem}; run again to go on from byte "
                f"{_size_of(part_path)}"
            )

        if _size_of(part_path) < num_bytes:
            time.sleep(_PAUSE_SECONDS * num_failures)


def _append(
    url: str, part_path: Path, *, num_bytes: int, progress: Progress, headers: Mapping[str, str]
) -> None:
    """Send one request for the bytes after those of ``part_path``, and append what comes."""
    start = _size_of(part_path)
    wanted = {"Range": f"bytes={start}-"} if start else {}

    with open_url(url, headers={**headers, **wanted}) as response:
        # Status 206 alone does not say that the answer begins where the part ends.
        content_range = response.headers.get("Content-Range", "")
        is_partial = response.status_code == requests.codes.partial_content and (
            content_range.startswith(f"bytes {start}-")
        )
        # A server without ranges sends the whole file again.
        if not is_partial:
            # What has arrived is written again, so it no longer counts.
            progress.update(-start)
            start = 0

        with open(part_path, "ab" if is_partial else "wb") as file:
            for block in iter_blocks(response):
                # Never write beyond the announced size, whatever the server sends.
                file.write(block[: num_bytes - start])
                progress.update(min(len(block), num_bytes - start))
                start += len(block)
                if start >= num_bytes:
                    break


def _require_digests(
    url: str, part_path: Path, digests: Mapping[str, str | None], *, num_bytes: int
) -> None:
    for algorithm, expected in digests.items():
        if expected is None:
            continue

        # From the disk: the bytes of earlier calls never were in this process.
        with open(part_path, "rb") as file:
            digest = hashlib.file_digest(file, algorithm).hexdigest()

        # Some publishers give only the first digits, as torchvision does in its file names.
        if _size_of(part_path) != num_bytes or not digest.startswith(expected.lower()):
            part_path.unlink()
            raise DataError(
                f"{url}: has {algorithm} {digest}, expected {expected}; what was fetched is "
                "removed, run again"
            )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
