"""Use yt-dlp: its options, its downloads, and what its errors say."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.downloads.clip_files import SOURCE_STEM
from pipeline.downloads.messages import FetchError
from pipeline.downloads.parameters import FetchParameters
from pipeline.downloads.tool_versions import find_js_runtimes
from pipeline.downloads.worker.plain_http import parse_retry_after
from pipeline.downloads.ytdlp_options import make_target
from pipeline.media.files.ffmpeg import find_ffmpeg

_MAX_CAUSES = 5  # how deep to look for an HTTP response below yt-dlp's error

# Says which sections of a video are wanted: (info, downloader) -> ranges.
ChooseRanges = Callable[[dict[str, Any], object], list[dict[str, Any]]]


class SiteDownloader:
    """The yt-dlp instance of a worker, made when it is first needed.

    It keeps yt-dlp's default and reads no ``file://`` URLs: a playlist of a site could name files
    of this machine.
    """

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._private_dir = private_dir
        self._instance: Any = None  # a yt_dlp.YoutubeDL

    def close(self) -> None:
        """Let yt-dlp write its cookies, then remove the worker's private folder."""
        if self._instance is not None:
            self._instance.close()
        shutil.rmtree(self._private_dir, ignore_errors=True)

    def download(
        self,
        url: str,
        work_dir: Path,
        *,
        download_ranges: ChooseRanges | None = None,
    ) -> dict[str, Any]:
        """Fetch a video into ``work_dir`` as ``source.<suffix>``.

        Args:
            url: of a site that yt-dlp knows.
            work_dir: where the files go.
            download_ranges: says which sections are wanted; None: the whole video.

        Returns:
            yt-dlp's info dictionary; ``requested_downloads`` lists the files.

        Raises:
            FetchError: yt-dlp could not fetch it.
            OSError: the disk refused to write.
        """
        from yt_dlp.utils import DownloadError, YoutubeDLError

        downloader = self.load()
        # yt-dlp takes a single % for the beginning of a field.
        folder = str(work_dir).replace("%", "%%")
        # The whole video becomes `source.mp4`, section 2 of it `source-2.mp4`.
        downloader.params["outtmpl"]["default"] = (
            f"{folder}/{SOURCE_STEM}%(section_number&-|)s%(section_number|)s.%(ext)s"
        )

        # The instance is used for many videos: forget the sections of the last one.
        downloader.params.pop("download_ranges", None)
        if download_ranges is not None:
            downloader.params["download_ranges"] = download_ranges

        try:
            info = downloader.extract_info(url)
        except DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            raise FetchError(
                _describe_error(error, cause), retry_after_seconds=_find_retry_after(cause)
            ) from None
        except YoutubeDLError as error:
            raise FetchError(_describe_error(error, error)) from None
        except (FetchError, OSError):
            # The first comes from `download_ranges`, the second from this machine.
            raise
        except Exception as error:  # a bug in an extractor fails its video, not the worker
            raise FetchError(f"{type(error).__name__}: {error}") from error

        self._require_files(info)
        return info

    def _require_files(self, info: dict[str, Any] | None) -> None:
        downloads = (info or {}).get("requested_downloads") or []
        if not downloads:
            raise FetchError("yt-dlp returned no file (a playlist or a page without a video)")

        # For files above max_filesize yt-dlp raises no error and leaves no file.
        if any(not os.path.exists(download["filepath"]) for download in downloads):
            limit = f"download.max_gigabytes ({self._parameters.max_gigabytes:g})"
            raise FetchError(f"yt-dlp left no file; larger than {limit}?")

    def is_known_site(self, url: str) -> bool:
        """Return whether yt-dlp has an extractor of its own for the URL."""
        # The extractor Generic takes any URL.
        return any(
            key != "Generic" and extractor.suitable(url)
            for key, extractor in self.load()._ies.items()
        )

    def open_url(self, request: Any) -> Any:
        """Send a ``yt_dlp.networking.Request``; return its response, a context manager."""
        return self.load().urlopen(request)

    def load(self) -> Any:
        """Return the ``yt_dlp.YoutubeDL`` of this worker; the first call takes about a second."""
        if self._instance is None:
            import yt_dlp
            from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

            options = self._make_options()
            # For sections yt-dlp reads this variable, not the option.
            FFmpegPostProcessor._ffmpeg_location.set(options["ffmpeg_location"])
            self._instance = yt_dlp.YoutubeDL(options)
        return self._instance

    def _make_options(self) -> dict[str, Any]:
        parameters = self._parameters

        # Nothing is printed: errors are raised.
        options: dict[str, Any] = {"quiet": True, "no_warnings": True, "noprogress": True}
        options |= {"color": "never", "logger": _SilentLogger()}

        # What is fetched.
        options |= {
            "noplaylist": True,
            # The best picture and the best sound, or else the best file that has both.
            "format": parameters.format or "bv*+ba/b",
            # Heights up to this one, the largest first; then what mp4 holds and every decoder
            # reads.
            "format_sort": [f"res:{parameters.max_height}", "vcodec:h264", "acodec:m4a"],
            "merge_output_format": "mp4/mkv",
            "force_keyframes_at_cuts": True,  # a copied section would begin at a keyframe
            "max_filesize": int(parameters.max_gigabytes * 1e9),
        }

        # Where it goes. Do not continue half a file of an earlier attempt: it may differ.
        options |= {
            "cachedir": False,
            "outtmpl": {"default": f"{SOURCE_STEM}.%(ext)s"},
            "overwrites": True,
            "continuedl": False,
            "updatetime": False,
        }

        # How persistent a request is. Used as a library, yt-dlp would not retry at all.
        options |= {
            "retries": parameters.num_site_retries,
            "fragment_retries": parameters.num_site_retries,
            "extractor_retries": parameters.num_site_retries,
            # A fragment that is left out would be a gap in the clip.
            "skip_unavailable_fragments": False,
            "socket_timeout": parameters.socket_timeout_seconds,
        }

        # Tools and credentials.
        options["ffmpeg_location"] = str(find_ffmpeg(parameters.ffmpeg))
        # YouTube's pages hold code that must run. Without a runtime most formats are not found.
        options["js_runtimes"] = {name: {"path": path} for name, path in find_js_runtimes().items()}
        if parameters.proxy:
            options["proxy"] = parameters.proxy
        if parameters.cookies_path:
            options["cookiefile"] = str(_copy_cookies(parameters.cookies_path, self._private_dir))
        if parameters.impersonate:
            options["impersonate"] = make_target(parameters.impersonate)
        return options | parameters.yt_dlp_options


def _copy_cookies(cookies_path: str, private_dir: Path) -> Path:
    """Copy the cookies for this worker alone, because yt-dlp rewrites its file on closing."""
    private_dir.mkdir(parents=True, exist_ok=True)
    copy_path = private_dir / "cookies.txt"
    # Cookies are logins, which nobody else may read even while they are copied.
    copy_path.touch(mode=0o600)
    shutil.copyfile(cookies_path, copy_path)
    return copy_path


def _find_retry_after(error: Any) -> float | None:
    """Return the ``Retry-After`` of the HTTP error that caused an extractor's error."""
    # yt-dlp wraps the error of its networking several times.
    for _ in range(_MAX_CAUSES):
        if error is None:
            return None
        response = getattr(error, "response", None)
        if response is not None and hasattr(response, "headers"):
            return parse_retry_after(response.headers.get("Retry-After"))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _describe_error(error: Exception, cause: BaseException | None) -> str:
    # Only the name of this class says more than its text does.
    name = type(cause).__name__
    return f"{error} ({name})" if name == "GeoRestrictedError" else str(error)


class _SilentLogger:
    """Drops yt-dlp's messages: it prints errors that it also raises."""

    def debug(self, message: str) -> None:
        """Drop a message."""

    info = warning = error = debug
