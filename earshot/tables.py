"""The Parquet tables that stages hand to each other: their schemas, reading and writing them.

Units are in the column names. Each file has its table's name and schema version in its Parquet
metadata, and reading fails for a file of another table or version. Conventions:

- Times are seconds. A clip is ``[start_seconds, end_seconds)`` of its video. ``time_seconds`` of a
  sample counts from the beginning of its clip's media file.
- ``boxes`` are normalized ``x1 y1 x2 y2``: 0 is the left or top edge, 1 the right or bottom edge.
  They are float64, as published, so that ground-truth maps can be exact to the pixel.
  ``box_annotators`` numbers who drew each box (0 where there is one annotator).
- ``splits`` names the lists that a row belongs to. A row can be in several.
- ``attributes`` are facts of one dataset as text: ``night``, ``city``, ``source_is_moving``, ...
- ``audio_clip_id`` is null except where a sample's sound comes from another clip (the negatives of
  extended test sets).
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import READ_ERRORS, DataError
from earshot.files import publish

_TABLE_KEY, _VERSION_KEY = b"earshot.table", b"earshot.schema_version"


@dataclass(frozen=True)
class Schema:
    """A table's name, version and Arrow columns."""

    name: str
    version: int
    columns: pa.Schema


CLIPS = Schema(
    "clips",
    1,
    pa.schema(
        [
            ("clip_id", pa.string()),
            ("video_id", pa.string()),
            ("url", pa.string()),
            ("start_seconds", pa.float64()),  # null: the whole video
            ("end_seconds", pa.float64()),
            ("splits", pa.list_(pa.string())),
        ]
    ),
)

SAMPLES = Schema(
    "samples",
    1,
    pa.schema(
        [
            ("sample_id", pa.string()),
            ("clip_id", pa.string()),
            ("time_seconds", pa.float64()),  # null: the centre of the clip's media file
            ("splits", pa.list_(pa.string())),
            ("label", pa.string()),
            ("boxes", pa.list_(pa.list_(pa.float64(), 4))),
            ("box_annotators", pa.list_(pa.int32())),
            ("audio_clip_id", pa.string()),
            ("attributes", pa.map_(pa.string(), pa.string())),
        ]
    ),
)

DOWNLOADS = Schema(
    "downloads",
    2,
    pa.schema(
        [
            ("clip_id", pa.string()),
            ("status", pa.string()),  # ok, missing, pending
            ("reason", pa.string()),  # null when ok
            ("detail", pa.string()),
            ("is_confirmed", pa.bool_()),  # the reason was seen again on another day
            ("attempts", pa.int32()),
            ("last_attempt", pa.timestamp("s", tz="UTC")),
            ("path", pa.string()),  # relative to cache/<dataset>/clips
            ("bytes", pa.int64()),
            ("sha256", pa.string()),
            ("duration_seconds", pa.float64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("fps", pa.float64()),
            ("video_codec", pa.string()),
            ("audio_codec", pa.string()),
            ("sample_rate", pa.int32()),
            ("flags", pa.list_(pa.string())),  # silent, still: facts, not failures
            ("tool_versions", pa.string()),
        ]
    ),
)

INDEX = Schema(
    "index",
    1,
    pa.schema(
        [
            ("sample_id", pa.string()),
            # ok, missing (there is no clip) or failed (the feature could not be computed)
            ("status", pa.string()),
            ("reason", pa.string()),  # null when ok
            ("detail", pa.string()),
            ("shard", pa.string()),  # file name in the index's folder, null unless ok
            ("row", pa.int32()),
            ("key", pa.string()),
            ("crc32", pa.uint32()),
        ]
    ),
)


_CONFIRMED_MARK = " [settled]"


def describe_missing(detail: str | None, *, is_confirmed: bool) -> str | None:
    """Return the detail of a missing clip as all pages and commands show it.

    Args:
        detail: The clip's ``detail`` in the table ``DOWNLOADS``.
        is_confirmed: The clip's ``is_confirmed`` there.

    Returns:
        ``detail``, with ``[settled]`` behind it if the reason is confirmed. None stays None unless
        the reason is confirmed.
    """
    return f"{detail or ''}{_CONFIRMED_MARK}" if is_confirmed else detail


def write_table(path: Path | str, rows: pa.Table | Iterable[Mapping], schema: Schema) -> None:
    """Publish ``rows`` as the table ``schema`` at ``path``; equal rows give equal bytes.

    Args:
        path: Where the file appears when all of it is written.
        rows: A table, or one mapping a row. A column that a row lacks is null.
        schema: The table to write. Other columns of ``rows`` are left out.
    """
    if not isinstance(rows, pa.Table):
        rows = pa.Table.from_pylist(list(rows), schema=schema.columns)
    rows = rows.select(schema.columns.names).cast(schema.columns)
    # No other metadata, such as that of pandas: it would change the bytes.
    rows = rows.replace_schema_metadata(
        {_TABLE_KEY: schema.name, _VERSION_KEY: str(schema.version)}
    )

    with publish(path) as temporary_path:
        pq.write_table(rows, temporary_path, compression="zstd", write_page_checksum=True)


def read_table(path: Path | str, schema: Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a table that ``write_table`` wrote.

    Args:
        path: The file.
        schema: The table that it must hold.
        columns: Names of the columns to read. None reads all.

    Returns:
        The table with these columns. Timestamps are in milliseconds, because Parquet has none in
        seconds.

    Raises:
        DataError: The file is absent, damaged, of another table or of another schema version.
        OSError: This machine cannot read the file at the moment: a right or a disk is to blame.
    """
    try:
        # Opened once: a stage can replace the file meanwhile, and pyarrow itself opens a path again
        # for each part that it reads.
        with pa.OSFile(os.fspath(path)) as file:
            # The version first: a table of another version may lack the columns that are requested.
            _require_version(path, pq.read_schema(file), schema)
            table = pq.read_table(file, columns=columns, page_checksum_verification=True)
        table.validate(full=True)  # finds damaged text, which is not UTF-8
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found; the stage that writes {schema.name} has not run: run `dvc repro`"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in READ_ERRORS:
            # Arrow does not name the file.
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a readable Parquet file: {reason}") from None

    _require_columns(path, table, schema, columns)
    return table


def require_distinct_ids(path: Path | str, table: pa.Table) -> None:
    """Check that each row of a table has a sample id of its own.

    Args:
        path: Of the table, for the message.
        table: With the column ``sample_id``.

    Raises:
        DataError: Two rows have one id, or a row has none.
    """
    ids = table["sample_id"]
    counts = ids.value_counts()
    if len(counts) == len(ids) and not ids.null_count:
        return
    repeated = next(
        (row["values"] for row in counts.to_pylist() if row["counts"] > 1 and row["values"]), None
    )
    found = "has a row without an id" if repeated is None else f"has {repeated!r} more than once"
    raise DataError(f"{path}: {found}, expected each sample in one row; run `dvc repro`")


def _require_version(path: Path | str, found: pa.Schema, schema: Schema) -> None:
    metadata = found.metadata or {}
    name, version = (
        metadata.get(key, b"?").decode("utf-8", "replace") for key in (_TABLE_KEY, _VERSION_KEY)
    )
    if (name, version) != (schema.name, str(schema.version)):
        raise DataError(
            f"{path}: holds table {name} version {version}, "
            f"expected {schema.name} version {schema.version}; run `dvc repro` to write it anew"
        )


def _require_columns(
    path: Path | str, table: pa.Table, schema: Schema, columns: list[str] | None
) -> None:
    # Other code can write a table with this name and version but with other columns.
    types = {field.name: field.type for field in table.schema}

    for field in schema.columns:
        if columns is not None and field.name not in columns:
            continue
        # Parquet has no timestamps in seconds, so they come back in milliseconds.
        if field.name in types and pa.types.is_timestamp(field.type):
            continue
        if types.get(field.name) != field.type:
            raise DataError(
                f"{path}: not a readable Parquet file: its column {field.name} is absent or of "
                "another type"
            )
