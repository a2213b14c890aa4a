"""``download@DATASET``: the clips' media files, and the account of what is missing and why."""

import csv
import io
import json

from earshot.files import publish_text
from earshot.tables import CLIPS, read_table
from pipeline.base.project import Project
from pipeline.datasets.dataset import find_excluded_flags, load
from pipeline.downloads.account.counts import count_reasons, count_splits
from pipeline.downloads.account.doubts import find_doubtful_clips
from pipeline.downloads.account.ledger_copy import publish_copy
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from stages.common import run_stage


def main(project: Project, dataset: str) -> None:
    """Fetch the clips that have no file yet; write ``downloads.parquet`` and what it counts."""
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    # It also publishes the table, while it holds the lock of the ledger.
    downloads = download_clips(
        clips,
        AccountPaths.find(project, dataset),
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        is_linked=load(dataset).is_linked,
        excluded_flags=find_excluded_flags(project, dataset),
        # What features found damaged is read again, every picture.
        doubtful=find_doubtful_clips(
            project.samples_table_path(dataset), project.find_indexes(dataset)
        ),
    )

    # The ledger travels with the outputs, so that a machine that pulls them knows what was tried.
    publish_copy(project.ledger_path(dataset), project.ledger_copy_path(dataset))

    # Counts of each split.
    counts = json.dumps(count_splits(clips, downloads), indent=1)
    publish_text(project.manifests_dir(dataset) / "downloads.json", counts + "\n")

    # A table for `dvc plots show`: why clips are missing.
    table = io.StringIO()
    writer = csv.DictWriter(table, ["reason", "clips", "share", "outlook"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(count_reasons(downloads))
    publish_text(project.manifests_dir(dataset) / "missing_reasons.csv", table.getvalue())


if __name__ == "__main__":
    run_stage(main, "dataset", inputs=lambda project, dataset: [project.clips_table_path(dataset)])
