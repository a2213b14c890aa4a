"""``flow@DATASET``: Farneback flow at each sample's time (and, in the same pass over the video, its frame)."""

from pipeline.base.project import Project
from pipeline.features import flow, frames
from stages.common import run_stage
from stages.feature import build


def main(project: Project, dataset: str) -> None:
    """Cache the flow; frames are left in their store for ``frames@DATASET``. Whichever stage is first does both."""
    build(
        project,
        dataset,
        flow.make_feature(project.parameters(flow.FlowParameters, "flow")),
        companions=[frames.make_feature(project.parameters(frames.FrameParameters, "frames"))],
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
