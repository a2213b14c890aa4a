"""The store: every shard of one feature that was ever computed here, and the catalog that finds an array by its key.

DVC deletes a stage's output folder before each run; the store stays. Its shards are immutable and hard-linked into the
output folder. ``catalog.parquet`` lists what is in the shards, failures included. A shard that is not in the catalog
was made by a run that did not end; it is believed only after its bytes have been compared with its name.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from earshot.errors import DataError, RunError
from earshot.files import remove_leftovers
from earshot.shard_format import (
    SCHEMA_VERSION,
    Layout,
    has_named_content,
    has_our_version,
    read_layout,
    task_of,
)
from earshot.tables import Schema, read_table, write_table
from pipeline.base.disk import link_file
from pipeline.base.locks import LockHeldError, hold_lock
from pipeline.shards.crash_log import ATTEMPTS_PREFIX

CATALOG_NAME = "catalog.parquet"
CATALOG = Schema(
    "catalog",
    SCHEMA_VERSION,  # shards of another version are in no catalog of this one, so they are computed anew
    pa.schema(
        [
            ("key", pa.string()),
            ("sample_id", pa.string()),  # for whom it was computed first
            ("shard", pa.string()),
            ("shard_bytes", pa.int64()),
            ("row", pa.int32()),  # null where it could not be computed
            ("crc32", pa.uint32()),
            ("reason", pa.string()),  # why not; null when it could
            ("detail", pa.string()),
        ]
    ),
)


class Entry(NamedTuple):
    """What the store knows of one key."""

    key: str
    sample_id: str
    shard: str
    shard_bytes: int
    row: int | None
    crc32: int | None
    reason: str | None
    detail: str | None


class Store:
    """The shards below ``folder`` and the catalog's entries by key."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.by_key: dict[str, Entry] = {}
        self.entries: dict[str, list[Entry]] = {}  # by shard
        self.lost: dict[
            str, list[Entry]
        ] = {}  # of shards that are gone or of another size: for repairs
        self._is_changed = False

    @contextlib.contextmanager
    def open(self) -> Iterator["Store"]:
        """Take the store for this process alone and read its catalog; a second run is refused."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(self.folder / ".lock"))
            except LockHeldError:
                raise RunError(
                    f"{self.folder}: another run is writing there; wait for it to end"
                ) from None
            remove_leftovers(self.folder)
            for folder in self.folder.glob(f"{ATTEMPTS_PREFIX}*"):  # of a run that was killed
                shutil.rmtree(folder, ignore_errors=True)
            self._load()
            yield self

    def _load(self) -> None:
        path = self.folder / CATALOG_NAME
        entries: dict[str, list[Entry]] = {}
        if path.exists():
            # A catalog that cannot be read is rebuilt from the shards: they are all "not in the catalog" then.
            with contextlib.suppress(DataError):
                table = read_table(path, CATALOG)
                columns = [table.column(name).to_pylist() for name in CATALOG.columns.names]
                for values in zip(*columns, strict=True):
                    entry = Entry(*values)
                    entries.setdefault(entry.shard, []).append(entry)
        sizes = self.sizes()
        for name, listed in entries.items():
            if sizes.get(name) == listed[0].shard_bytes:
                self._add(name, listed)
            else:
                self.lost[name] = listed
                self._is_changed = True

    def _add(self, name: str, entries: list[Entry]) -> None:
        """An array replaces a failure, and a later failure an earlier one; of two equal arrays the first stays."""
        self.entries[name] = []
        for entry in entries:
            known = self.by_key.get(entry.key)
            if known is not None and known.row is None:
                self.entries[known.shard].remove(known)
            if known is None or known.row is None:
                self.by_key[entry.key] = entry
            if known is None or known.row is None or entry.row is not None:
                self.entries[name].append(entry)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file in the folder that is named like a shard."""
        with os.scandir(self.folder) as found:
            return {item.name: item.stat().st_size for item in found if task_of(item.name)}

    def unlisted(self) -> list[str]:
        """Names of shards that the catalog does not list, sorted."""
        return sorted(set(self.sizes()) - set(self.entries))

    def whole(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` whose bytes are the ones in their names and whose schema version is ours."""
        names = list(names)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing frees the GIL
            are_whole = list(pool.map(lambda name: has_named_content(self.folder / name), names))
        whole = [name for name, is_whole in zip(names, are_whole, strict=True) if is_whole]
        usable = [name for name in whole if has_our_version(self.folder / name)]
        if len(usable) < len(whole):
            print(
                f"{self.folder}: {len(whole) - len(usable)} shards are not of schema version {SCHEMA_VERSION} and "
                "are computed anew; `python -m pipeline prune` removes them",
                file=sys.stderr,
            )
        return usable

    def adopt(self, names: Iterable[str]) -> None:
        """Add shards to the catalog (in memory; ``publish`` writes it)."""
        for name in names:
            if name not in self.entries:
                path = self.folder / name
                self._add(name, entries_of(name, path.stat().st_size, read_layout(path)))
                self._is_changed = True

    def forget(self, names: Iterable[str]) -> None:
        """Take shards out of the catalog."""
        forgotten = set(names) & set(self.entries)
        kept = {name: entries for name, entries in self.entries.items() if name not in forgotten}
        self._is_changed = self._is_changed or bool(forgotten)
        self.by_key, self.entries = {}, {}
        for name, entries in kept.items():
            self._add(name, entries)

    def publish(self) -> None:
        """Write the catalog if it changed."""
        path = self.folder / CATALOG_NAME
        if self._is_changed or not path.exists():
            for name in [name for name, entries in self.entries.items() if not entries]:
                (self.folder / name).unlink(
                    missing_ok=True
                )  # held nothing but failures that have been tried again
                del self.entries[name]
            rows = [entry for name in sorted(self.entries) for entry in self.entries[name]]
            columns = list(zip(*rows, strict=True)) if rows else [[] for _ in CATALOG.columns]
            arrays = [
                pa.array(column, field.type)
                for column, field in zip(columns, CATALOG.columns, strict=True)
            ]
            write_table(path, pa.Table.from_arrays(arrays, schema=CATALOG.columns), CATALOG)
            self._is_changed = False

    def take(self, files: Mapping[str, Path]) -> None:
        """Link into the store the shards among ``files`` (by name) that it lacks and that are whole."""
        sizes = self.sizes()
        lacking = {
            name: path
            for name, path in sorted(files.items())
            if task_of(name) and name not in sizes
        }
        for name, path in lacking.items():
            link_file(path, self.folder / name, otherwise="copy")
        whole = self.whole(lacking)
        for name in set(lacking) - set(whole):
            (self.folder / name).unlink()
        self.adopt(whole)


def entries_of(name: str, shard_bytes: int, layout: Layout) -> list[Entry]:
    """Catalog entries of one shard: its rows, then its failures."""
    rows = zip(layout.keys, layout.sample_ids, layout.crc32.tolist(), strict=True)
    return [
        Entry(key, sample_id, name, shard_bytes, row, crc32, None, None)
        for row, (key, sample_id, crc32) in enumerate(rows)
    ] + [
        Entry(
            failure.key,
            failure.sample_id,
            name,
            shard_bytes,
            None,
            None,
            failure.reason,
            failure.detail,
        )
        for failure in layout.failures
    ]
