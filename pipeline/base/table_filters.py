"""Small operations on Arrow tables: count and number values, select rows."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earshot.errors import DataError


def count_values(column: pa.ChunkedArray) -> Counter[str]:
    """Return how often each value occurs, without nulls."""
    counts = pc.value_counts(column.drop_null())
    values, numbers = (counts.field(name).to_pylist() for name in ("values", "counts"))
    return Counter(dict(zip(values, numbers, strict=True)))


def number_values(column: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each value, in the order in which the values first appear.

    Equal values have one number, and so do all nulls.
    """
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False)


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file without reading its columns.

    Raises:
        DataError: The file is absent or not a Parquet file.
    """
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError) as error:
        # Arrow's messages have several lines; the first one names the cause.
        words = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file: {words}") from None


def select_reasons(rows: pa.Table, reasons: Sequence[str]) -> pa.Table:
    """Return the rows with one of the ``reasons``.

    Args:
        rows: Table with the column ``reason``.
        reasons: Empty: keep all rows.

    Returns:
        The selected rows, in their order.
    """
    if not reasons:
        return rows

    is_selected = pc.is_in(rows["reason"], pa.array(list(reasons), pa.string()))
    return rows.filter(pc.fill_null(is_selected, False))


def add_splits(
    rows: pa.Table, key: str, lists: pa.Table, *, selected: Sequence[str] = ()
) -> pa.Table:
    """Add the column ``splits`` of another table.

    Args:
        rows: Table with the column ``key``.
        key: Name of the id column that both tables have.
        lists: Table with the columns ``key`` and ``splits``.
        selected: Keep only rows in one of these splits. Empty: keep all.

    Returns:
        ``rows`` with one more column.
    """
    # Look up the splits by id. A row whose id is not in `lists` has null.
    places = pc.index_in(rows[key], lists[key].combine_chunks())
    splits = pc.take(lists["splits"].combine_chunks(), places.combine_chunks())

    rows = rows.append_column("splits", splits)
    if not selected:
        return rows

    wanted = set(selected)
    is_selected = [bool(wanted & set(names or ())) for names in splits.to_pylist()]
    return rows.filter(pa.array(is_selected, pa.bool_()))
