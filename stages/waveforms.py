"""``waveforms@DATASET``: the sound around each sample's time, for the models that make their spectrogram inside."""

import dataclasses

from pipeline.base.project import Project
from pipeline.features import spectrograms
from stages.common import run_stage
from stages.feature import build


def main(project: Project, dataset: str) -> None:
    """Cache the waveforms."""
    feature = spectrograms.make_feature(
        project.parameters(spectrograms.SpectrogramParameters, "waveform")
    )
    build(project, dataset, dataclasses.replace(feature, name="waveforms"))


if __name__ == "__main__":
    run_stage(main, "dataset")
