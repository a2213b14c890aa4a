"""Know which code and libraries this process computes arrays with.

A key names the version of an algorithm, not the code that a process has loaded. A worker that was
started before an update would store the arrays of the old code under the new keys. Therefore each
task says with which software it was planned, and a worker with other software refuses it.
"""

import functools
import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import av
import cv2
import numpy as np

from earshot.errors import RunError

_ROOT = Path(__file__).resolve().parents[3]
# Whose modules can change an array. Networks (``train``) compute detections.
_ROOMS = (
    "earshot",
    "pipeline/base",
    "pipeline/media",
    "pipeline/kernels",
    "pipeline/features",
    "pipeline/shards",
    "train/networks",
    "train/runs",
    "train/weights",
    "train/inference",
)
# Libraries that are imported late, when a feature first needs them.
_LATE_LIBRARIES = ("librosa", "soxr", "scipy", "h5py", "torch", "torchvision")
_HASH_DIGITS = 12


class WorkerDiffersError(RunError):
    """A worker has other software than the run was planned with.

    Attributes:
        worker: The worker's address.
    """

    def __init__(self, message: str, worker: str = ""):
        super().__init__(message)
        self.worker = worker  # pickled as an attribute: `args` has the message alone


@dataclass(frozen=True)
class Software:
    """What decides the bytes of an array beside its key."""

    code: str  # hash of the modules of ``_ROOMS``
    versions: tuple[tuple[str, str], ...]  # (library, version)

    def describe_difference(self, planned: "Software") -> str | None:
        """Return how this differs from what a task was planned with; None if it does not."""
        expected = dict(planned.versions)
        differences = [
            f"{name} {version} instead of {expected[name]}"
            for name, version in self.versions
            if expected.get(name) != version
        ]
        if self.code != planned.code:
            differences.insert(0, f"other code ({self.code} instead of {planned.code})")
        return ", ".join(differences) or None


def read_software() -> Software:
    """Return the code on the disk and the libraries that this process has loaded or would load."""
    versions = {
        "FFmpeg": av.ffmpeg_version_info,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "PyAV": av.__version__,
    }
    versions |= {name: _read_version(name) for name in _LATE_LIBRARIES}
    return Software(_hash_code(), tuple(versions.items()))


def _read_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _hash_code() -> str:
    digest = hashlib.sha256()
    for room in _ROOMS:
        modules = sorted((_ROOT / room).rglob("*.py"))
        assert modules, f"{_ROOT / room} has no modules"
        for path in modules:
            digest.update(f"{path.relative_to(_ROOT).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:_HASH_DIGITS]


# Read while the modules are being imported: later the files may be newer than what is loaded.
LOADED = read_software()


@functools.lru_cache(maxsize=64)
def require_software(planned: Software, feature_names: tuple[str, ...], *, worker: str) -> None:
    """Check that this process can compute features as they were planned.

    Call it before the modules of the features are imported. It reads the disk once for each
    combination of arguments: what was imported once does not change.

    Args:
        planned: What the client has loaded.
        feature_names: What is computed.
        worker: The address of this worker, for the message.

    Raises:
        WorkerDiffersError: This process has loaded something else, or would import something else.
    """
    # The code on the disk counts, too: a module that is imported later comes from there.
    for software in (LOADED, read_software()):
        difference = software.describe_difference(planned)
        if difference is not None:
            raise WorkerDiffersError(
                f"worker {worker} cannot compute {' and '.join(feature_names)}: it has "
                f"{difference}; restart the worker in this checkout and run the same command "
                "again; finished shards are kept",
                worker,
            )
