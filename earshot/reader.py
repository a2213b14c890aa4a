"""Read cached features: ``FeatureReader`` returns the arrays of a feature's folder by sample id.

    with FeatureReader("cache/sample/frames") as reader:
        array = reader.read(reader.sample_ids[0])

The layout of the files is in ``earshot/shard_format.py``; any HDF5 reader can read them.
"""

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from earshot.shard_format import (
    INDEX_NAME,
    Placement,
    crc32_of,
    read_columns,
    read_placement,
    read_root_attributes,
    read_row,
)
from earshot.tables import INDEX, read_table, require_distinct_ids

_ADVICE = "run `python -m pipeline repair`"


class FeatureReader:
    """The samples of one feature folder: ``index.parquet`` and its shards.

    Each process opens files when it first needs them, also after a fork or a pickle. Forked workers
    and threads can share a reader, because reads do not use the position of a file.

    A reader keeps the index that it has read. If the feature is computed anew meanwhile, it goes on
    with the old arrays, and fails for those that are gone.

    Args:
        folder: The feature's folder, for example ``cache/sample/frames``.
        max_open_files: How many shards are open at a time; each thread may hold one more.
        is_checked: Whether a process compares each array with the checksum in the index when it
            first reads it.

    Raises:
        DataError: There is no index, or it cannot be read; or ``max_open_files`` is below 1.

    Attributes:
        index: The whole index; its columns are those of ``earshot.tables.INDEX``.
        sample_ids: The samples that have an array, in the order of the index.
    """

    def __init__(self, folder: Path | str, *, max_open_files: int = 128, is_checked: bool = False):
        # Room for a file could never be made.
        if max_open_files < 1:
            raise DataError(f"max_open_files is {max_open_files}, expected 1 or more")
        self.folder = Path(folder)
        self.is_checked = is_checked
        path = self.folder / INDEX_NAME
        # Before reading, so that an index that is replaced meanwhile has another stamp.
        self._index_stamp = _stamp(path)
        self.index: pa.Table = read_table(path, INDEX)
        # A sample in two rows would have the array of either.
        require_distinct_ids(path, self.index)
        self._max_open_files = max_open_files
        self._build_lookup()

    def __repr__(self) -> str:
        return (
            f"<FeatureReader {str(self.folder)!r}: arrays of {len(self.sample_ids):,} of "
            f"{len(self.index):,} samples>"
        )

    def _build_lookup(self) -> None:
        """Make the state that each process has for itself; no file is open yet."""
        # As single arrays, not in chunks: only such an array has one list of shard names.
        columns = {
            name: self.index.column(name).combine_chunks()
            for name in ("sample_id", "status", "shard", "row", "crc32")
        }
        is_ok = np.array(columns["status"].to_pylist(), dtype=object) == "ok"
        ids = columns["sample_id"].to_pylist()

        # Arrays of numbers by position in the index: a dictionary of tuples would take ten times
        # the memory for a million samples. A shard's number is its place in the list of names.
        shards = columns["shard"].dictionary_encode()
        names: list[str] = shards.dictionary.to_pylist()
        shard_numbers = shards.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._shard_of = np.where(is_ok, shard_numbers, -1)
        self._row_of = columns["row"].fill_null(-1).to_numpy(zero_copy_only=False)
        self._crc32_of = columns["crc32"].fill_null(0).to_numpy(zero_copy_only=False)
        self._position_of = {sample_id: position for position, sample_id in enumerate(ids)}

        self.sample_ids: list[str] = [
            sample_id for sample_id, ok in zip(ids, is_ok, strict=True) if ok
        ]

        # Which arrays this process has compared with their checksum; also by position.
        self._is_known_good = np.zeros(len(ids), dtype=bool)
        self._files = _ShardFiles(self.folder, names, max_open_files=self._max_open_files)

    def __getstate__(self) -> dict[str, object]:
        # Open files and the lookup do not travel to another process. They are made again there.
        return {
            "folder": self.folder,
            "is_checked": self.is_checked,
            "index": self.index,
            "_index_stamp": self._index_stamp,
            "_max_open_files": self._max_open_files,
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._build_lookup()

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __contains__(self, sample_id: str) -> bool:
        """Return whether the sample has an array."""
        position = self._position_of.get(sample_id)
        return position is not None and self._shard_of[position] >= 0

    def reason(self, sample_id: str) -> str | None:
        """Return why the sample has no array; None when it has one."""
        return self.index.column("reason")[self._position(sample_id)].as_py()

    @property
    def attributes(self) -> dict[str, object]:
        """The first shard's root attributes: feature, parameters, units, versions.

        Empty when nothing is cached.
        """
        if not self._files.names:
            return {}
        try:
            return read_root_attributes(self._files.path(0))
        except DataError as error:
            raise self._explain(error) from None

    def shard_of(self, sample_id: str) -> str:
        """Return the name of the shard that holds the sample's array."""
        return self._files.names[self._locate(sample_id)[0]]

    def shards_of(self, sample_ids: Iterable[str]) -> np.ndarray:
        """Return the number of each sample's shard, an int64 array of shape (n,).

        A training that reads shard by shard orders its samples by these numbers.
        """
        return np.array([self._locate(sample_id)[0] for sample_id in sample_ids], dtype=np.int64)

    def read(self, sample_id: str) -> np.ndarray:
        """Return the sample's array, in the shape and dtype in which it was cached.

        Raises:
            DataError: The sample is unknown, has no array (the message says why), or its bytes are
                damaged.
        """
        shard, row, crc32 = self._locate(sample_id)
        path = self._files.path(shard)
        try:
            placement = self._files.placement(shard)
        except DataError as error:
            raise self._explain(error) from None

        try:
            # Held until the array is read: another thread may let go of it meanwhile.
            file = self._files.open(shard)
            array = read_row(file.descriptor, placement, row)
        except FileNotFoundError:
            text = f"{path}: not found; `python -m pipeline repair` rebuilds missing shards"
            raise self._explain(DataError(text)) from None
        except (DataError, OSError) as error:
            text = f"{path}: {sample_id}: {error}; {_ADVICE}"
            raise self._explain(DataError(text)) from None

        position = self._position_of[sample_id]
        # Once a process is enough: the file does not change, and damage shows at the first read.
        if self.is_checked and not self._is_known_good[position]:
            if crc32_of(array) != crc32:
                raise DataError(
                    f"{path}: {sample_id}: bytes differ from their checksum in the index; {_ADVICE}"
                )
            self._is_known_good[position] = True
        return array

    def read_attributes(self, sample_id: str) -> dict[str, float | int]:
        """Return the sample's own attributes, such as ``native_height``.

        Raises:
            DataError: The sample is unknown, has no array (the message says why), or its shard is
                absent or damaged.
        """
        shard, row, _ = self._locate(sample_id)
        try:
            columns = self._files.columns(shard)
        except DataError as error:
            raise self._explain(error) from None

        # A damaged index can name a row that the shard does not have.
        if any(not 0 <= row < len(column) for column in columns.values()):
            raise DataError(
                f"{self._files.path(shard)}: {sample_id}: found no row {row}, which the index "
                f"names; {_ADVICE}"
            )
        return {name: column[row].item() for name, column in columns.items()}

    def read_batch(self, sample_ids: Iterable[str]) -> list[np.ndarray]:
        """Return the arrays of several samples, in their order; shapes may differ."""
        return [self.read(sample_id) for sample_id in sample_ids]

    def close(self) -> None:
        """Close the files of this process. A later read opens them again."""
        self._files.close()

    def __enter__(self) -> "FeatureReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_files" in self.__dict__:  # absent when __init__ raised
            self.close()

    def _explain(self, error: DataError) -> DataError:
        """Return ``error``; or, if the feature was computed anew, one that says so."""
        path = self.folder / INDEX_NAME
        if _stamp(path) == self._index_stamp:
            return error
        return DataError(
            f"{path}: another one than when it was opened, because {self.folder.name} was "
            "computed anew or is being so; open it again when that has ended"
        )

    def _position(self, sample_id: str) -> int:
        try:
            return self._position_of[sample_id]
        except KeyError:
            raise DataError(f"{self.folder / INDEX_NAME}: no sample {sample_id!r}") from None

    def _locate(self, sample_id: str) -> tuple[int, int, int]:
        """Return the number of the sample's shard, the row, and the checksum."""
        position = self._position(sample_id)
        shard = int(self._shard_of[position])
        if shard < 0:
            raise DataError(f"{self.folder}: {sample_id} is not cached: {self.reason(sample_id)}")
        return shard, int(self._row_of[position]), int(self._crc32_of[position])


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from one that replaced it; None: there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class _OpenFile:
    """A file that is open as long as somebody uses it."""

    # Kept here: when Python ends, this module's own names are gone before the last file is closed.
    _close = staticmethod(os.close)

    def __init__(self, path: Path):
        # Not passed on to programs that this process starts.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if "descriptor" in self.__dict__:  # absent when the file could not be opened
            self._close(self.descriptor)


class _ShardFiles:
    """The shards of a folder by number: their tables, and a few open files."""

    def __init__(self, folder: Path, names: Sequence[str], *, max_open_files: int):
        self.names = names
        self._folder = folder

        # Kept for every shard that was read, because they are small. Open files are limited.
        self._placements: dict[int, Placement] = {}
        self._columns: dict[int, dict[str, np.ndarray]] = {}
        # This cache stays whole when several threads use it. An OrderedDict does not: closing a
        # file lets another thread in, while the dictionary is still being changed.
        self._open_file = lru_cache(max_open_files)(_OpenFile)
        self._process_id = os.getpid()

    def path(self, shard: int) -> Path:
        """Return where the shard is."""
        return self._folder / self.names[shard]

    def placement(self, shard: int) -> Placement:
        """Return where the arrays are in the shard's file."""
        if shard not in self._placements:
            self._placements[shard] = read_placement(self.path(shard))
        return self._placements[shard]

    def columns(self, shard: int) -> dict[str, np.ndarray]:
        """Return the attributes of the shard's samples, arrays of shape (n,) by name."""
        if shard not in self._columns:
            self._columns[shard] = read_columns(self.path(shard))
        return self._columns[shard]

    def open(self, shard: int) -> _OpenFile:
        """Return the open file of a shard; let go of the one that was not used for longest."""
        if self._process_id != os.getpid():
            # After a fork this process has copies of its parent's descriptors. Open own ones.
            self.close()
            self._process_id = os.getpid()

        # Two threads may open one shard at once. Each keeps its own file as long as it reads.
        return self._open_file(self.path(shard))

    def close(self) -> None:
        """Let go of the files of this process; those that no thread reads are closed."""
        self._open_file.cache_clear()
