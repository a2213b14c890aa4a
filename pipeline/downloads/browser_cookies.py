"""Read the cookies of a browser of this machine once, for all workers of a run."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from earshot.errors import ParameterError
from pipeline.downloads.parameters import DownloadParameters


@contextlib.contextmanager
def use_browser_cookies(parameters: DownloadParameters) -> Iterator[DownloadParameters]:
    """Yield parameters whose ``cookies_path`` is a private file with the browser's cookies.

    Without ``cookies_from_browser`` the parameters stay as they are. From here on the cookies are
    those of a file: workers copy it, and no message shows what it holds. It is removed at the end.

    Args:
        parameters: Section ``download``.

    Raises:
        ParameterError: There is no such browser or profile, or its cookies cannot be read.
    """
    name = parameters.cookies_from_browser
    if name is None or not parameters.network:
        yield parameters
        return

    with tempfile.TemporaryDirectory(prefix="earshot-cookies-") as folder:
        path = Path(folder) / "cookies.txt"
        # Cookies are logins, which nobody else may read even while they are written.
        path.touch(mode=0o600)
        _save_cookies(name, path)
        yield replace(parameters, cookies_path=str(path), cookies_from_browser=None)


def _save_cookies(name: str, path: Path) -> None:
    from yt_dlp.cookies import YDLLogger, extract_cookies_from_browser

    class Silent(YDLLogger):
        """Drops what yt-dlp says while it looks for the cookies."""

        def __init__(self) -> None:
            super().__init__()

        def debug(self, *_: object, **__: object) -> None:
            """Drop a message."""

        info = warning = error = debug

        def progress_bar(self) -> None:
            """Show no progress."""

    browser, _, profile = name.partition(":")
    try:
        jar = extract_cookies_from_browser(browser, profile or None, logger=Silent())
        jar.save(str(path))
    except Exception as error:  # a browser's database can be anything
        words = " ".join(str(error).split())[:300]
        raise ParameterError(
            f"params: download.cookies_from_browser is {name!r}: {words}; name another browser or "
            "profile (firefox:PROFILE), or export the cookies to a file (cookies_path)"
        ) from None
    if not len(jar):
        raise ParameterError(
            f"params: download.cookies_from_browser is {name!r}, which has no cookie, expected a "
            "browser in which you have logged in"
        )
