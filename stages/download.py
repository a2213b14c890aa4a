"""``download@DATASET``: the clips' media files, and the account of what is missing and why."""

from pipeline.downloads import DownloadParameters, download_clips
from pipeline.project import Project
from pipeline.tables import CLIPS, DOWNLOADS, read_table, write_table
from stages.running import run_stage


def main(project: Project, dataset: str) -> None:
    """Fetch what is not there yet; write ``downloads.parquet``."""
    downloads = download_clips(
        read_table(project.clips_table_path(dataset), CLIPS),
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        clips_dir=project.clips_dir(dataset),
        ledger_path=project.ledger_path(dataset),
    )
    write_table(project.downloads_table_path(dataset), downloads, DOWNLOADS)


if __name__ == "__main__":
    run_stage(main, "dataset")
