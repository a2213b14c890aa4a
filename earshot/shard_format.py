"""The layout of a shard, an HDF5 file that holds one feature of some samples; write and read it.

Attributes of the root: ``feature``, ``schema_version``, ``parameters`` (JSON), ``version`` (of the
algorithm), ``units`` and others that the feature declares, ``software`` (JSON: versions of the
packages that computed it). For n samples whose arrays have d axes, the file has:

| dataset | shape | content |
|---|---|---|
| ``data`` | (total,) | all arrays in C order, end to end; a sample is one contiguous read |
| ``offset`` | (n + 1,) int64 | array i is ``data[offset[i]:offset[i + 1]]``, counted in elements |
| ``shape`` | (n, d) int32 | shape of each array; arrays differ in shape, but not in dtype |
| ``crc32`` | (n,) uint32 | zlib's CRC-32 of the array's bytes |
| ``key`` | (n,) text | hash of what it was computed from (``pipeline/shards/keys.py``) |
| ``sample_id`` | (n,) text | the sample that it was first computed for; the index has all of them |
| ``attributes/<name>`` | (n,) | attributes of each sample (``native_height``, ...) |
| ``failures/{key,sample_id,reason,detail}`` | (m,) text | samples whose computation failed |

Read row i with nothing but h5py:

    with h5py.File(path) as file:
        start, stop = file["offset"][i : i + 2]
        array = file["data"][start:stop].reshape(file["shape"][i])

Everything is contiguous and uncompressed, and a file contains no times, so equal rows give equal
bytes. ``shard_names.py`` describes the name of a shard.
"""

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from earshot.errors import DataError
from earshot.files import publish
from earshot.shard_names import shard_name

SCHEMA_VERSION = 1
INDEX_NAME = "index.parquet"  # beside the shards: the shard and row of each sample

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Row:
    """One sample's array, to be written into a shard."""

    sample_id: str
    key: str
    array: np.ndarray
    attributes: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A sample whose feature could not be computed, and the reason."""

    sample_id: str
    key: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Placement:
    """Where in the file the arrays of a shard are."""

    dtype: np.dtype
    data_offset: int  # where ``data`` begins in the file, in bytes
    offset: np.ndarray  # (n + 1,) int64, elements
    shape: np.ndarray  # (n, d) int32

    def span(self, row: int) -> tuple[int, int]:
        """Return the bytes of the file that hold ``row``, as a half-open range [start, stop).

        Raises:
            DataError: The shard has no such row.
        """
        if not 0 <= row < len(self.shape):
            raise DataError(f"row {row}: the shard has {len(self.shape)} rows")
        start, stop = (int(value) * self.dtype.itemsize for value in self.offset[row : row + 2])
        return self.data_offset + start, self.data_offset + stop


@dataclass(frozen=True)
class Layout(Placement):
    """All tables of a shard."""

    crc32: np.ndarray  # (n,) uint32
    keys: tuple[str, ...]
    sample_ids: tuple[str, ...]
    columns: Mapping[str, np.ndarray]  # attributes of the samples, each (n,)
    failures: tuple[Failure, ...]
    attributes: Mapping[str, object]  # of the root


def crc32_of(array: np.ndarray) -> int:
    """Return the CRC-32 of an array's bytes in C order."""
    # An empty array has no buffer that can be cast to bytes.
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


# Writing. The rows are checked and encoded in memory; the file appears complete.


def write_shard(
    folder: Path,
    task: str,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    attributes: Mapping[str, object],
) -> Path:
    """Publish a shard in ``folder`` under its own name.

    Args:
        folder: Created if it is absent.
        task: Hexadecimal hash of the requested keys, at least 12 digits.
        rows: The samples' arrays: equal in dtype, number of axes and names of attributes.
        failures: Samples without an array.
        attributes: Attributes of the root, without ``schema_version``.

    Returns:
        The path of the shard.

    Raises:
        DataError: The rows differ in what must be equal.
    """
    content = encode_shard(rows, failures, attributes)
    path = folder / shard_name(task, content)
    with publish(path) as temporary_path:
        temporary_path.write_bytes(content)
    return path


def encode_shard(
    rows: Sequence[Row], failures: Sequence[Failure], attributes: Mapping[str, object]
) -> bytes:
    """Return the bytes of a shard; the arguments are those of ``write_shard``.

    HDF5 works in memory here, so a full disk fails in one plain write and never inside HDF5.
    """
    # A shard holds all arrays in one HDF5 dataset, which has one dtype. Only shapes may differ.
    dtypes = {row.array.dtype for row in rows}
    num_axes = {row.array.ndim for row in rows}
    names = {tuple(sorted(row.attributes)) for row in rows}
    if max(len(dtypes), len(num_axes), len(names)) > 1:
        raise DataError(
            f"shard of {attributes.get('feature')} with {rows[0].sample_id}: "
            f"arrays differ in dtype {sorted(map(str, dtypes))}, axes {sorted(num_axes)} "
            f"or attributes {sorted(names)}, expected the same"
        )

    # A shard of failures alone has no dtype. Any will do for an array without elements.
    dtype = dtypes.pop() if dtypes else np.dtype(np.uint8)
    sizes = np.array([row.array.size for row in rows], dtype=np.int64)
    offset = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])

    # Written in memory, because the hash of the bytes becomes a part of the file's name.
    # The oldest version of each structure, so that the bytes depend less on the installed HDF5.
    with h5py.File(
        "shard", "w", driver="core", backing_store=False, libver=("earliest", "v110")
    ) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name, value in attributes.items():
            file.attrs[name] = value

        data = file.create_dataset("data", shape=(int(offset[-1]),), dtype=dtype)
        for row, start, stop in zip(rows, offset[:-1], offset[1:], strict=True):
            data[start:stop] = np.ascontiguousarray(row.array).ravel()

        # The order of these lines decides the bytes of the file.
        file["offset"] = offset
        file["shape"] = np.array([row.array.shape for row in rows], dtype=np.int32).reshape(
            len(rows), num_axes.pop() if num_axes else 0
        )
        file["crc32"] = np.array([crc32_of(row.array) for row in rows], dtype=np.uint32)
        _write_texts(file, "key", [row.key for row in rows])
        _write_texts(file, "sample_id", [row.sample_id for row in rows])

        columns = file.create_group("attributes")
        # The names are sorted, so the order of a row's attributes does not change the bytes.
        for name in names.pop() if names else ():
            columns[name] = np.array([row.attributes[name] for row in rows])

        group = file.create_group("failures")
        for name in ("key", "sample_id", "reason", "detail"):
            _write_texts(group, name, [getattr(failure, name) for failure in failures])

        # HDF5 buffers what is written. The image of the file lacks it before this.
        file.flush()
        return file.id.get_file_image()


def _write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    # Texts of fixed length lie in the file's plain bytes; HDF5 puts others into a heap.
    encoded = [text.encode() for text in texts]
    # HDF5 has no type for texts of length 0.
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded), default=1) or 1)
    group.create_dataset(name, data=np.array(encoded, dtype=dtype))


def parameters_json(parameters: Mapping) -> str:
    """Return canonical JSON of a feature's parameters, for shards and for the hash of keys."""
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"))


# Reading. Tables go through h5py; arrays are read directly at their place in the file.


def has_our_version(path: Path) -> bool:
    """Return whether a complete shard has the schema version that this module reads."""
    # Without a lock, as in `_read`.
    with h5py.File(path, "r", locking=False) as file:
        return file.attrs.get("schema_version") == SCHEMA_VERSION


def read_layout(path: Path | str) -> Layout:
    """Read all tables of a shard, without the arrays.

    Args:
        path: The shard.

    Returns:
        The tables: where the arrays are, the keys and ids of the samples, and the failures.

    Raises:
        DataError: The file is absent, truncated, no shard, or of another schema version. The other
            functions that read a path raise it too.
    """
    return _read(path, _read_layout)


def read_placement(path: Path | str) -> Placement:
    """Read only where the arrays are; takes a tenth of the time of ``read_layout``."""
    return _read(path, _read_placement)


def read_columns(path: Path | str) -> dict[str, np.ndarray]:
    """Read the attributes of the samples: arrays of shape (n,) by name."""
    return _read(
        path, lambda file: {name: column[:] for name, column in file["attributes"].items()}
    )


def read_root_attributes(path: Path | str) -> dict[str, object]:
    """Read the attributes of the root."""
    return _read(path, _read_root_attributes)


def read_row(descriptor: int, placement: Placement, row: int) -> np.ndarray:
    """Read the array of ``row`` with one read at an absolute position of an open file.

    Several processes can do so with one descriptor, because its position is not used.

    Args:
        descriptor: Of the shard, opened for reading.
        placement: Of the same shard, from ``read_placement`` or ``read_layout``.
        row: The row of the sample in the shard, from 0.

    Returns:
        A new array with the type and the shape that ``placement`` gives for the row.

    Raises:
        DataError: The shard has no such row, or its tables or its length are damaged.
    """
    start, stop = placement.span(row)
    shape = tuple(placement.shape[row].tolist())
    # Check before allocating: a damaged table can announce any size.
    if (
        min(shape, default=0) < 0
        or math.prod(shape) * placement.dtype.itemsize != stop - start
        or start < 0
    ):
        raise DataError(f"row {row}: shape {shape} does not fit its {stop - start} bytes")

    array = np.empty(shape, placement.dtype)
    if array.nbytes == 0:
        return array

    # A read can return fewer bytes than requested, for example from a network file system.
    view = array.data.cast("B")
    num_read = 0
    while num_read < len(view):
        count = os.preadv(descriptor, [view[num_read:]], start + num_read)
        if count == 0:
            raise DataError(
                f"row {row}: the file ends {len(view) - num_read} bytes before the array does"
            )
        num_read += count
    return array


class _WrongVersionError(Exception):
    pass


def _read(path: Path | str, read: Callable[[h5py.File], _Result]) -> _Result:
    """Open a shard and call ``read``; turn whatever goes wrong into ``DataError``."""
    try:
        # Without a lock: a published shard does not change, and network file systems often
        # cannot lock.
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("schema_version")
            if version != SCHEMA_VERSION:
                raise _WrongVersionError(version)
            return read(file)

    except FileNotFoundError:
        raise DataError(
            f"{path}: not found; `python -m pipeline repair` rebuilds missing shards"
        ) from None
    except _WrongVersionError as error:
        raise DataError(
            f"{path}: shard of schema version {error}, this Earshot reads version "
            f"{SCHEMA_VERSION}; run `dvc repro` to compute it anew"
        ) from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        # h5py raises any of these for damaged bytes, depending on where they are.
        text = " ".join(str(error).split())
        raise DataError(
            f"{path}: not a whole shard ({text}); `python -m pipeline repair` rebuilds it"
        ) from None


def _read_root_attributes(file: h5py.File) -> dict[str, object]:
    # HDF5 returns numbers as NumPy scalars, which JSON cannot hold.
    return {
        name: value.item() if hasattr(value, "item") else value
        for name, value in file.attrs.items()
    }


def _read_placement(file: h5py.File) -> Placement:
    data, offset, shape = file["data"], file["offset"][:], file["shape"][:]
    # An array without elements has no place in the file: None.
    data_offset = data.id.get_offset() or 0

    if len(shape) != len(offset) - 1 or data.size != offset[-1] or (data.size and not data_offset):
        raise ValueError(
            f"{len(shape)} shapes, {len(offset)} offsets and {data.size} elements "
            "do not fit together"
        )
    return Placement(data.dtype, data_offset, offset, shape)


def _read_layout(file: h5py.File) -> Layout:
    placement = _read_placement(file)
    texts = {name: tuple(file[name].asstr()[:].tolist()) for name in ("key", "sample_id")}
    failure_columns = [
        file["failures"][name].asstr()[:].tolist()
        for name in ("sample_id", "key", "reason", "detail")
    ]
    layout = Layout(
        placement.dtype,
        placement.data_offset,
        placement.offset,
        placement.shape,
        crc32=file["crc32"][:],
        keys=texts["key"],
        sample_ids=texts["sample_id"],
        columns={name: column[:] for name, column in file["attributes"].items()},
        failures=tuple(Failure(*values) for values in zip(*failure_columns, strict=True)),
        attributes=_read_root_attributes(file),
    )

    # `_read_placement` has compared offsets and shapes. The other tables need as many rows.
    lengths = {
        len(table)
        for table in (layout.sample_ids, layout.crc32, layout.shape, *layout.columns.values())
    }
    if lengths != {len(layout.keys)}:
        raise ValueError(
            f"tables of {sorted(lengths | {len(layout.keys)})} rows do not fit together"
        )
    return layout
