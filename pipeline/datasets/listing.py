"""Make the two tables of a dataset: which clips and samples it has."""

import sys

from earshot.tables import CLIPS, SAMPLES, write_table
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from pipeline.datasets.dataset import find_user_paths, load
from pipeline.lists.box_checks import check_boxes


def list_dataset(project: Project, dataset: str) -> str:
    """Write ``clips.parquet`` and ``samples.parquet`` of a dataset.

    Args:
        project: The checkout; its params.yaml has section ``sources.<dataset>``.
        dataset: Name of the dataset.

    Returns:
        One line with the counts.

    Raises:
        DataError: The lists or files of the dataset are not right.
    """
    about = load(dataset)
    parameters = project.parameters(about.parameters, f"sources.{dataset}")
    paths = find_user_paths(about, parameters)
    with noted_user_files(project, f"sources@{dataset}", paths):
        clips, samples = about.build_tables(parameters, cache_dir=project.sources_dir(dataset))

        # Boxes in another unit would give every method a score of 0.
        note = check_boxes(samples, name=dataset)
        if note:
            print(note, file=sys.stderr)

        write_table(project.clips_table_path(dataset), clips, CLIPS)
        write_table(project.samples_table_path(dataset), samples, SAMPLES)
    return f"{dataset}: {len(clips)} clips, {len(samples)} samples"
