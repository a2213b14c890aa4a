"""Turn weights that authors released into runs beside the trained ones.

The weights are fetched by URL and checked by SHA-256, or read from a file.
"""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from earshot.errors import DataError
from earshot.files import sha256_of
from train.models.registry import METHODS
from train.runs.tensor_files import load_tensors
from train.weights.fetch import (
    DRIVE_SCHEME,
    fetch_weights,
    is_drive_address,
    require_first_sha256,
)
from train.weights.published_checkpoints import import_published

_ALTERNATIVES = "what was fetched is kept; or set url to the path of a copy that you have"


@dataclass(frozen=True)
class ReleasedWeights:
    """One entry of section ``weights`` of params.yaml."""

    method: str
    # http(s)://..., gdrive:ID (a public file of Google Drive), file://... or the path of a file,
    # relative to the checkout; ~ is the home
    url: str
    # of the file; without it that of the first fetch is recorded, and another one refused later
    sha256: str | None = None
    # size of the file; None: ask the server
    num_bytes: int | None = None
    # of the weights, in words; the stage prints it
    licence: str = "not known"
    # parameters of the method that differ from what its authors' tests use
    settings: dict[str, Any] | None = None
    # first parts of the names of tensors that the file has besides and no map needs, for example
    # projections of a training; without an entry a file with further tensors is refused
    unused: tuple[str, ...] = ()
    # variants that the network reads instead of the features of this name
    features: tuple[str, ...] = ()
    # what its authors say, as tables name it: DATASET/SPLIT; it finds the published row
    trained_on: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}, expected 64 hexadecimal digits")
        if self.num_bytes is not None and self.num_bytes <= 0:
            raise ValueError(f"num_bytes ({self.num_bytes}) must be > 0")
        # The page behind a link of Drive is no file.
        is_drive_page = urlsplit(self.url).hostname in ("drive.google.com", "docs.google.com")
        is_wrong_id = self.url.startswith(DRIVE_SCHEME) and not is_drive_address(self.url)
        if is_drive_page or is_wrong_id:
            raise ValueError(
                f"url is {self.url!r}, expected {DRIVE_SCHEME} and the id of a file, for example "
                "the part between /d/ and /view of its link"
            )

    @property
    def is_remote(self) -> bool:
        """Whether the file has to be fetched."""
        return urlsplit(self.url).scheme in ("http", "https", "gdrive")


def make_released_run(
    weights: ReleasedWeights, name: str, *, run_dir: Path, weights_dir: Path, root: Path
) -> str:
    """Make a run folder of released weights; fetch them first unless the file exists.

    Args:
        weights: The entry of params.yaml.
        name: Of the entry, for error messages.
        run_dir: Folder of the run.
        weights_dir: Folder for fetched files.
        root: The checkout; relative paths start there.

    Returns:
        A description of the weights.

    Raises:
        DataError: The file cannot be fetched or read, has another hash, or does not fit its method.
    """
    path = _find_file(weights, weights_dir=weights_dir, root=root)

    found = sha256_of(path)
    if weights.is_remote:
        print(f"{weights.url}: licence: {weights.licence}", file=sys.stderr)
        _check_first_fetch(weights, name, path, found)
    if weights.sha256 not in (None, found):
        raise DataError(
            f"{path}: SHA-256 is {found}, expected {weights.sha256} (weights.{name}.sha256)"
        )

    facts = {"source": weights.url, "sha256": found, "has_known_sha256": weights.sha256 is not None}
    import_published(path, weights.method, run_dir, weights.settings, facts, unused=weights.unused)
    return f"{weights.method} weights of {weights.url}, not trained here"


def _check_first_fetch(weights: ReleasedWeights, name: str, path: Path, sha256: str) -> None:
    """Take the first file where nobody published a hash, and later no other one."""
    if weights.sha256 is not None:
        return
    # A server's page about a quota would else be the first file, and the weights be refused later.
    try:
        load_tensors(path)
    except DataError as error:
        path.unlink()
        raise DataError(f"{error}; removed, so that another attempt fetches it again") from None

    if require_first_sha256(weights.url, path, sha256):
        print(
            f"{weights.url}: {path.stat().st_size} bytes, SHA-256 {sha256}: recorded; write it to "
            f"weights.{name}.sha256, so that other machines check it, too",
            file=sys.stderr,
        )


def _find_file(weights: ReleasedWeights, *, weights_dir: Path, root: Path) -> Path:
    """Return the path of the weights; fetch them where they are remote."""
    parts = urlsplit(weights.url)
    if weights.is_remote:
        # Files of different authors can have the same name, so a hash of the URL precedes it.
        prefix = hashlib.sha256(weights.url.encode()).hexdigest()[:8]
        name = Path(unquote(parts.path)).name or "weights"
        return fetch_weights(
            weights.url,
            Path(weights_dir) / f"{prefix}-{name}",
            sha256=weights.sha256,
            num_bytes=weights.num_bytes,
            alternatives=_ALTERNATIVES,
        )

    # In an address %20 is a space; in a plain path it is part of a name.
    path = Path(unquote(parts.path) if parts.scheme == "file" else weights.url).expanduser()
    path = Path(root) / path
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected the weights that url names")
    return path
