"""``reclassify``: read the reasons anew from the raw texts in the ledger, without the network."""

from collections import Counter

from pipeline.base.project import Project
from pipeline.commands.arguments import add_dataset_argument, selected_datasets

HELP = "derive reasons anew from the raw texts of all attempts, without the network"


def add_arguments(parser) -> None:
    add_dataset_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")


def run(arguments, project: Project) -> int:
    """Bring ``downloads.parquet`` to what ledger, files and today's patterns say; say what changed."""
    from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
    from pipeline.downloads.engine import DownloadParameters
    from pipeline.downloads.history import derive_downloads, read_histories
    from pipeline.downloads.ledger import Ledger

    parameters = project.parameters(DownloadParameters, "download")
    for dataset in selected_datasets(arguments, project):
        ledger_path, table_path = (
            project.ledger_path(dataset),
            project.downloads_table_path(dataset),
        )
        if not ledger_path.exists():
            print(f"{dataset}: no attempts yet")
            continue
        with Ledger(
            ledger_path
        ) as ledger:  # nobody may download meanwhile: the table would be theirs to write
            clips = read_table(project.clips_table_path(dataset), CLIPS)
            downloads = derive_downloads(
                read_histories(clips, ledger.entries),
                clips_dir=project.clips_dir(dataset),
                allow_duplicates=parameters.allow_duplicates,
            )
            before = {}
            if table_path.exists():
                old = read_table(table_path, DOWNLOADS, columns=["clip_id", "status", "reason"])
                before = {row["clip_id"]: row["reason"] or row["status"] for row in old.to_pylist()}
            changes = Counter()
            for row in downloads.select(["clip_id", "status", "reason"]).to_pylist():
                after = row["reason"] or row["status"]
                if before.get(row["clip_id"]) != after:
                    changes[before.get(row["clip_id"], "nothing"), after] += 1
            for (old_reason, new_reason), number in changes.most_common():
                print(f"{dataset}: {number} clips: {old_reason} -> {new_reason}")
            if not changes:
                print(f"{dataset}: no reason changed")
            elif arguments.dry_run:
                print(f"{dataset}: nothing was written (--dry-run)")
            else:
                write_table(table_path, downloads, DOWNLOADS)
                print(f"{dataset}: `dvc repro` attempts what is worth it now")
    return 0
