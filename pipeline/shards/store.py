"""The store: every shard of one feature that was ever computed here, and a catalog of their arrays.

DVC deletes a stage's output folder before each run, but the store stays. Shards are never changed;
the ones that are in use also have a name (a hard link) in the output folder. ``catalog.parquet``
lists what the shards hold, failures included, so that an array is found by its key. A shard that
the catalog does not list comes from a build that did not end. It is used only if its bytes have the
hash in its name.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from earshot.errors import DataError, RunError
from earshot.files import remove_leftovers
from earshot.shard_format import INDEX_NAME, SCHEMA_VERSION, has_our_version, read_layout
from earshot.shard_names import has_named_content, task_of
from earshot.tables import INDEX, Schema, read_table, write_table
from pipeline.base.disk import link_file
from pipeline.base.locks import LockHeldError, hold_lock
from pipeline.base.os_errors import explain_os_errors
from pipeline.shards.workers.crash_log import FOLDER_PREFIX

CATALOG_NAME = "catalog.parquet"
CATALOG = Schema(
    "catalog",
    # Shards of another schema version are in no catalog of this one, so they are computed again.
    SCHEMA_VERSION,
    pa.schema(
        [
            ("key", pa.string()),
            ("sample_id", pa.string()),  # the first sample that needed it
            ("shard", pa.string()),
            ("shard_bytes", pa.int64()),
            ("row", pa.int32()),  # null: it could not be computed
            ("crc32", pa.uint32()),
            ("reason", pa.string()),  # why it could not be computed
            ("detail", pa.string()),
        ]
    ),
)


class Entry(NamedTuple):
    """What the store knows about one key."""

    key: str
    sample_id: str
    shard: str
    shard_bytes: int
    row: int | None
    crc32: int | None
    reason: str | None
    detail: str | None


class Store:
    """The shards in a folder, and the catalog's entries by key.

    Attributes:
        folder: Where the shards are.
        by_key: The entry of each key; an array takes precedence over a failure.
        entries: The entries of each shard, by its name.
        lost: The same for shards whose file is gone or has another size than the catalog says.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.by_key: dict[str, Entry] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.lost: dict[str, list[Entry]] = {}
        self._is_changed = False  # since the catalog was read or written

    @contextlib.contextmanager
    def open(self, *, is_patient: bool = False) -> Iterator["Store"]:
        """Lock the store for this process and read its catalog.

        Args:
            is_patient: Whether to wait until another process has released the lock. Experiments
                share stores: the second one finds there what the first one computed.

        Raises:
            RunError: Another process has the lock, and this one does not wait.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                on_wait = self._report_waiting if is_patient else None
                stack.enter_context(hold_lock(self.folder / ".lock", on_wait=on_wait))
            except LockHeldError:
                raise RunError(
                    f"{self.folder}: another run is writing there; wait for it to end"
                ) from None

            # With the lock, whatever a killed build left can be removed.
            remove_leftovers(self.folder)
            for folder in self.folder.glob(f"{FOLDER_PREFIX}*"):
                shutil.rmtree(folder, ignore_errors=True)

            self._load()
            yield self

    def _report_waiting(self) -> None:
        print(
            f"{self.folder}: another run is writing there; this one waits for it to end",
            file=sys.stderr,
            flush=True,
        )

    def _load(self) -> None:
        # Compare sizes only: files are not read here. `verify` finds other damage.
        sizes = self.list_sizes()
        for name, listed in _read_catalog(self.folder / CATALOG_NAME).items():
            if sizes.get(name) == listed[0].shard_bytes:
                self._add(name, listed)
            else:
                self.lost[name] = listed

    def _add(self, name: str, entries: list[Entry]) -> None:
        """Add the entries of a shard.

        An array replaces a failure, and a later failure replaces an earlier one. If two shards have
        an array with the same key, the shard whose name sorts first counts. So the index does not
        depend on what was pulled or computed first.
        """
        self.entries[name] = []
        for entry in entries:
            known = self.by_key.get(entry.key)
            if known is not None and known.row is not None:
                if entry.row is not None:
                    self.by_key[entry.key] = min(known, entry, key=lambda one: one.shard)
                    self.entries[name].append(entry)
                continue

            # Only a failure can have been tried again, so only a failure is replaced.
            if known is not None:
                self.entries[known.shard].remove(known)
            self.by_key[entry.key] = entry
            self.entries[name].append(entry)

    def list_sizes(self) -> dict[str, int]:
        """Return the size in bytes of each file in the folder that is named like a shard."""
        with os.scandir(self.folder) as found:
            return {item.name: item.stat().st_size for item in found if task_of(item.name)}

    def find_unlisted(self) -> list[str]:
        """Return the names of shards that the catalog does not list, sorted."""
        return sorted(set(self.list_sizes()) - set(self.entries))

    def find_lost_keys(self) -> dict[str, str]:
        """Return key -> name of the lost shard that held its array or its failure."""
        return {entry.key: name for name, entries in self.lost.items() for entry in entries}

    def select_whole(self, names: Iterable[str]) -> list[str]:
        """Return the shards that are whole and of our schema version.

        A shard is whole if its bytes have the hash in its name. The number of shards with another
        schema version is printed.
        """
        names = list(names)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the GIL
            are_whole = list(pool.map(lambda name: has_named_content(self.folder / name), names))
        whole = [name for name, is_whole in zip(names, are_whole, strict=True) if is_whole]

        usable = [name for name in whole if has_our_version(self.folder / name)]
        if len(usable) < len(whole):
            print(
                f"{self.folder}: {len(whole) - len(usable)} shards are not of schema version "
                f"{SCHEMA_VERSION} and are computed again; `earshot prune` removes them",
                file=sys.stderr,
            )
        return usable

    def adopt(self, names: Iterable[str]) -> None:
        """Add shards of the folder to the catalog, in memory; ``publish`` writes it."""
        for name in names:
            if name not in self.entries:
                self._add(name, _read_entries(self.folder / name))
                self._is_changed = True

    def adopt_copies(self, files: Mapping[str, Path]) -> None:
        """Link shards from elsewhere into the store, unless they are there or not whole.

        Args:
            files: Paths by name. Names that are not a shard's are ignored.
        """
        sizes = self.list_sizes()
        new = {
            name: path
            for name, path in sorted(files.items())
            if task_of(name) and name not in sizes
        }
        # Link first, so that the copies are checked like the store's own files.
        for name, path in new.items():
            link_file(path, self.folder / name, otherwise="copy")

        # What is damaged or of another schema version does not stay.
        whole = self.select_whole(new)
        for name in set(new) - set(whole):
            (self.folder / name).unlink()
        self.adopt(whole)

    def forget(self, names: Iterable[str]) -> None:
        """Remove shards from the catalog, in memory; their files stay."""
        forgotten = set(names) & (set(self.entries) | set(self.lost))
        if not forgotten:
            return

        self._is_changed = True
        self.lost = {name: lost for name, lost in self.lost.items() if name not in forgotten}
        kept = {name: entries for name, entries in self.entries.items() if name not in forgotten}

        # The entry of a key depends on all its shards, so add those that remain again.
        self.by_key, self.entries = {}, {}
        for name, entries in kept.items():
            self._add(name, entries)

    def publish(self) -> None:
        """Write the catalog if it has changed."""
        path = self.folder / CATALOG_NAME
        if not self._is_changed and path.exists():
            return

        # A shard without entries held only failures that have been tried again since.
        for name in [name for name, entries in self.entries.items() if not entries]:
            (self.folder / name).unlink(missing_ok=True)
            del self.entries[name]

        rows = [entry for name in sorted(self.entries) for entry in self.entries[name]]
        # Keep the entries of lost shards until they are computed again, as the same shards.
        rows += [
            entry
            for name in sorted(self.lost)
            for entry in self.lost[name]
            if entry.key not in self.by_key
        ]
        _write_catalog(path, rows)
        self._is_changed = False


@dataclass(frozen=True)
class PruneReport:
    """Which shards ``prune_store`` removed, or would remove."""

    removed: tuple[str, ...]  # their names
    num_bytes: int  # of those shards
    num_shared_bytes: int  # those of them that stay on the disk: DVC's cache has them, too
    num_kept: int  # shards in use


def prune_store(store_dir: Path, output_dirs: Sequence[Path], *, is_dry_run: bool) -> PruneReport:
    """Remove every shard that has no key of the output folders' indexes and is not named there.

    This removes shards of other parameters, and of clips that are no longer listed. A shard stays
    if it remembers a failure that an index names.

    Args:
        store_dir: The folder of the store.
        output_dirs: The folders whose ``index.parquet`` says what is in use: of a feature and of
            its variants.
        is_dry_run: Only report what would be removed.

    Returns:
        The removed shards, or those that would be removed, and their bytes.

    Raises:
        RunError: Another process writes to the store.
        DataError: An index is not readable.
    """
    keys: set[str | None] = set()
    names: set[str | None] = set()
    for folder in output_dirs:
        index = read_table(folder / INDEX_NAME, INDEX, columns=["key", "shard"])
        keys |= set(index.column("key").to_pylist())
        names |= set(index.column("shard").to_pylist())

    with explain_os_errors(store_dir), Store(store_dir).open() as store:
        used, used_lost = (
            {name for name, listed in shards.items() if any(entry.key in keys for entry in listed)}
            for shards in (store.entries, store.lost)
        )

        # A shard with a second name, in DVC's cache or elsewhere, frees nothing when it is removed.
        sizes = store.list_sizes()
        # Without a readable catalog only the indexes know their shards.
        used |= set(sizes) & names
        unused = sorted(set(sizes) - used)
        shared = [name for name in unused if (store.folder / name).stat().st_nlink > 1]

        if not is_dry_run:
            # The catalog first: it must never list a file that is gone.
            store.forget({*unused, *store.lost} - used_lost)
            store.publish()
            for name in unused:
                (store.folder / name).unlink()

    return PruneReport(
        removed=tuple(unused),
        num_bytes=sum(sizes[name] for name in unused),
        num_shared_bytes=sum(sizes[name] for name in shared),
        num_kept=len(used),
    )


def _read_catalog(path: Path) -> dict[str, list[Entry]]:
    """Read the entries of each shard. Without a readable catalog there are none.

    All shards are unlisted then, and the catalog is rebuilt from them.
    """
    entries: dict[str, list[Entry]] = {}
    if path.exists():
        with contextlib.suppress(DataError):
            # The catalog only saves time: what it says is also in the shards.
            table = read_table(path, CATALOG)
            columns = [table.column(name).to_pylist() for name in CATALOG.columns.names]
            for values in zip(*columns, strict=True):
                entry = Entry(*values)
                entries.setdefault(entry.shard, []).append(entry)
    return entries


def _write_catalog(path: Path, entries: Sequence[Entry]) -> None:
    columns: list[Sequence[object]] = [[] for _ in CATALOG.columns]
    if entries:
        columns = list(zip(*entries, strict=True))
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, CATALOG.columns, strict=True)
    ]
    write_table(path, pa.Table.from_arrays(arrays, schema=CATALOG.columns), CATALOG)


def _read_entries(path: Path) -> list[Entry]:
    """Read the catalog entries of one shard: its rows, then its failures."""
    layout, name, size = read_layout(path), path.name, path.stat().st_size
    rows = zip(layout.keys, layout.sample_ids, layout.crc32.tolist(), strict=True)
    entries = [
        Entry(key, sample_id, name, size, row, crc32, None, None)
        for row, (key, sample_id, crc32) in enumerate(rows)
    ]

    # Failures have no row and no checksum.
    for failure in layout.failures:
        key, sample_id, reason, detail = (
            failure.key,
            failure.sample_id,
            failure.reason,
            failure.detail,
        )
        entries.append(Entry(key, sample_id, name, size, None, None, reason, detail))
    return entries
