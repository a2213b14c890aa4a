"""``download@DATASET``: the clips' media files, and the account of what is missing and why."""

import csv
import io
import json

from earshot.files import publish_text
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.downloads.counts import reason_rows, split_counts
from pipeline.downloads.engine import DownloadParameters, download_clips
from stages.common import run_stage


def main(project: Project, dataset: str) -> None:
    """Fetch what is not there yet; write ``downloads.parquet``, counts per split and the reasons of what is missing."""
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    downloads = download_clips(
        clips,
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        clips_dir=project.clips_dir(dataset),
        ledger_path=project.ledger_path(dataset),
        table_path=project.downloads_table_path(dataset),
        is_linked=load(dataset).is_linked,
    )
    write_table(project.downloads_table_path(dataset), downloads, DOWNLOADS)
    counts = json.dumps(split_counts(clips, downloads), indent=1)
    publish_text(project.manifests_dir(dataset) / "downloads.json", counts + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, ["reason", "clips", "share", "outlook"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(reason_rows(downloads))
    publish_text(project.manifests_dir(dataset) / "missing_reasons.csv", table.getvalue())


if __name__ == "__main__":
    run_stage(main, "dataset")
