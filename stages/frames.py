"""``frames@DATASET``: the frame shown at each sample's time (and, in the same pass over the video, its flow)."""

from pipeline.base.project import Project
from pipeline.features import flow, frames
from stages.common import run_stage
from stages.feature import build


def main(project: Project, dataset: str) -> None:
    """Cache the frames; flow is left in its store for ``flow@DATASET``."""
    build(
        project,
        dataset,
        frames.make_feature(project.parameters(frames.FrameParameters, "frames")),
        companions=[flow.make_feature(project.parameters(flow.FlowParameters, "flow"))],
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
