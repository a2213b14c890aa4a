"""Keep the secrets of a user out of texts that are stored or printed."""

import base64
import os
import urllib.parse
from collections.abc import Collection
from pathlib import Path

_HIDDEN = "(hidden)"
# Shorter words are no secrets, and hiding them would garble every text.
_MIN_CHARACTERS = 4

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
PROXY_FORM = (
    "http://host:port or socks5://host:port (with user:password@ before the host, special "
    "characters as %XX)"
)


def is_proxy(address: str) -> bool:
    """Return whether an address has the form ``PROXY_FORM``.

    Tools quote an address that they cannot read, with its password.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        is_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # the port is no number
        return False

    # A `/`, `#` or `?` in a password ends the host too early, so no such part may follow.
    is_host_alone = parts.path in ("", "/") and not parts.query and not parts.fragment
    return is_host and is_host_alone and parts.scheme in _PROXY_SCHEMES


def find_secrets(*, proxy: str | None, cookies_path: str | None) -> frozenset[str]:
    """Return the words that no text may hold: of the proxy's address, and of the cookies.

    Args:
        proxy: An address, perhaps with a user name and a password.
        cookies_path: A file in the format of Netscape. If it cannot be read, only its path counts.
    """
    words = _find_proxy_words(proxy) if proxy else set()
    if cookies_path:
        path = os.path.abspath(os.path.expanduser(cookies_path))
        words |= {cookies_path, path, *_read_cookie_words(Path(path))}
    return frozenset(word for word in words if len(word) >= _MIN_CHARACTERS)


def hide_secrets(text: str, secrets: Collection[str]) -> str:
    """Return ``text`` with ``(hidden)`` in place of each secret.

    Args:
        text: What a tool or a server said.
        secrets: From ``find_secrets``.
    """
    # The longest first: a password can be a part of the whole address.
    for word in sorted(secrets, key=len, reverse=True):
        text = text.replace(word, _HIDDEN)
    return text


def _find_proxy_words(proxy: str) -> set[str]:
    # Some tools also take a proxy without `http://`.
    authority = proxy.partition("://")[2] or proxy
    # The last one: a password may hold an `@`, a host may not.
    user_info, is_found, _ = authority.rpartition("@")
    if not is_found:
        return set()

    # As they stand in the address, as they are meant, and as the proxy is told.
    user, _, password = user_info.partition(":")
    plain = urllib.parse.unquote(user_info)
    header = base64.b64encode(plain.encode()).decode()
    return {proxy, user_info, plain, header, password, urllib.parse.unquote(password), user}


def _read_cookie_words(path: Path) -> set[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return set()

    # A line has the site, five facts, and then what must stay secret. A line of another form may
    # be an export that went wrong, so all of it is secret.
    words = set()
    for line in lines:
        # curl writes this before cookies that scripts must not read. Such a line is no comment.
        line = line.removeprefix("#HttpOnly_")
        if line.strip() and not line.startswith("#"):
            words |= {line, line.strip(), line.rpartition("\t")[2].strip()}
    return words
