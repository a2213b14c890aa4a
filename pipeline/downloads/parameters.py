"""Section ``download`` of params.yaml: how clips are fetched, how fast, and when a run gives up."""

import json
import os
import urllib.parse
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from earshot.cached_property import cached_property
from pipeline.base.secrets import PROXY_FORM, find_secrets, hide_secrets, is_proxy
from pipeline.downloads.ytdlp_options import check_options, find_words
from pipeline.media.validate import ValidationParameters

_ONE_OR_MORE = (
    "num_workers",
    "max_height",
    "num_quick_attempts",
    "videos_per_worker",
    "max_pauses",
)
_MORE_THAN_ZERO = ("socket_timeout_seconds", "time_limit_seconds", "max_gigabytes")
_ZERO_OR_MORE = (
    "section_above_seconds",
    "videos_per_hour",
    "other_videos_per_hour",
    "loopback_videos_per_hour",
    "num_site_retries",
    "quick_delay_seconds",
    "slow_delay_seconds",
    "max_wait_seconds",
    "pause_seconds",
    "max_pause_seconds",
    "min_free_gigabytes",
)


@dataclass(frozen=True)
class FetchParameters:
    """What a worker process needs to know; see ``DownloadParameters`` for each field."""

    max_height: int
    format: str | None
    ffmpeg: str
    cookies_path: str | None = field(repr=False)
    proxy: str | None = field(repr=False)
    num_site_retries: int
    socket_timeout_seconds: float
    time_limit_seconds: float
    section_above_seconds: float
    max_gigabytes: float
    validation: ValidationParameters
    impersonate: str | None = None
    yt_dlp_options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class DownloadParameters:
    """Section ``download``."""

    # --- where clips come from
    # false: nothing is ever requested from a site; clips come from files and from `import`.
    network: bool = True

    # --- what a clip is
    num_workers: int = 2  # processes that fetch videos
    max_height: int = 360  # pixels of the shorter side; larger pictures are shrunk
    format: str | None = None  # yt-dlp's format expression; None: best around max_height
    # auto (the package imageio-ffmpeg, which is pinned, else the machine's own), package, system
    # (the machine's), or the path of a program
    ffmpeg: str = "auto"
    section_above_seconds: float = 120.0  # of longer videos only the sections are fetched
    allow_duplicates: bool = False  # whether clips with the same bytes are all ok
    max_failed_fraction: float = 0.9  # the stage fails when a larger part of the clips is missing

    # --- pace, over all workers of this machine (0: no limit)
    videos_per_hour: float = 300.0  # towards YouTube
    other_videos_per_hour: float = 3600.0  # towards all other hosts
    loopback_videos_per_hour: float = 0.0  # towards servers on this machine

    # --- credentials: from params.local.yaml or the environment, and never printed
    # A cookies.txt file; each worker gets a private copy.
    cookies_path: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)  # http://host:port or socks5://host:port
    # Of a browser of this machine in which you have logged in: firefox, chrome, ..., or
    # firefox:PROFILE
    cookies_from_browser: str | None = None

    # --- what helps when a site changes
    # A browser that requests look like: chrome, safari, ...; it needs the package curl-cffi.
    impersonate: str | None = None
    # More options of yt-dlp, by their names in its Python interface; they are merged last. An
    # option with which the account would be wrong is refused.
    yt_dlp_options: dict[str, Any] = field(default_factory=dict, repr=False)

    # --- retries of one clip (see history.RetryPolicy)
    num_site_retries: int = 3  # yt-dlp's own retries of one request
    num_quick_attempts: int = 3  # attempts that follow each other quickly
    quick_delay_seconds: float = 5.0  # before the second attempt; then three times as long
    slow_delay_seconds: float = 3600.0  # after the quick attempts; likewise growing
    max_wait_seconds: float = 60.0  # a run waits at most this long for a clip to become due

    # --- pauses of a site after a bot check or a rate limit (see sites.SiteGate)
    pause_seconds: float = 900.0  # the first pause, unless the server says Retry-After
    max_pause_seconds: float = 14400.0  # each pause is twice as long as the last, up to this
    max_pauses: int = 5  # after more pauses in a row the run stops

    # --- limits
    socket_timeout_seconds: float = 20.0  # without any data from a server
    time_limit_seconds: float = 600.0  # for one video, from the request to its finished clips
    videos_per_worker: int = 200  # then the process is replaced, because yt-dlp's memory grows
    max_gigabytes: float = 4.0  # size of one video
    min_free_gigabytes: float = 1.0  # the run stops when the disk has less space

    validation: ValidationParameters = field(default_factory=ValidationParameters)

    def __post_init__(self) -> None:
        # Only ranges are checked here; types are checked where params.yaml is read.
        for name in _ONE_OR_MORE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")

        for name in _MORE_THAN_ZERO:
            # `not ... > 0` refuses NaN as well, which YAML can hold.
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")

        for name in _ZERO_OR_MORE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")

        if self.max_pause_seconds < self.pause_seconds:
            raise ValueError(
                f"max_pause_seconds is {self.max_pause_seconds}, expected pause_seconds "
                f"({self.pause_seconds}) or more"
            )

        # Find a mistyped path before the first request, not in each worker.
        if self.cookies_path is not None and not os.path.isfile(_make_absolute(self.cookies_path)):
            raise ValueError("cookies_path names no file that is there, expected a cookies.txt")
        if self.cookies_path is not None and self.cookies_from_browser is not None:
            raise ValueError("cookies_path and cookies_from_browser are set, expected one of them")

        check_options(self.yt_dlp_options)
        if self.proxy is not None and not is_proxy(self.proxy):
            raise ValueError(f"proxy is no address of a proxy, expected {PROXY_FORM}")
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f"max_failed_fraction is {self.max_failed_fraction}, expected 0 to 1")

    def describe_options(self) -> str:
        """Return what the ledger says about yt-dlp's options: a change makes a retry worthwhile."""
        options = dict(self.yt_dlp_options)
        if self.impersonate is not None:
            options["impersonate"] = self.impersonate
        if not options:
            return ""
        # Only a hash of the values, which can be secrets.
        digest = sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
        return f"; options {', '.join(sorted(options))} {digest[:8]}"

    def describe_access(self) -> str:
        """Return what the ledger says about the credentials: no secrets.

        That is whether there are cookies, and the proxy's host.
        """
        words = ["cookies"] if self.cookies_path else []
        if self.proxy:
            words.append(f"proxy {urllib.parse.urlsplit(self.proxy).hostname}")
        return ", ".join(words)

    @cached_property
    def _secrets(self) -> frozenset[str]:
        own = find_secrets(proxy=self.proxy, cookies_path=self.cookies_path)
        return own | frozenset(find_words(self.yt_dlp_options))

    def hide_secrets(self, text: str) -> str:
        """Return what a tool said without the proxy's password, the cookies and their path."""
        return hide_secrets(text, self._secrets)

    def for_workers(self) -> FetchParameters:
        """Return the part that a worker needs, with absolute paths: it runs in another folder."""
        # The words `auto`, `system` and `package` are no paths and stay as they are.
        is_ffmpeg_path = os.sep in self.ffmpeg
        return FetchParameters(
            max_height=self.max_height,
            format=self.format,
            ffmpeg=_make_absolute(self.ffmpeg) if is_ffmpeg_path else self.ffmpeg,
            cookies_path=_make_absolute(self.cookies_path) if self.cookies_path else None,
            proxy=self.proxy,
            num_site_retries=self.num_site_retries,
            socket_timeout_seconds=self.socket_timeout_seconds,
            time_limit_seconds=self.time_limit_seconds,
            section_above_seconds=self.section_above_seconds,
            max_gigabytes=self.max_gigabytes,
            validation=self.validation,
            impersonate=self.impersonate,
            yt_dlp_options=self.yt_dlp_options,
        )


def _make_absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
