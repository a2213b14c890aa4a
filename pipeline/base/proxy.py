"""Send all requests of this process and of its children through a proxy."""

import contextlib
import os
from collections.abc import Iterator

# Libraries read either spelling; some prefer the small letters.
_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@contextlib.contextmanager
def use_proxy(proxy: str | None) -> Iterator[None]:
    """Set the proxy variables of the environment while the body runs; None changes nothing.

    Lists, archives and weights are fetched by several libraries. All of them read these variables,
    and those of ``NO_PROXY`` for hosts that are asked directly.
    """
    if proxy is None:
        yield
        return

    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, proxy))

    try:
        yield
    finally:
        for name, value in before.items():
            # An empty variable means "no proxy", so one that was absent must not become empty.
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
