"""Read records (column -> value) from CSV, JSON lines or Parquet, each with its place."""

import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError, quote
from pipeline.lists.published_lists import decode_lines

SUFFIXES = (".csv", ".jsonl", ".parquet")
_ROWS_PER_BATCH = 10_000

# Where a record is, in words (``birds.csv, line 3``), and its columns that are not empty.
Record = tuple[str, dict[str, Any]]


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file, at least one, in the order of the file.

    Args:
        path: CSV with a line of column names, JSON lines (one object each), or Parquet.

    Raises:
        DataError: the file is absent or cannot be read; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a table ({', '.join(SUFFIXES)})")

    readers = dict(zip(SUFFIXES, (_read_csv, _read_json_lines, _read_parquet), strict=True))
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: has suffix {path.suffix!r}, expected {', '.join(SUFFIXES)}")

    is_empty = True
    for record in readers[path.suffix.lower()](path):
        is_empty = False
        yield record
    if is_empty:
        raise DataError(f"{path}: holds no row")


def _read_csv(path: Path) -> Iterator[Record]:
    # strict: a quote that is never closed is an error, not one cell with the rest of the file.
    reader = csv.reader(decode_lines(path), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(path, names)
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if not values:
                continue

            if len(values) != len(names):
                raise DataError(f"{where}: has {len(values)} values, expected {len(names)}")

            # Every line of a CSV file has every cell, so an empty one means that there is no value.
            record = zip(names, (value.strip() for value in values), strict=True)
            yield where, {name: value for name, value in record if value}
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None


def _check_names(path: Path, names: list[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1:
            found = f"{name!r} twice" if name else "a column without a name"
            raise DataError(f"{path}, line 1: has {found}, expected names of columns")
    # Spreadsheets write other separators where a comma is a decimal point.
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise DataError(
            f"{path}, line 1: has one column {quote(names[0])}, expected commas between columns"
        )


def _read_json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(decode_lines(path), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue

        try:
            record = json.loads(line, object_pairs_hook=make_mapping)
            if "\\u" in line:
                # An escape can be half of a surrogate pair, which no table can hold.
                json.dumps(record, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: is not JSON ({error})") from None

        if not isinstance(record, dict):
            raise DataError(f"{where}: holds {type(record).__name__}, expected an object")
        yield where, {name: value for name, value in record.items() if value is not None}


def make_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the names and values of an object of JSON, which may not have a name twice.

    Raises:
        ValueError: it has; Python's reader would keep the last value without a word.
    """
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has {quote(repeated)} twice")
    return mapping


def _read_parquet(path: Path) -> Iterator[Record]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is not readable Parquet ({error})") from None

    # In batches, because rows as Python values take ten times the memory of a table.
    batches = table.to_batches(max_chunksize=_ROWS_PER_BATCH)
    records = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
    for number, record in enumerate(records, start=1):
        columns = {name: value for name, value in record.items() if value is not None}
        yield f"{path}, row {number}", columns
