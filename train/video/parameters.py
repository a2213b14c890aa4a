"""The parameters of localization in videos; this module imports no PyTorch."""

from dataclasses import dataclass

from train.video.overlay import MAX_FPS


@dataclass(frozen=True)
class LocalizeParameters:
    """How often a video is localized, and how its maps are drawn."""

    maps_per_second: float = 4.0
    opacity: float = 0.6  # of a map's maximum over the picture

    def __post_init__(self) -> None:
        if not 0 < self.maps_per_second <= MAX_FPS:
            raise ValueError(
                f"maps_per_second ({self.maps_per_second}) must be > 0 and <= {MAX_FPS:g}"
            )
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity ({self.opacity}) must be in [0, 1]")
