"""yt-dlp as this project uses it: its options, its downloads, and what its errors say."""

import os
import shutil
from pathlib import Path

from pipeline.downloads.messages import SOURCE_STEM, FetchError, FetchParameters
from pipeline.downloads.plain_http import seconds_to_wait
from pipeline.downloads.tool_versions import find_js_runtimes
from pipeline.media.ffmpeg import find_ffmpeg


class SiteDownloader:
    """One yt-dlp instance for files of this machine and one for sites, made when first needed."""

    def __init__(self, parameters: FetchParameters, *, private_dir: Path):
        self._parameters = parameters
        self._private_dir = private_dir
        self._instances = {}

    def close(self) -> None:
        """Let yt-dlp write its cookies; nothing of this worker remains."""
        for instance in self._instances.values():
            instance.close()
        shutil.rmtree(self._private_dir, ignore_errors=True)

    def download(
        self, url: str, work_dir: Path, *, is_file: bool = False, download_ranges=None
    ) -> dict:
        """Fetch into ``work_dir``; yt-dlp's account of what arrived. Raises ``FetchError``, or the disk's ``OSError``.

        ``download_ranges``: yt-dlp's callable that says which sections are wanted.
        """
        from yt_dlp.utils import DownloadError, YoutubeDLError

        downloader = self.instance(is_file=is_file)
        folder = str(work_dir).replace("%", "%%")
        downloader.params["outtmpl"]["default"] = (
            f"{folder}/{SOURCE_STEM}%(section_number&-|)s%(section_number|)s.%(ext)s"
        )
        downloader.params.pop("download_ranges", None)
        if download_ranges is not None:
            downloader.params["download_ranges"] = download_ranges
        try:
            info = downloader.extract_info(url, ie_key="Generic" if is_file else None)
        except DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            raise FetchError(
                _text_of(error, cause), retry_after_seconds=_retry_after_of(cause)
            ) from None
        except YoutubeDLError as error:
            raise FetchError(_text_of(error, error)) from None
        except (FetchError, OSError):
            raise
        except Exception as error:  # a bug of an extractor costs its video, not the worker
            raise FetchError(f"{type(error).__name__}: {error}") from error
        downloads = (info or {}).get("requested_downloads") or []
        if not downloads:
            raise FetchError("yt-dlp returned no file (a playlist or a page without a video)")
        if any(not os.path.exists(download["filepath"]) for download in downloads):
            # What yt-dlp does with files above max_filesize: no error, no file.
            raise FetchError(
                f"yt-dlp left no file; larger than download.max_gigabytes ({self._parameters.max_gigabytes:g})?"
            )
        return info

    def is_known_site(self, url: str) -> bool:
        """Whether yt-dlp has an extractor of its own for the URL."""
        extractors = self.instance()._ies
        return any(
            key != "Generic" and extractor.suitable(url) for key, extractor in extractors.items()
        )

    def instance(self, *, is_file: bool = False):
        """The yt-dlp for files of this machine (``is_file``) or for sites."""
        if is_file not in self._instances:
            import yt_dlp
            from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

            options = self._options(is_file=is_file)
            # Sections look here, not at the option.
            FFmpegPostProcessor._ffmpeg_location.set(options["ffmpeg_location"])
            self._instances[is_file] = yt_dlp.YoutubeDL(options)
        return self._instances[is_file]

    def _options(self, *, is_file: bool) -> dict:
        parameters = self._parameters
        options = {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "color": "never",
            "logger": _SilentLogger(),
            "cachedir": False,
            "enable_file_urls": is_file,  # never for sites: their playlists could name files of this machine
            "noplaylist": True,
            "format": parameters.format or "bv*+ba/b",
            "format_sort": [f"res:{parameters.max_height}", "vcodec:h264", "acodec:m4a"],
            "merge_output_format": "mp4/mkv",
            "force_keyframes_at_cuts": True,
            "overwrites": True,
            "continuedl": False,
            "updatetime": False,
            "retries": parameters.num_site_retries,
            "fragment_retries": parameters.num_site_retries,
            "extractor_retries": parameters.num_site_retries,
            "skip_unavailable_fragments": False,
            "socket_timeout": parameters.socket_timeout_seconds,
            "max_filesize": int(parameters.max_gigabytes * 1e9),
            "ffmpeg_location": str(find_ffmpeg(parameters.ffmpeg)),
            "js_runtimes": {name: {"path": path} for name, path in find_js_runtimes().items()},
            "outtmpl": {"default": f"{SOURCE_STEM}.%(ext)s"},
        }
        if parameters.proxy:
            options["proxy"] = parameters.proxy
        if parameters.cookies_path and not is_file:
            self._private_dir.mkdir(parents=True, exist_ok=True)
            cookies_path = self._private_dir / "cookies.txt"  # yt-dlp rewrites it on closing
            cookies_path.touch(mode=0o600)
            shutil.copyfile(parameters.cookies_path, cookies_path)
            options["cookiefile"] = str(cookies_path)
        return options


def _retry_after_of(error) -> float | None:
    """The ``Retry-After`` of the HTTP error below an extractor's error."""
    for _ in range(5):
        if error is None:
            return None
        response = getattr(error, "response", None)
        if response is not None and hasattr(response, "headers"):
            return seconds_to_wait(response.headers.get("Retry-After"))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _text_of(error, cause) -> str:
    text = str(error)
    name = type(cause).__name__
    # Only this class says more than its text does.
    return f"{text} ({name})" if name == "GeoRestrictedError" else text


class _SilentLogger:
    """yt-dlp prints errors that it also raises."""

    def debug(self, message): ...

    def info(self, message): ...

    def warning(self, message): ...

    def error(self, message): ...
