"""What tests of batches share: a small input format, a source, the comparison of two batches."""

import torch

from train.data.feature_readers import open_readers
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.models.localizer import InputFormat

FORMAT = InputFormat(32, 35, image_mean=(0, 0, 0), image_std=(1, 1, 1))
READS = ("frames", "flow", "spectrograms", "waveforms")


def make_source(toy: tuple, *, crops: RandomCrops | None = None) -> SampleSource:
    """Open all samples of a toy world (``write_features``)."""
    features_dirs, ids, _ = toy
    readers = open_readers(features_dirs, READS)
    return SampleSource(ids, readers, input_format=FORMAT, crops=crops)


def assert_equal_inputs(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Compare two batches of inputs bit by bit."""
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
