"""Weights that authors released, as runs beside the trained ones: fetched by URL and SHA-256, or a file at hand."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from earshot.errors import DataError
from earshot.files import sha256_of
from train.models.registry import METHODS
from train.weights.fetch import fetch_weights
from train.weights.published_checkpoints import import_published

_ALTERNATIVES = "nothing that came is lost; or set url to the path of a copy that you have"


@dataclass(frozen=True)
class ReleasedWeights:
    """One of section ``weights`` of params.yaml.

    ``url``: ``http(s)://...``, ``file://...`` or the path of a file (relative to the checkout; ``~`` is the home).
    ``sha256``: of the file; without it a fetched file is not used, but its SHA-256 is named. ``num_bytes``: its size,
    so that a transfer is resumed without asking for it. ``settings``: parameters of the method that differ from what
    its authors' tests use.
    """

    method: str
    url: str
    sha256: str | None = None
    num_bytes: int | None = None
    settings: dict | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}, expected 64 hexadecimal digits")
        if self.num_bytes is not None and self.num_bytes <= 0:
            raise ValueError(f"num_bytes ({self.num_bytes}) must be > 0")

    @property
    def is_remote(self) -> bool:
        """Whether the file is to be fetched."""
        return urlsplit(self.url).scheme in ("http", "https")


def make_released_run(
    weights: ReleasedWeights, name: str, *, run_dir: Path, weights_dir: Path, root: Path
) -> str:
    """Fetch the checkpoint into ``weights_dir`` unless it is there and make the run ``run_dir`` of it.

    ``name``: of the section, for messages. ``root``: what a relative path is relative to. Returns what was used, in
    words. Raises ``DataError`` when the file cannot be had, is another one, or does not fit its method.
    """
    path = _get_file(weights, weights_dir=weights_dir, root=root)
    found = sha256_of(path)
    if weights.is_remote and weights.sha256 is None:
        raise DataError(
            f"{weights.url}: no SHA-256 of it is known here; the file that came has {found}: set weights.{name}.sha256 "
            "to that if you trust it, and run again (it is not fetched again)"
        )
    if weights.sha256 not in (None, found):
        raise DataError(
            f"{path}: SHA-256 is {found}, expected {weights.sha256} (weights.{name}.sha256)"
        )
    facts = {"source": weights.url, "sha256": found, "has_known_sha256": weights.sha256 is not None}
    import_published(path, weights.method, run_dir, weights.settings, facts)
    return f"{weights.method} weights of {weights.url}, not trained here"


def _get_file(weights: ReleasedWeights, *, weights_dir: Path, root: Path) -> Path:
    parts = urlsplit(weights.url)
    if weights.is_remote:
        # files of different authors have the same name
        place = hashlib.sha256(weights.url.encode()).hexdigest()[:8]
        path = Path(weights_dir) / f"{place}-{Path(unquote(parts.path)).name or 'weights'}"
        return fetch_weights(
            weights.url,
            path,
            sha256=weights.sha256,
            num_bytes=weights.num_bytes,
            alternatives=_ALTERNATIVES,
        )
    path = Path(unquote(parts.path) if parts.scheme == "file" else weights.url).expanduser()
    path = Path(root) / path
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected the weights that url names")
    return path
