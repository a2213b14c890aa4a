"""Files of localization maps, Earshot's own and those of any other system.

A file is a NumPy ``.npz`` with ``sample_ids`` (n,) strings and ``maps`` (n, h, w) numbers, larger = more likely; h
and w are free. Such files come from strangers, so nothing in them is ever unpickled.
"""

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earshot.errors import DataError
from earshot.files import publish


def write_maps(path: Path | str, *, sample_ids: Sequence[str], maps: np.ndarray) -> None:
    """Publish maps (n, h, w) of ``sample_ids`` (n,) at ``path``, float32, compressed."""
    maps = np.asarray(maps, np.float32)
    if maps.ndim != 3 or len(maps) != len(sample_ids):
        raise DataError(
            f"{path}: {len(sample_ids)} sample ids with maps of shape {maps.shape}, expected (n, h, w)"
        )
    with publish(path) as temporary_path:
        with open(temporary_path, "wb") as file:
            np.savez_compressed(file, sample_ids=np.array(sample_ids, dtype=np.str_), maps=maps)


def read_maps(path: Path | str) -> tuple[list[str], np.ndarray]:
    """``(sample_ids, maps)`` of a file, maps float32 ``(n, h, w)``; anything else is refused with one sentence.

    Values that are not finite are left in: whether such a map matters depends on the test set.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected an .npz file with sample_ids and maps")
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: not found") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file: {_why_unreadable(error)}") from None
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: holds a single array, expected an .npz with sample_ids and maps")
    with loaded:
        absent = [name for name in ("sample_ids", "maps") if name not in loaded.files]
        if absent:
            found = ", ".join(loaded.files[:5]) or "nothing"
            found += f", ... ({len(loaded.files) - 5} more)" if len(loaded.files) > 5 else ""
            raise DataError(
                f"{path}: has no array {absent[0]!r} (found {found}), expected sample_ids and maps"
            )
        sample_ids = _as_ids(path, _read_array(path, loaded, "sample_ids"))
        maps = _read_array(path, loaded, "maps")
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise DataError(f"{path}: maps has shape {maps.shape}, expected (n, height, width)")
    if maps.dtype.kind not in "fiub":
        raise DataError(f"{path}: maps holds {maps.dtype}, expected numbers")
    if len(maps) != len(sample_ids):
        raise DataError(
            f"{path}: {len(maps)} maps for {len(sample_ids)} sample ids, expected as many of each"
        )
    if not sample_ids:
        raise DataError(f"{path}: holds no map")
    twice = [name for name, count in Counter(sample_ids).items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: sample id {twice[0]} is there twice ({len(twice)} such ids), expected each once"
        )
    with np.errstate(over="ignore"):
        return sample_ids, maps.astype(np.float32)


def _read_array(path: Path, loaded, name: str) -> np.ndarray:
    try:
        return loaded[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            message = f"{path}: {name} holds pickled Python objects, which are never loaded; save plain arrays"
            raise DataError(message) from None
        raise DataError(f"{path}: {name} cannot be read: {_first_line(error)}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error, MemoryError) as error:
        raise DataError(f"{path}: {name} cannot be read: {_first_line(error)}") from None


def _as_ids(path: Path, sample_ids: np.ndarray) -> list[str]:
    if sample_ids.ndim != 1:
        raise DataError(f"{path}: sample_ids has shape {sample_ids.shape}, expected (n,)")
    if sample_ids.dtype.kind == "S":
        try:
            return [name.decode() for name in sample_ids.tolist()]
        except UnicodeDecodeError:
            raise DataError(f"{path}: sample_ids holds bytes that are not UTF-8") from None
    if sample_ids.dtype.kind not in "Uiu":
        raise DataError(f"{path}: sample_ids holds {sample_ids.dtype}, expected strings")
    return [str(name) for name in sample_ids.tolist()]


def _why_unreadable(error: Exception) -> str:
    """NumPy takes whatever it does not know for a pickle, and then advises to load it unsafely."""
    return "it is of another format" if "pickle" in str(error) else _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
