"""The layout of a shard: one HDF5 file that holds one feature of some samples. Writing it and reading its tables.

Root attributes: ``feature``, ``schema_version``, ``parameters`` (JSON) and ``version`` (of the algorithm), ``units``
and whatever else the feature declares, ``software`` (JSON, versions of what computed it). Below the root, for n
samples whose arrays have d axes:

| dataset | shape | what |
|---|---|---|
| ``data`` | (total,) | all arrays, C order, one after the other: a sample is one contiguous read |
| ``offset`` | (n + 1,) int64 | array i is ``data[offset[i]:offset[i + 1]]`` (in elements) |
| ``shape`` | (n, d) int32 | its shape; arrays of one shard may differ in shape, not in dtype |
| ``crc32`` | (n,) uint32 | zlib's CRC-32 of the array's bytes |
| ``key`` | (n,) text | what it was computed from (``pipeline/shards/keys.py``) |
| ``sample_id`` | (n,) text | for whom it was computed first; the index says who else uses it |
| ``attributes/<name>`` | (n,) | per-sample attributes (``native_height``, ...) |
| ``failures/{key,sample_id,reason,detail}`` | (m,) text | samples of which it could not be computed |

So the array of row i, with nothing but h5py, is

    with h5py.File(path) as file:
        start, stop = file["offset"][i : i + 2]
        array = file["data"][start:stop].reshape(file["shape"][i])

Everything is contiguous and uncompressed, and a file holds no times: the same rows give the same bytes. A shard's
name is ``<task>-<content>.h5``: 12 hexadecimal digits of the hash of the keys that were asked for, and 20 of the
SHA-256 of the file. Its own name therefore says what is in it and whether one byte of it has changed.
"""

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from earshot.errors import DataError
from earshot.files import publish

SCHEMA_VERSION = 1
INDEX_NAME = "index.parquet"  # beside the shards: which sample is in which shard and row
_NAME = re.compile(r"([0-9a-f]{12})-([0-9a-f]{20})\.h5")


@dataclass(frozen=True)
class Row:
    """One sample's array on its way into a shard."""

    sample_id: str
    key: str
    array: np.ndarray
    attributes: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A sample whose feature could not be computed, and why."""

    sample_id: str
    key: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Placement:
    """Where the arrays of a shard are; ``data_offset`` is where ``data`` begins in the file, in bytes."""

    dtype: np.dtype
    data_offset: int
    offset: np.ndarray  # (n + 1,) int64, elements
    shape: np.ndarray  # (n, d) int32

    def span(self, row: int) -> tuple[int, int]:
        """Half-open range [start, stop) of the file's bytes that hold the array of ``row``, or ``DataError``."""
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
    columns: Mapping[str, np.ndarray]  # per-sample attributes
    failures: tuple[Failure, ...]
    attributes: Mapping[str, object]  # of the root

    def row_attributes(self, row: int) -> dict[str, float | int]:
        """The attributes of one sample."""
        return {name: column[row].item() for name, column in self.columns.items()}


def crc32_of(array: np.ndarray) -> int:
    """CRC-32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


def encode_shard(
    rows: Sequence[Row], failures: Sequence[Failure], attributes: Mapping[str, object]
) -> bytes:
    """The bytes of a shard, made in memory: a full disk then fails in one plain write, never inside HDF5."""
    dtypes = {row.array.dtype for row in rows}
    num_axes = {row.array.ndim for row in rows}
    names = {tuple(sorted(row.attributes)) for row in rows}
    if max(len(dtypes), len(num_axes), len(names)) > 1:
        raise DataError(
            f"shard of {attributes.get('feature')} with {rows[0].sample_id}: arrays differ in dtype "
            f"{sorted(map(str, dtypes))}, axes {sorted(num_axes)} or attributes {sorted(names)}, expected the same"
        )
    dtype = dtypes.pop() if dtypes else np.dtype(np.uint8)
    sizes = np.array([row.array.size for row in rows], dtype=np.int64)
    offset = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
    with h5py.File(
        "shard", "w", driver="core", backing_store=False, libver=("earliest", "v110")
    ) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name, value in attributes.items():
            file.attrs[name] = value
        data = file.create_dataset("data", shape=(int(offset[-1]),), dtype=dtype)
        for row, start, stop in zip(rows, offset[:-1], offset[1:], strict=True):
            data[start:stop] = np.ascontiguousarray(row.array).ravel()
        file["offset"] = offset
        file["shape"] = np.array([row.array.shape for row in rows], dtype=np.int32).reshape(
            len(rows), num_axes.pop() if num_axes else 0
        )
        file["crc32"] = np.array([crc32_of(row.array) for row in rows], dtype=np.uint32)
        _write_texts(file, "key", [row.key for row in rows])
        _write_texts(file, "sample_id", [row.sample_id for row in rows])
        columns = file.create_group("attributes")
        for name in names.pop() if names else ():
            columns[name] = np.array([row.attributes[name] for row in rows])
        group = file.create_group("failures")
        for name in ("key", "sample_id", "reason", "detail"):
            _write_texts(group, name, [getattr(failure, name) for failure in failures])
        file.flush()
        return file.id.get_file_image()


def _write_texts(group, name: str, texts: Sequence[str]) -> None:
    """Fixed-length UTF-8: part of the file's plain bytes, where a variable length would go to HDF5's heaps."""
    encoded = [text.encode() for text in texts]
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded), default=1) or 1)
    group.create_dataset(name, data=np.array(encoded, dtype=dtype))


def shard_name(task: str, content: bytes) -> str:
    """Name of the shard with these bytes, made for the task with this (hexadecimal) identity."""
    return f"{task[:12]}-{hashlib.sha256(content).hexdigest()[:20]}.h5"


def task_of(name: str) -> str | None:
    """The task part of a shard's name; None when the name is not a shard's."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def has_named_content(path: Path, name: str | None = None) -> bool:
    """Whether the file's SHA-256 is the one in ``name`` (by default its own): every byte is as it was written."""
    match = _NAME.fullmatch(name or path.name)
    if match is None:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(match[2])


def has_our_version(path: Path) -> bool:
    """Whether a whole shard has the schema version that this module reads."""
    with h5py.File(path, "r") as file:
        return file.attrs.get("schema_version") == SCHEMA_VERSION


def write_shard(
    folder: Path,
    task: str,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    attributes: Mapping[str, object],
) -> Path:
    """Publish a shard in ``folder`` under its name."""
    content = encode_shard(rows, failures, attributes)
    path = folder / shard_name(task, content)
    with publish(path) as temporary_path:
        temporary_path.write_bytes(content)
    return path


def read_layout(path: Path | str) -> Layout:
    """Read a shard's tables; a file of another schema version, truncated or foreign is refused with one sentence."""
    return _read(path, _read_layout)


def read_placement(path: Path | str) -> Placement:
    """Read what the arrays' places are and nothing else (a tenth of the time of ``read_layout``); refuses the same."""
    return _read(path, _read_placement)


def read_columns(path: Path | str) -> dict[str, np.ndarray]:
    """Read the per-sample attributes, each (n,)."""
    return _read(
        path, lambda file: {name: column[:] for name, column in file["attributes"].items()}
    )


def read_root_attributes(path: Path | str) -> dict[str, object]:
    """Read the attributes of the root."""
    return _read(path, _read_root_attributes)


def _read_root_attributes(file: h5py.File) -> dict[str, object]:
    return {
        name: value.item() if hasattr(value, "item") else value
        for name, value in file.attrs.items()
    }


def _read(path: Path | str, read):
    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("schema_version")
            if version != SCHEMA_VERSION:
                raise _WrongVersionError(version)
            return read(file)
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found; `python -m pipeline repair` makes missing shards again"
        ) from None
    except _WrongVersionError as error:
        raise DataError(
            f"{path}: shard of schema version {error}, this Earshot reads version {SCHEMA_VERSION}; "
            "run `dvc repro` to compute it anew"
        ) from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise DataError(
            f"{path}: not a whole shard ({text}); `python -m pipeline repair` makes it again"
        ) from None


class _WrongVersionError(Exception):
    pass


def _read_placement(file: h5py.File) -> Placement:
    data, offset, shape = file["data"], file["offset"][:], file["shape"][:]
    data_offset = data.id.get_offset() or 0
    if len(shape) != len(offset) - 1 or data.size != offset[-1] or (data.size and not data_offset):
        raise ValueError(
            f"{len(shape)} shapes, {len(offset)} offsets and {data.size} elements do not fit together"
        )
    return Placement(data.dtype, data_offset, offset, shape)


def _read_layout(file: h5py.File) -> Layout:
    placement = _read_placement(file)
    texts = {name: tuple(file[name].asstr()[:].tolist()) for name in ("key", "sample_id")}
    failed = [
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
        failures=tuple(Failure(*values) for values in zip(*failed, strict=True)),
        attributes=_read_root_attributes(file),
    )
    lengths = {
        len(table)
        for table in (layout.sample_ids, layout.crc32, layout.shape, *layout.columns.values())
    }
    if lengths != {len(layout.keys)}:
        raise ValueError(
            f"tables of {sorted(lengths | {len(layout.keys)})} rows do not fit together"
        )
    return layout


def read_row(descriptor: int, placement: Placement, row: int) -> np.ndarray:
    """The array of ``row`` from an open file (a descriptor): one read at an absolute place, safe between processes."""
    start, stop = placement.span(row)
    shape = tuple(placement.shape[row].tolist())
    # Before anything is allocated: damaged tables can ask for any amount.
    if (
        min(shape, default=0) < 0
        or math.prod(shape) * placement.dtype.itemsize != stop - start
        or start < 0
    ):
        raise DataError(f"row {row}: shape {shape} does not fit its {stop - start} bytes")
    array = np.empty(shape, placement.dtype)
    if array.nbytes:
        view = memoryview(array).cast("B")
        done = 0
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], start + done)
            if count == 0:
                raise DataError(
                    f"row {row}: the file ends {len(view) - done} bytes before the array does"
                )
            done += count
    return array


def parameters_json(parameters: Mapping) -> str:
    """Canonical JSON of a feature's parameters, as stored in shards and hashed into keys."""
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"))
