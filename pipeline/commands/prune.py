"""``prune``: free the disk of shards that no index uses."""

import click

from pipeline.base.project import Project
from pipeline.commands.feature_selection import find_selected_folders, is_built
from pipeline.commands.options import (
    chosen_dataset_option,
    dry_run_option,
    feature_option,
    pass_project,
)
from pipeline.features.registry import find_base
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

        # Variants share the store, also those that params.yaml does not choose at the moment. One
        # that has an account and no folder counts too: nothing says which shards it uses, and
        # reading its index fails.
        names = {path.name for path in project.dataset_cache_dir(dataset).glob("*/")}
        names |= {path.stem for path in project.manifests_dir(dataset).glob("*.json")}
        output_dirs = [
            project.feature_dir(dataset, name)
            for name in sorted(names)
            if find_base(name) == feature and is_built(project, dataset, name)
        ]

        report = prune_store(store_dir, output_dirs, is_dry_run=is_dry_run)
        num_shared_bytes += report.num_shared_bytes
        verb = "would be removed" if is_dry_run else "removed"
        print(
            f"{dataset}/{feature}: {len(report.removed)} shards {verb} "
            f"({report.num_bytes / 1e6:.1f} MB), {report.num_kept} in use"
        )

    if num_shared_bytes:
        print(
            f"{num_shared_bytes / 1e6:.1f} MB of them are in DVC's cache too; "
            "`dvc gc --workspace` frees what it does not need"
        )
    return 0
