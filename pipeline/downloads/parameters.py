"""Section ``download`` of params.yaml: how clips are fetched, how politely, and when a run gives up."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.media.validate import ValidationParameters


@dataclass(frozen=True)
class DownloadParameters:
    """Section ``download``.

    ``max_failed_fraction``: with a larger part of the clips missing the stage fails. ``num_quick_attempts``,
    ``quick_delay_seconds``, ``slow_delay_seconds``: see ``histories.RetryPolicy``; a run waits ``max_wait_seconds`` at
    most for a clip to become due. ``pause_seconds``: of everything after a bot check or rate limit without
    ``Retry-After``; after ``max_pauses`` in a row the run ends. ``*_per_hour`` 0: no limit.
    """

    num_workers: int = 2
    max_height: int = 360
    format: str | None = None
    ffmpeg: str = "auto"
    section_above_seconds: float = 120.0
    allow_duplicates: bool = False
    max_failed_fraction: float = 0.9
    videos_per_hour: float = 300.0
    other_videos_per_hour: float = 3600.0
    loopback_videos_per_hour: float = 0.0
    cookies_path: str | None = None
    proxy: str | None = None
    num_site_retries: int = 3
    num_quick_attempts: int = 3
    quick_delay_seconds: float = 5.0
    slow_delay_seconds: float = 3600.0
    max_wait_seconds: float = 60.0
    pause_seconds: float = 900.0
    max_pause_seconds: float = 14400.0
    max_pauses: int = 5
    socket_timeout_seconds: float = 20.0
    time_limit_seconds: float = 600.0
    videos_per_worker: int = 200
    max_gigabytes: float = 4.0
    min_free_gigabytes: float = 1.0
    validation: ValidationParameters = field(default_factory=ValidationParameters)

    def __post_init__(self):
        for name in (
            "num_workers",
            "max_height",
            "num_quick_attempts",
            "videos_per_worker",
            "max_pauses",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("socket_timeout_seconds", "time_limit_seconds", "max_gigabytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        for name in [
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
        ]:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.cookies_path is not None and not Path(self.cookies_path).expanduser().is_file():
            raise ValueError(f"cookies_path is {self.cookies_path!r}, found no such file")
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f"max_failed_fraction is {self.max_failed_fraction}, expected 0 to 1")
