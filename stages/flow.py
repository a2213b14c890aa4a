"""``flow@DATASET``: Farneback flow at each sample's time (and, in the same pass over the video, its frame)."""

from pipeline import flow, frames
from pipeline.project import Project
from stages.building import build
from stages.running import run_stage


def main(project: Project, dataset: str) -> None:
    """Cache the flow; frames are left in their store for ``frames@DATASET``. Whichever stage is first does both."""
    build(
        project,
        dataset,
        flow.make_feature(project.parameters(flow.FlowParameters, "flow")),
        also=[frames.make_feature(project.parameters(frames.FrameParameters, "frames"))],
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
