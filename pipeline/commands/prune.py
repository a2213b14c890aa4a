"""``prune``: free the disk of shards that no index uses."""

from pipeline.base.project import Project
from pipeline.commands.feature_selection import add_selection, selected_folders
from pipeline.shards.store import prune_store

HELP = "remove cached shards that no index uses: those of earlier parameters and of clips that are gone"


def add_arguments(parser) -> None:
    add_selection(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(arguments, project: Project) -> int:
    """A line a feature; a second one where DVC's cache still holds what was removed."""
    shared = 0
    for dataset, feature in selected_folders(arguments, project):
        store_dir = project.store_dir(dataset, feature)
        if not store_dir.is_dir():
            continue
        report = prune_store(
            store_dir, project.feature_dir(dataset, feature), is_dry_run=arguments.dry_run
        )
        verb = "would be removed" if arguments.dry_run else "removed"
        print(
            f"{dataset}/{feature}: {len(report.removed)} shards {verb} ({report.num_bytes / 1e6:.1f} MB), "
            f"{report.num_kept} in use"
        )
        shared += report.num_shared_bytes
    if shared:
        print(
            f"{shared / 1e6:.1f} MB of them are in DVC's cache too; `dvc gc --workspace` frees what it does not need"
        )
    return 0
