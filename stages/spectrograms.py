"""``spectrograms@DATASET``: the log spectrogram of the sound around each sample's time."""

from pipeline.base.project import Project
from pipeline.features import spectrograms
from stages.common import run_stage
from stages.feature import build


def main(project: Project, dataset: str) -> None:
    """Cache the spectrograms."""
    build(
        project,
        dataset,
        spectrograms.make_feature(
            project.parameters(spectrograms.SpectrogramParameters, "spectrogram")
        ),
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
