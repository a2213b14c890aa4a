"""What to export."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

AUDIO = "audio"  # the name of a clip's whole sound among the features

FORMATS = ("webdataset", "huggingface", "files")
Format = Literal["webdataset", "huggingface", "files"]


@dataclass(frozen=True)
class ExportParameters:
    """The options of an export."""

    format: Format
    features: tuple[str, ...]  # names of cached features, and AUDIO
    splits: tuple[str, ...] = ()  # empty: all samples
    pictures: Literal["jpg", "png"] = "jpg"  # png keeps every bit
    shard_samples: int = 256
    has_clips: bool = False  # also hand over the media files; only ``files`` can
    licence: str | None = None  # what the one who exports says about files of their own

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("features is empty, expected at least one")
        if self.shard_samples < 1:
            raise ValueError(f"shard_samples is {self.shard_samples}, expected 1 or more")
        if self.has_clips and self.format != "files":
            raise ValueError(f"clips fit into the format files, not into {self.format}")

    @property
    def encoding(self) -> dict[str, object]:
        """What decides the bytes of a sample's files."""
        # Splits, licence and size of shards are left out: they may differ when an export goes on.
        # Shards whose samples change get another fingerprint.
        fields = dataclasses.asdict(self)
        return {name: fields[name] for name in ("format", "features", "pictures", "has_clips")}
