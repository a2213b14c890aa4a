"""Read the rows of CSV, JSON lines or Parquet in columns, a hundred thousand rows at a time.

``read_records`` makes objects of each row, which take gigabytes for a million rows. This reader is
for tables in which nothing is unusual. It raises ``UnusualError`` at anything else, right or wrong,
and ``read_records`` then reads the table again and says what is wrong, and where.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earshot.errors import DataError
from pipeline.lists.published_lists import decode_lines
from pipeline.lists.record_files import make_mapping

_NUM_ROWS = 100_000
# A column of some rows; null where a row has no value.
Columns = dict[str, pa.Array]


class UnusualError(Exception):
    """A table must be read row by row."""


def iter_columns(path: Path) -> Iterator[tuple[int, Columns]]:
    """Yield the rows of a file in their order: how many, and their columns by name.

    Raises:
        UnusualError: The file is absent, damaged, or in a form that this reader does not know.
    """
    readers: dict[str, Callable[[Path], Iterator[tuple[int, Columns]]]] = {
        ".csv": _iter_csv,
        ".jsonl": _iter_json_lines,
        ".parquet": _iter_parquet,
    }
    if path.suffix.lower() not in readers:
        raise UnusualError
    try:
        yield from readers[path.suffix.lower()](path)
    except (DataError, csv.Error, OSError, ValueError, pa.ArrowException) as error:
        raise UnusualError from error
    except (OverflowError, RecursionError) as error:
        # Of JSON: a whole number of more than 64 bits, or lists in lists without end.
        raise UnusualError from error


def read_text(column: pa.Array) -> pa.Array:
    """Return a column as text, as ``str`` would write its values.

    Raises:
        UnusualError: It holds other values than text and whole numbers.
    """
    if pa.types.is_floating(column.type) or not _is_plain(column):
        raise UnusualError
    return column.cast(pa.string())


def read_numbers(column: pa.Array) -> pa.Array:
    """Return a column as numbers; null where a row has none.

    Raises:
        UnusualError: A value is not a finite number, or below 0.
    """
    # Not decimals: Arrow's conversion can differ from Python's in the last bit.
    if not _is_plain(column):
        raise UnusualError
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowException, ValueError) as error:
        raise UnusualError from error
    is_right = pc.and_(pc.is_finite(numbers), pc.greater_equal(numbers, 0))
    if pc.all(is_right).as_py() is False:
        raise UnusualError
    return numbers


def _is_plain(column: pa.Array) -> bool:
    """Return whether the values are text or numbers, and not decimals."""
    kinds = (
        *(pa.types.is_null, pa.types.is_string, pa.types.is_large_string),
        *(pa.types.is_integer, pa.types.is_floating),
    )
    return any(is_kind(column.type) for is_kind in kinds)


def _iter_csv(path: Path) -> Iterator[tuple[int, Columns]]:
    reader = csv.reader(decode_lines(path), strict=True)
    names = [name.strip() for name in next(reader, [])]
    _require_names(names)
    while lines := list(itertools.islice(reader, _NUM_ROWS)):
        rows = [row for row in lines if row]
        if set(map(len, rows)) - {len(names)}:
            raise UnusualError
        cells = zip(*rows, strict=True)
        yield (
            len(rows),
            {
                # An empty cell means that there is no value.
                name: pa.array([value.strip() or None for value in values], pa.string())
                for name, values in zip(names, cells, strict=False)
            },
        )


def _iter_json_lines(path: Path) -> Iterator[tuple[int, Columns]]:
    lines = (line for line in decode_lines(path) if line.strip())
    while batch := list(itertools.islice(lines, _NUM_ROWS)):
        rows = [json.loads(line, object_pairs_hook=make_mapping) for line in batch]
        names = list(rows[0]) if isinstance(rows[0], dict) else []
        # In another order, the attributes of a row would have another order.
        if not all(isinstance(row, dict) and list(row) == names for row in rows):
            raise UnusualError
        yield len(rows), {name: _make_array([row[name] for row in rows]) for name in names}


def _make_array(values: list[Any]) -> pa.Array:
    """Return values of JSON as an array."""
    try:
        column = pa.array(values)
    except TypeError as error:
        raise UnusualError from error
    # Arrow takes `true` among numbers for 1.0.
    if not pa.types.is_string(column.type) and _holds_boolean(values):
        raise UnusualError
    return column


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_boolean, value))
    return isinstance(value, bool)


def _iter_parquet(path: Path) -> Iterator[tuple[int, Columns]]:
    with pq.ParquetFile(path) as file:
        _require_names(file.schema_arrow.names)
        for batch in file.iter_batches(_NUM_ROWS):
            yield batch.num_rows, dict(zip(batch.schema.names, batch.columns, strict=True))


def _require_names(names: Sequence[Any]) -> None:
    if not all(names) or len(set(names)) != len(names):
        raise UnusualError
