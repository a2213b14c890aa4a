"""``spectrograms@DATASET``: the log spectrogram of the sound around each sample's time."""

from pipeline import spectrogram
from pipeline.project import Project
from stages.building import build
from stages.running import run_stage


def main(project: Project, dataset: str) -> None:
    """Cache the spectrograms."""
    build(
        project, dataset, spectrogram.make_feature(project.parameters(spectrogram.SpectrogramParameters, "spectrogram"))
    )


if __name__ == "__main__":
    run_stage(main, "dataset")
