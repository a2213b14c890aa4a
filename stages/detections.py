"""``detections@DATASET``: what an object detector sees at each sample's time and 0.5 s later, for ``vision_only``."""

from pipeline.base.project import Project
from stages.common import run_stage
from stages.feature import build
from train.inference.detector import DetectorParameters, make_feature


def main(project: Project, dataset: str) -> None:
    """Cache the detections; the detector's weights are fetched once into ``cache/weights``."""
    parameters = project.parameters(DetectorParameters, "detections.detector")
    build(project, dataset, make_feature(parameters, weights_dir=project.weights_dir))


if __name__ == "__main__":
    run_stage(main, "dataset")
