"""``waveforms@DATASET``: the sound around each sample's time, for the models that make their spectrogram inside."""

import dataclasses

from pipeline import spectrogram
from pipeline.project import Project
from stages.building import build
from stages.running import run_stage


def main(project: Project, dataset: str) -> None:
    """Cache the waveforms."""
    feature = spectrogram.make_feature(project.parameters(spectrogram.SpectrogramParameters, "waveform"))
    build(project, dataset, dataclasses.replace(feature, name="waveforms"))


if __name__ == "__main__":
    run_stage(main, "dataset")
