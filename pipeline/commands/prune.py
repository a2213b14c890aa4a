"""``prune``: free the disk of shards that no index uses."""

from pathlib import Path

import click

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME
from pipeline.base.project import Project
from pipeline.commands.feature_selection import advise_repair, find_selected_folders, is_built
from pipeline.commands.options import (
    chosen_dataset_option,
    dry_run_option,
    feature_option,
    pass_project,
)
from pipeline.features.configure import find_variants
from pipeline.features.registry import FEATURES, find_base
from pipeline.shards.store import prune_store


@click.command()
@chosen_dataset_option
@feature_option
@dry_run_option(help="only say what would be removed")
@pass_project
def run(
    project: Project, datasets: tuple[str, ...], features: tuple[str, ...], is_dry_run: bool
) -> int:
    """Print one line for each feature, and whether DVC's cache still has what was removed."""
    num_shared_bytes = 0
    selected = find_selected_folders(project, datasets, features)
    for dataset, feature in dict.fromkeys((dataset, find_base(name)) for dataset, name in selected):
        # After `dvc pull` into an empty checkout there is no store, and so nothing to remove.
        store_dir = project.store_dir(dataset, feature)
        if not store_dir.is_dir():
            continue

        output_dirs = _find_output_dirs(project, dataset, feature)
        report = prune_store(store_dir, output_dirs, is_dry_run=is_dry_run)
        num_shared_bytes += report.num_shared_bytes
        verb = "would be removed" if is_dry_run else "removed"
        print(
            f"{dataset}/{feature}: {len(report.removed)} shards {verb} "
            f"({report.num_bytes / 1e6:.1f} MB), {report.num_kept} in use"
        )

    if num_shared_bytes:
        print(
            f"{num_shared_bytes / 1e6:.1f} MB of them have another name: in DVC's cache, where "
            "`dvc gc --workspace` frees what it does not need, or in another checkout"
        )
    return 0


def _find_output_dirs(project: Project, dataset: str, feature: str) -> list[Path]:
    """Return the folders of a feature and its variants whose indexes say what is in use.

    Raises:
        DataError: An index is gone, so nothing says which shards it used.
    """
    # Variants share the store, also those that params.yaml does not choose at the moment, unless
    # their folder was removed.
    names = {path.name for path in project.dataset_cache_dir(dataset).glob("*/")}
    names |= {*FEATURES, *find_variants(project)}
    names = {name for name in names if find_base(name) == feature}

    folders = []
    for name in sorted(name for name in names if is_built(project, dataset, name)):
        folder = project.feature_dir(dataset, name)
        if not (folder / INDEX_NAME).exists():
            raise DataError(
                f"{dataset}/{name}: its index is gone, so it is not known which shards it uses; "
                f"{advise_repair(project, dataset, name)}"
            )
        folders.append(folder)
    return folders
