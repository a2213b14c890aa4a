"""Reading cached features: ``FeatureReader`` gives the arrays of a feature's folder by sample id.

The layout of the files is in ``earshot/shard_format.py``; any HDF5 reader can do without this module.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable
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
from earshot.tables import INDEX, read_table


class FeatureReader:
    """The samples of one feature folder (``index.parquet`` and its shards).

    Files are opened when first needed, by whichever process reads (after a fork or a pickle each process has its own),
    at most ``max_open_files`` at a time. Reads go to absolute places of a file, so forked workers never disturb each
    other; threads of one process need a reader each. ``is_checked`` compares every array, the first time a process
    reads it, with the checksum in the index.
    """

    def __init__(self, folder: Path | str, *, max_open_files: int = 128, is_checked: bool = False):
        self.folder = Path(folder)
        self.is_checked = is_checked
        self.index: pa.Table = read_table(self.folder / INDEX_NAME, INDEX)
        self._max_open_files = max_open_files
        self._build_lookup()

    def _build_lookup(self) -> None:
        """Per-process state: where each sample is, nothing open yet."""
        columns = {
            name: self.index.column(name)
            for name in ("sample_id", "status", "shard", "row", "crc32")
        }
        is_ok = np.array(columns["status"].to_pylist(), dtype=object) == "ok"
        encoded = columns["shard"].combine_chunks().dictionary_encode()
        self._shard_names: list[str] = encoded.dictionary.to_pylist()
        self._shard_of = np.where(
            is_ok, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), -1
        )
        self._row_of = columns["row"].combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
        self._crc32_of = (
            columns["crc32"].combine_chunks().fill_null(0).to_numpy(zero_copy_only=False)
        )
        ids = columns["sample_id"].to_pylist()
        self._position_of = {sample_id: position for position, sample_id in enumerate(ids)}
        self.sample_ids: list[str] = [
            sample_id for sample_id, ok in zip(ids, is_ok, strict=True) if ok
        ]
        self._is_known_good = np.zeros(len(ids), dtype=bool)
        self._placements: dict[int, Placement] = {}
        self._columns: dict[int, dict[str, np.ndarray]] = {}
        self._descriptors: OrderedDict[int, int] = OrderedDict()
        self._process_id = os.getpid()

    def __getstate__(self):
        return {
            "folder": self.folder,
            "is_checked": self.is_checked,
            "index": self.index,
            "_max_open_files": self._max_open_files,
        }

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._build_lookup()

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __contains__(self, sample_id: str) -> bool:
        """Whether the sample has an array here."""
        position = self._position_of.get(sample_id)
        return position is not None and self._shard_of[position] >= 0

    def reason(self, sample_id: str) -> str | None:
        """Why the sample has no array; None when it has one."""
        return self.index.column("reason")[self._position(sample_id)].as_py()

    @property
    def attributes(self) -> dict:
        """Root attributes (feature, parameters, units, versions) of the first shard; empty when nothing is cached."""
        return read_root_attributes(self._path(0)) if self._shard_names else {}

    def shard_of(self, sample_id: str) -> str:
        """Name of the shard that holds the sample's array."""
        return self._shard_names[self._locate(sample_id)[0]]

    def shards_of(self, sample_ids: Iterable[str]) -> np.ndarray:
        """For each sample the number of its shard, an int array (n,): what ``train.data.order`` shuffles by."""
        return np.array([self._locate(sample_id)[0] for sample_id in sample_ids], dtype=np.int64)

    def read(self, sample_id: str) -> np.ndarray:
        """The sample's array; ``DataError`` with the reason when there is none or when its bytes are damaged."""
        shard, row, crc32 = self._locate(sample_id)
        placement = self._placement(shard)
        try:
            array = read_row(self._descriptor(shard), placement, row)
        except FileNotFoundError:
            raise DataError(
                f"{self._path(shard)}: not found; `python -m pipeline repair` makes missing shards again"
            ) from None
        except (DataError, OSError) as error:
            raise DataError(
                f"{self._path(shard)}: {sample_id}: {error}; run `python -m pipeline repair`"
            ) from None
        position = self._position_of[sample_id]
        if self.is_checked and not self._is_known_good[position]:
            if crc32_of(array) != crc32:
                raise DataError(
                    f"{self._path(shard)}: {sample_id}: bytes differ from their checksum in the index; "
                    "run `python -m pipeline repair`"
                )
            self._is_known_good[position] = True
        return array

    def read_attributes(self, sample_id: str) -> dict[str, float | int]:
        """The sample's own attributes, such as ``native_height``."""
        shard, row, _ = self._locate(sample_id)
        if shard not in self._columns:
            self._columns[shard] = read_columns(self._path(shard))
        columns = self._columns[shard]
        if any(not 0 <= row < len(column) for column in columns.values()):
            raise DataError(
                f"{self._path(shard)}: {sample_id}: found no row {row}, which the index names; "
                "run `python -m pipeline repair`"
            )
        return {name: column[row].item() for name, column in columns.items()}

    def read_batch(self, sample_ids: Iterable[str]) -> list[np.ndarray]:
        """The arrays of several samples, in their order (shapes may differ)."""
        return [self.read(sample_id) for sample_id in sample_ids]

    def close(self) -> None:
        """Close the files of this process; a later read opens them again."""
        if self._process_id == os.getpid():
            for descriptor in self._descriptors.values():
                os.close(descriptor)
        self._descriptors.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        if "_descriptors" in self.__dict__:  # absent when __init__ raised
            self.close()

    def _position(self, sample_id: str) -> int:
        try:
            return self._position_of[sample_id]
        except KeyError:
            raise DataError(f"{self.folder / INDEX_NAME}: no sample {sample_id!r}") from None

    def _locate(self, sample_id: str) -> tuple[int, int, int]:
        position = self._position(sample_id)
        shard = int(self._shard_of[position])
        if shard < 0:
            raise DataError(f"{self.folder}: {sample_id} is not cached: {self.reason(sample_id)}")
        return shard, int(self._row_of[position]), int(self._crc32_of[position])

    def _path(self, shard: int) -> Path:
        return self.folder / self._shard_names[shard]

    def _placement(self, shard: int) -> Placement:
        if shard not in self._placements:
            self._placements[shard] = read_placement(self._path(shard))
        return self._placements[shard]

    def _descriptor(self, shard: int) -> int:
        if (
            self._process_id != os.getpid()
        ):  # forked: the parent's descriptors are shared with it, so open own ones
            for descriptor in self._descriptors.values():
                os.close(descriptor)  # closes this process's duplicate only
            self._descriptors.clear()
            self._process_id = os.getpid()
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        while len(self._descriptors) >= self._max_open_files:
            os.close(self._descriptors.popitem(last=False)[1])
        descriptor = os.open(self._path(shard), os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors[shard] = descriptor
        return descriptor
