"""``detections@DATASET``: what an object detector sees at each sample's time and 0.5 s later.

The baseline ``vision_only`` reads it. It has a page of its own because a network computes it, and
the page of the other features imports none.
"""

from earshot.tables import DOWNLOADS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from pipeline.features.detections import Parameters
from pipeline.features.registry import FEATURES
from stages.common import run_stage
from stages.feature import build_and_count, find_inputs
from train.inference.detector import make_detections_feature


def main(project: Project, dataset: str) -> None:
    """Cache the detections. The detector's weights are fetched once into ``cache/weights``."""
    parameters = project.parameters(Parameters, FEATURES["detections"].section)
    # Without the tables there is nothing to compute, so no weights are fetched for it.
    read_table(project.samples_table_path(dataset), SAMPLES, columns=["sample_id"])
    read_table(project.downloads_table_path(dataset), DOWNLOADS, columns=["clip_id"])

    feature = make_detections_feature(parameters, weights_dir=project.weights_dir)
    with noted_user_files(project, f"detections@{dataset}"):
        build_and_count(project, dataset, feature.name, feature)


if __name__ == "__main__":
    run_stage(
        main,
        "dataset",
        inputs=lambda project, dataset: find_inputs(project, "detections", dataset),
    )
