"""Options of yt-dlp that a user may set, and those that would break the account of downloads."""

from collections.abc import Iterator, Mapping
from typing import Any

from earshot.errors import ParameterError
from pipeline.base.parameters import suggest

# Options with a key of their own in section `download`.
_OWN_KEYS = {
    "format": "format",
    "max_filesize": "max_gigabytes",
    "proxy": "proxy",
    "cookiefile": "cookies_path",
    "cookiesfrombrowser": "cookies_from_browser",
    "impersonate": "impersonate",
    "ffmpeg_location": "ffmpeg",
    "socket_timeout": "socket_timeout_seconds",
    "retries": "num_site_retries",
    "fragment_retries": "num_site_retries",
    "extractor_retries": "num_site_retries",
    "download_ranges": "section_above_seconds",
}
# Words of options with which a video could fail, or be another one, and no row would say so.
_FORBIDDEN = {
    "would hide why a video fails": (
        *("ignoreerrors", "ignore_no_formats_error", "skip_unavailable_fragments", "test"),
        *("allow_unplayable_formats", "logger", "progress_hooks", "warn_when_outdated"),
    ),
    "would skip videos without a reason": (
        *("simulate", "skip_download", "download_archive", "force_write_download_archive"),
        *("match_filter", "matchtitle", "rejecttitle", "min_filesize", "min_views", "max_views"),
        *("age_limit", "daterange", "max_downloads", "break_on_existing", "break_on_reject"),
        *("break_per_url", "allowed_extractors", "wait_for_video", "extract_flat"),
    ),
    "would fetch other videos than the list names": (
        *("noplaylist", "playlist_items", "playliststart", "playlistend", "playlistrandom"),
        *("playlistreverse", "lazy_playlist", "skip_playlist_after_errors", "default_search"),
        *("allow_playlist_files", "enable_file_urls", "live_from_start"),
    ),
    "would put files where they are not looked for": (
        *("outtmpl", "paths", "outtmpl_na_placeholder", "restrictfilenames", "trim_file_name"),
        *("windowsfilenames", "final_ext", "keepvideo", "keep_fragments", "nopart"),
        *("continuedl", "overwrites", "updatetime", "cachedir", "postprocessors", "useid"),
        *("force_keyframes_at_cuts", "merge_output_format", "writeinfojson", "writethumbnail"),
        *("autonumber_start", "autonumber_size", "print_to_file"),
    ),
    "would write between the lines that workers send": (
        *("quiet", "no_warnings", "noprogress", "verbose", "color", "logtostderr", "forcejson"),
        *("forceprint", "dump_single_json", "debug_printtraffic", "consoletitle"),
        *("dump_intermediate_pages", "listformats", "listsubtitles", "list_thumbnails"),
    ),
    "is a secret, and cookies are the way to log in": (
        *("username", "password", "videopassword", "twofactor", "usenetrc", "netrc_cmd"),
        *("netrc_location", "ap_mso", "ap_username", "ap_password"),
        *("client_certificate_password",),
    ),
}
_SECRET_HEADERS = ("cookie", "authorization", "proxy-authorization")
_SECRET_CHARACTERS = 20  # shorter words of an option are names


def check_options(options: Mapping[str, Any]) -> None:
    """Check that options of yt-dlp break nothing here; whether it knows them is not looked at.

    Args:
        options: By their names in yt-dlp's Python interface.

    Raises:
        ValueError: One of them is refused. A dataclass lets it pass from its ``__post_init__``.
    """
    for name in options:
        if name in _OWN_KEYS:
            raise ValueError(f"yt_dlp_options has {name!r}, expected download.{_OWN_KEYS[name]}")
        for why, names in _FORBIDDEN.items():
            if name in names:
                raise ValueError(f"yt_dlp_options has {name!r}, which {why}; remove it")

    headers = options.get("http_headers")
    for header in headers if isinstance(headers, Mapping) else ():
        if str(header).lower() in _SECRET_HEADERS:
            raise ValueError(
                f"yt_dlp_options.http_headers has {header!r}, expected download.cookies_path"
            )


def require_known(options: Mapping[str, Any], *, impersonate: str | None) -> None:
    """Check with yt-dlp itself what it would ignore without a word.

    Args:
        options: ``download.yt_dlp_options``.
        impersonate: ``download.impersonate``.

    Raises:
        ParameterError: An option is not known, or there is no such browser to impersonate.
    """
    if not options and impersonate is None:
        return
    # Imported only here: it takes a while, and most lists set no option.
    import yt_dlp

    # All options with their defaults, as the command line sets them.
    known = {name for name in yt_dlp.parse_options([]).ydl_opts if not name.startswith("_")}
    for name in options:
        if name not in known:
            raise ParameterError(
                f"params: download.yt_dlp_options has {name!r}{suggest(name, known)}, expected an "
                "option of yt_dlp.YoutubeDL"
            )
    if impersonate is not None:
        _require_target(impersonate)


def make_target(name: str) -> Any:
    """Return what yt-dlp's option ``impersonate`` expects.

    Raises:
        ValueError: The name has not the form ``client[-version][:os[-version]]``.
    """
    from yt_dlp.networking.impersonate import ImpersonateTarget

    return ImpersonateTarget.from_str(name.lower())


def find_words(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the long words of options: a token is a secret, and no message may hold it."""
    stack: list[Any] = [options]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
        elif isinstance(value, str) and len(value) >= _SECRET_CHARACTERS:
            yield value


def _require_target(name: str) -> None:
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True}) as downloader:
        targets = downloader._get_available_impersonate_targets()
    try:
        target = make_target(name)
    except ValueError:
        target = None

    if target is None or not any(target in found for found, _ in targets):
        clients = sorted({str(found.client) for found, _ in targets if found.client})
        advice = f"expected one of {', '.join(clients)}" if clients else "nothing can be: run "
        advice += "" if clients else "`make update-downloader`, which installs curl-cffi"
        raise ParameterError(f"params: download.impersonate is {name!r}, {advice}")
