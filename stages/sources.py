"""``sources@DATASET``: which clips and samples a dataset has."""

from pipeline.base.project import Project
from pipeline.datasets.listing import list_dataset
from stages.common import run_stage


def main(project: Project, dataset: str) -> None:
    """Write ``clips.parquet`` and ``samples.parquet``."""
    print(list_dataset(project, dataset))


if __name__ == "__main__":
    run_stage(main, "dataset")
