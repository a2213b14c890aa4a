"""Localization maps, in memory and in files: Earshot's own and those of any other system.

A file is a NumPy ``.npz`` with ``sample_ids`` (n,) strings and ``maps`` (n, h, w) numbers, larger =
more likely; h and w are free. Systems that tell k sources apart have ``maps`` (n, k, h, w); NaN
stands for a source without a map. ``frame_features`` and ``sound_features`` (n, c) are optional.
Such files come from strangers, so nothing in them is ever unpickled.
"""

import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from earshot.errors import DataError
from earshot.files import publish


class NoMapError(Exception):
    """An entrant makes no map of a sample; the message is the reason, such as ``no_detection``."""


class Maps(Protocol):
    """Maps ``(h, w)`` in order: an array, a list, or an object that computes a map when read.

    Reading may raise ``NoMapError``. The sample is then missing in the results.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> np.ndarray: ...


class SummedMaps:
    """The sum of the maps of a sample's sources; a source whose map is not finite has none."""

    def __init__(self, maps: Maps):
        self._maps = maps

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, position: int, /) -> np.ndarray:
        of_sources = keep_finite(self._maps[position])
        if not of_sources:
            # NaN, so that the sample is counted as one without a score.
            return np.full(np.shape(self._maps[position])[1:], np.nan, np.float32)
        return np.sum(of_sources, axis=0)


def keep_finite(maps: np.ndarray) -> list[np.ndarray]:
    """Return those of k maps ``(k, h, w)`` whose values are finite: the others are missing."""
    return [one for one in np.asarray(maps, np.float32) if np.isfinite(one).all()]


class SelectedMaps:
    """Some of the maps, in an order of their own; each is read or computed when it is asked for."""

    def __init__(self, maps: Maps, positions: Sequence[int]):
        self._maps, self._positions = maps, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: int, /) -> np.ndarray:
        return self._maps[self._positions[position]]


def write_maps(path: Path | str, *, sample_ids: Sequence[str], maps: Maps) -> None:
    """Write maps to a compressed file, as float32.

    Args:
        path: of the ``.npz`` file.
        sample_ids: ``(n,)``.
        maps: n maps of one shape.

    Raises:
        DataError: there are more maps than ids or fewer, or they are not two-dimensional.
    """
    array = np.asarray(maps, np.float32)
    if array.ndim != 3 or len(array) != len(sample_ids):
        raise DataError(
            f"{path}: {len(sample_ids)} sample ids with maps of shape {array.shape}, "
            "expected (n, h, w)"
        )

    # An open file, because NumPy would change a path that ends in another way.
    with publish(path) as temporary_path, open(temporary_path, "wb") as file:
        np.savez_compressed(file, sample_ids=np.array(sample_ids, dtype=np.str_), maps=array)


def read_maps(path: Path | str, *, with_sources: bool = False) -> tuple[list[str], np.ndarray]:
    """Read a file of maps.

    Values that are not finite are kept: whether such a map matters depends on the test set.

    Args:
        path: of the ``.npz`` file.
        with_sources: accept several maps a sample, ``(n, k, h, w)``: one for each source.

    Returns:
        The sample ids and their maps, float32 ``(n, h, w)``.

    Raises:
        DataError: the file is no such file; the message says what is wrong with it.
    """
    path = Path(path)
    with _open_archive(path) as archive:
        _check_names(path, archive.files)
        sample_ids = _to_ids(path, _read_array(path, archive, "sample_ids"))
        maps = _read_array(path, archive, "maps")

    has_sources = with_sources and maps.ndim == 4 and maps.shape[1] > 1
    _check_maps(path, maps, num_ids=len(sample_ids), num_axes=4 if has_sources else 3)

    # With two maps for one sample nobody could say which of them was scored.
    repeated = [name for name, count in Counter(sample_ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: sample id {repeated[0]} appears twice ({len(repeated)} such ids), "
            "expected each once"
        )

    return sample_ids, to_float32(maps, names=[f"{path}: {name}" for name in sample_ids])


def to_float32(maps: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Return maps as float32, in which published evaluations compute.

    A number beyond the range of float32 becomes infinite, and is then not scored.

    Args:
        maps: ``(n, ..., h, w)``, real numbers.
        names: ``(n,)``, for the message.

    Raises:
        DataError: all values of a map become one, as those of ``1e9 + x`` and ``1e-50 * x`` do.
    """
    with np.errstate(over="ignore"):
        rounded = maps.astype(np.float32)
    if np.can_cast(maps.dtype, np.float32):
        return rounded

    # A constant map marks the whole frame under most protocols, which is no bad score.
    low, high = rounded.min(axis=(-2, -1)), rounded.max(axis=(-2, -1))
    has_range = maps.min(axis=(-2, -1)) != maps.max(axis=(-2, -1))
    is_lost = has_range & (low == high) & np.isfinite(low)
    if is_lost.any():
        name = names[np.argwhere(is_lost)[0][0]]
        raise DataError(
            f"{name} has different values, which are one value in float32; scale its values, for "
            "example to 0 to 1"
        )
    return rounded


def _open_archive(path: Path) -> np.lib.npyio.NpzFile:
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected an .npz file with sample_ids and maps")

    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found, expected an .npz with sample_ids and maps, or a folder of maps"
        ) from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes any format that it does not know for a pickle, and advises to load it.
        reason = "it is of another format" if "pickle" in str(error) else _first_line(error)
        raise DataError(f"{path}: not a readable .npz file: {reason}") from None

    # np.load also reads .npy files, and then returns the array itself.
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: holds a single array, expected an .npz with sample_ids and maps")
    return archive


def _check_names(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in ("sample_ids", "maps") if name not in names]
    if missing:
        found = ", ".join(names[:5]) or "nothing"
        found += f", ... ({len(names) - 5} more)" if len(names) > 5 else ""
        raise DataError(
            f"{path}: has no array {missing[0]!r} (found {found}), expected sample_ids and maps"
        )


def read_features(path: Path | str) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the pooled features of a file of maps, for retrieval; None: it holds none.

    Args:
        path: of an ``.npz`` file that ``read_maps`` reads.

    Returns:
        ``frame_features`` and ``sound_features``, float32 ``(n, c)``.

    Raises:
        DataError: one of the two is absent, or they differ in shape.
    """
    path = Path(path)
    names = ("frame_features", "sound_features")
    with _open_archive(path) as archive:
        present = [name for name in names if name in archive.files]
        if not present:
            return None
        # Retrieval compares the two, so one alone is of no use.
        if len(present) == 1:
            raise DataError(f"{path}: has {present[0]} alone, expected {' and '.join(names)}")
        frames, sounds = (_read_array(path, archive, name) for name in names)
        num_ids = len(_read_array(path, archive, "sample_ids"))

    for name, array in zip(names, (frames, sounds), strict=True):
        if array.ndim != 2 or array.shape != frames.shape or len(array) != num_ids:
            raise DataError(
                f"{path}: {name} has shape {array.shape}, expected ({num_ids}, number of channels)"
            )
        if array.dtype.kind not in "fiu":
            raise DataError(f"{path}: {name} holds {array.dtype}, expected numbers")
    return frames.astype(np.float32), sounds.astype(np.float32)


def _check_maps(path: Path, maps: np.ndarray, *, num_ids: int, num_axes: int = 3) -> None:
    if maps.ndim != num_axes or 0 in maps.shape[1:]:
        raise DataError(f"{path}: maps has shape {maps.shape}, expected (n, height, width)")
    # Floating point, signed, unsigned, boolean; not text, complex numbers or objects.
    if maps.dtype.kind not in "fiub":
        raise DataError(f"{path}: maps holds {maps.dtype}, expected numbers")

    if len(maps) != num_ids:
        raise DataError(
            f"{path}: {len(maps)} maps for {num_ids} sample ids, expected as many of each"
        )
    if num_ids == 0:
        raise DataError(f"{path}: holds no map")


def _read_array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return archive[name]
    except ValueError as error:
        # Arrays of Python objects are stored as pickles, and NumPy refuses them with this word.
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: {name} holds pickled Python objects, which are never loaded; "
                "save plain arrays"
            ) from None
        raise DataError(f"{path}: {name} cannot be read: {_first_line(error)}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: {name} cannot be read: {_first_line(error)}") from None


def _to_ids(path: Path, sample_ids: np.ndarray) -> list[str]:
    """Turn an array of strings, bytes or integers into a list of ids."""
    if sample_ids.ndim != 1:
        raise DataError(f"{path}: sample_ids has shape {sample_ids.shape}, expected (n,)")

    # Other systems also store ids as bytes or as whole numbers.
    if sample_ids.dtype.kind == "S":
        try:
            return [name.decode() for name in sample_ids.tolist()]
        except UnicodeDecodeError:
            raise DataError(f"{path}: sample_ids holds bytes that are not UTF-8") from None

    if sample_ids.dtype.kind not in "Uiu":
        raise DataError(f"{path}: sample_ids holds {sample_ids.dtype}, expected strings")
    return [str(name) for name in sample_ids.tolist()]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
