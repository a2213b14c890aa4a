"""What tests of batches share: a small input format and the comparison of two batches."""

import torch

from train.models.localizer import InputFormat

FORMAT = InputFormat(32, 35, image_mean=(0, 0, 0), image_std=(1, 1, 1))


READS = ("frames", "flow", "spectrograms", "waveforms")


def assert_equal_inputs(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
