"""Removing from a store the shards that its folder's index does not use: of other parameters, or of clips that left."""

from dataclasses import dataclass
from pathlib import Path

from earshot.shard_format import INDEX_NAME
from earshot.tables import INDEX, read_table
from pipeline.base.os_errors import explain_os_errors
from pipeline.shards.store import Store


@dataclass(frozen=True)
class PruneReport:
    """``num_shared_bytes`` of the removed ``num_bytes`` have other names (in DVC's cache) and stay on the disk."""

    removed: tuple[str, ...]
    num_bytes: int
    num_shared_bytes: int
    num_kept: int


def prune_store(store_dir: Path, output_dir: Path, *, is_dry_run: bool) -> PruneReport:
    """Remove every shard without a key of the index; what remembers a failure that the index names stays."""
    keys = set(
        read_table(output_dir / INDEX_NAME, INDEX, columns=["key"]).column("key").to_pylist()
    )
    with explain_os_errors(store_dir), Store(store_dir).open() as store:
        used = {
            name
            for name, entries in store.entries.items()
            if any(entry.key in keys for entry in entries)
        }
        sizes = store.sizes()
        unused = sorted(set(sizes) - used)
        shared = sum(sizes[name] for name in unused if (store_dir / name).stat().st_nlink > 1)
        if not is_dry_run:
            store.forget(unused)
            store.publish()
            for name in unused:
                (store_dir / name).unlink()
    return PruneReport(tuple(unused), sum(sizes[name] for name in unused), shared, len(used))
