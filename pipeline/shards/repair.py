"""Repair a feature's folder: remove damaged shards everywhere, and build them again.

The samples of a lost shard are computed as one task, as they were at first. The same clips,
parameters and software therefore give a shard with the same bytes and the same name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME, has_our_version
from earshot.shard_names import has_named_content
from earshot.tables import INDEX, read_table
from pipeline.base.os_errors import explain_os_errors
from pipeline.features.extract import extract_features
from pipeline.features.feature import Feature
from pipeline.shards.build import (
    BuildOptions,
    BuildReport,
    FeatureFolders,
    build_feature,
    open_store,
)
from pipeline.shards.dvc_cache import find_cached_files
from pipeline.shards.requests import find_clips, make_requests
from pipeline.shards.tasks import Extract
from pipeline.shards.verify import Damage


@dataclass(frozen=True)
class RepairReport:
    """What became of damaged shards; all by name."""

    restored: tuple[str, ...]  # the same bytes are there again
    replaced: tuple[str, ...]  # their samples are in other shards now: software or clips changed
    removed: tuple[str, ...]  # files that no row of the index uses
    build: BuildReport

    def describe(self) -> str:
        """Return one line for people."""
        return (
            f"{self.build.feature}: {len(self.restored)} shards restored byte for byte, "
            f"{len(self.replaced)} replaced by others, {len(self.removed)} foreign files removed; "
            f"{self.build.computed} samples computed again"
        )


def repair_feature(
    feature: Feature,
    damages: Sequence[Damage],
    *,
    samples: pa.Table,
    downloads: pa.Table,
    folders: FeatureFolders,
    options: BuildOptions = BuildOptions(),  # noqa: B008 - frozen
    extract: Extract = extract_features,
) -> RepairReport:
    """Remove damaged shards and build them again.

    Afterwards the folder of the feature and its index are whole.

    Args:
        feature: With the parameters that the folder was built with.
        damages: What ``verify_feature`` found.
        samples: Table ``SAMPLES`` of ``earshot.tables``.
        downloads: Table ``DOWNLOADS`` of ``earshot.tables``.
        folders: Where the feature is read from and written to.
        options: How the build runs.
        extract: What computes the arrays of a clip.

    Returns:
        What became of each damaged shard, and what the build did.

    Raises:
        DataError: The folder was built with other parameters or clips, or a folder has the name of
            a shard.
        RunError: As ``build_feature`` does.
    """
    folders = folders.resolve()

    # Check before anything is removed: a refusal leaves the folder as it is.
    clips, absences = find_clips(downloads, folders.clips_dir)
    requests = make_requests(feature, samples, clips, absences)
    keys = {request.key for request in requests if request.key is not None}
    _check_parameters(folders, keys)

    # If this is killed here, `verify` finds the removed shards missing, and `repair` goes on.
    names = remove_damaged_files(damages, folders)
    build = build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        folders=folders,
        options=options,
        extract=extract,
    )

    # A file that no row of the index uses is not expected back. A shard whose bytes came back the
    # same has its old name again, because the name is made from the bytes.
    foreign = {damage.path.name for damage in damages if not damage.sample_ids}
    damaged = [name for name in names if name not in foreign]
    restored = [name for name in damaged if (folders.output_dir / name).exists()]
    return RepairReport(
        restored=tuple(restored),
        replaced=tuple(name for name in damaged if name not in restored),
        removed=tuple(name for name in names if name in foreign),
        build=build,
    )


def remove_damaged_files(damages: Sequence[Damage], folders: FeatureFolders) -> list[str]:
    """Remove damaged and foreign files from the store, the output folder and DVC's cache.

    Hard links make a shard one file with three names. If the name in DVC's cache stayed, DVC would
    bring the damage back. A name whose file is whole stays, and the build takes the shard from
    there. The catalog still lists a removed shard, so that the build knows its samples.

    Args:
        damages: What ``verify_feature`` found.
        folders: The folders of the feature.

    Returns:
        The names of the files, sorted; those of missing files, too.

    Raises:
        DataError: A folder has the name of a damaged shard. Nothing was removed.
        RunError: The store cannot be locked, or the disk fails.
    """
    folders = folders.resolve()
    names = sorted({damage.path.name for damage in damages if damage.path.suffix == ".h5"})
    for name in names:
        # A folder cannot be unlinked. Refuse it now, before half of the files are gone.
        path = folders.output_dir / name
        if path.is_dir() and not path.is_symlink():
            raise DataError(
                f"{path}: is a folder among shards; move it away and run `repair` again"
            )

    # The lock keeps builds away. Opening the store also takes what DVC has and the store lacks.
    cached = find_cached_files(folders.output_dir)
    with explain_os_errors(folders.store_dir), open_store(folders):
        for name in names:
            # Shards of another schema version are whole. DVC may keep them for old commits.
            for path in (folders.store_dir / name, folders.output_dir / name):
                if path.is_file() and not (has_named_content(path) and has_our_version(path)):
                    path.unlink()
            if name in cached and not has_named_content(cached[name], name):
                cached[name].unlink()
    return names


def _check_parameters(folders: FeatureFolders, keys: set[str]) -> None:
    """Refuse to compute a whole feature with other parameters or clips: that is no repair."""
    try:
        index = read_table(folders.output_dir / INDEX_NAME, INDEX, columns=["key"])
    except DataError:
        _check_store(folders, keys)  # the index itself is damaged
        return

    found = [key for key in index.column("key").to_pylist() if key is not None]
    num_other = sum(key not in keys for key in found)
    if num_other:
        raise DataError(
            f"{folders.output_dir}: {num_other} of {index.num_rows} samples were computed with "
            "other parameters or clips than those of now; run `dvc repro` first"
        )


def _check_store(folders: FeatureFolders, keys: set[str]) -> None:
    with explain_os_errors(folders.store_dir), open_store(folders) as store:
        # Not one key in common means other parameters, or other clips.
        if store.by_key and keys and not keys & (set(store.by_key) | set(store.find_lost_keys())):
            raise DataError(
                f"{folders.output_dir}: nothing in its store was computed with the parameters and "
                "clips of now; run `dvc repro` first"
            )
