"""``prune``: free the disk of shards that no index uses."""

import argparse

from pipeline.base.project import Project
from pipeline.commands.feature_selection import add_selection, find_selected_folders, is_built
from pipeline.features.registry import find_base
from pipeline.shards.store import prune_store

HELP = "remove cached shards that no index uses: of earlier parameters, and of clips that are gone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prune`."""
    add_selection(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Print one line for each feature, and whether DVC's cache still has what was removed."""
    num_shared_bytes = 0
    selected = find_selected_folders(arguments, project)
    for dataset, feature in dict.fromkeys((dataset, find_base(name)) for dataset, name in selected):
        # After `dvc pull` into an empty checkout there is no store, and so nothing to remove.
        store_dir = project.store_dir(dataset, feature)
        if not store_dir.is_dir():
            continue

        # Variants share the store, also those that params.yaml does not choose at the moment.
        names = [path.name for path in sorted(project.dataset_cache_dir(dataset).iterdir())]
        output_dirs = [
            project.feature_dir(dataset, name)
            for name in names
            if find_base(name) == feature and is_built(project, dataset, name)
        ]
        report = prune_store(store_dir, output_dirs, is_dry_run=arguments.dry_run)
        num_shared_bytes += report.num_shared_bytes
        verb = "would be removed" if arguments.dry_run else "removed"
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
