"""``frames@DATASET``: the frame shown at each sample's time (and, in the same pass over the video, its flow)."""

from pipeline import flow, frames
from pipeline.project import Project
from stages.building import build
from stages.running import run_stage


def main(project: Project, dataset: str) -> None:
    """Cache the frames; flow is left in its store for ``flow@DATASET``."""
    build(
        project,
        dataset,
        frames.make_feature(project.parameters(frames.FrameParameters, "frames")),
        also=[flow.make_feature(project.parameters(flow.FlowParameters, "flow"))],
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
