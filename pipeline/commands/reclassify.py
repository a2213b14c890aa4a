"""``reclassify``: derive reasons again from the texts in the ledger, without the network."""

from collections import Counter

import click
import pyarrow as pa

from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.commands.options import (
    dataset_option,
    dry_run_option,
    pass_project,
    selected_datasets,
)
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
from pipeline.downloads.table_rules import find_table_rules

_COLUMNS = ["clip_id", "status", "reason"]


@click.command()
@dataset_option
@dry_run_option(help="only say what would change")
@pass_project
def run(project: Project, datasets: tuple[str, ...], is_dry_run: bool) -> int:
    """Write ``downloads.parquet`` as the ledger, the files and today's patterns say."""
    for dataset in selected_datasets(project, datasets):
        if project.ledger_path(dataset).exists():
            _reclassify(project, dataset, is_dry_run=is_dry_run)
        else:
            print(f"{dataset}: no attempts yet")
    return 0


def _reclassify(project: Project, dataset: str, *, is_dry_run: bool) -> None:
    table_path = project.downloads_table_path(dataset)

    # The open ledger keeps other processes from downloading: they write the table as well.
    with Ledger(project.ledger_path(dataset)) as ledger:
        downloads = derive_from_ledger(
            read_table(project.clips_table_path(dataset), CLIPS),
            ledger,
            clips_dir=project.clips_dir(dataset),
            rules=find_table_rules(project, dataset),
            before=read_downloads_if_there(table_path),
        )

        # Without an earlier table every clip counts as changed.
        before = {}
        if table_path.exists():
            before = _read_reasons(read_table(table_path, DOWNLOADS, columns=_COLUMNS))

        # Only totals are printed: one changed pattern can concern thousands of clips.
        changes = Counter(
            (before.get(clip_id, "nothing"), reason)
            for clip_id, reason in _read_reasons(downloads).items()
            if before.get(clip_id) != reason
        )
        for (old_reason, new_reason), number in changes.most_common():
            print(f"{dataset}: {number} clips: {old_reason} -> {new_reason}")

        if not changes:
            print(f"{dataset}: no reason changed")
        elif is_dry_run:
            print(f"{dataset}: nothing was written (--dry-run)")
        else:
            write_table(table_path, downloads, DOWNLOADS)
            print(f"{dataset}: `dvc repro` attempts what is worth it now")


def _read_reasons(downloads: pa.Table) -> dict[str, str]:
    """Return each clip's reason or, without one, its status."""
    rows = downloads.select(_COLUMNS).to_pylist()
    return {row["clip_id"]: row["reason"] or row["status"] for row in rows}
