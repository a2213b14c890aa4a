"""Twenty samples with boxes and a random map for each."""

import numpy as np
import pytest

from tests.helpers.scoring.score_examples import make_samples


@pytest.fixture
def samples():
    return make_samples()


@pytest.fixture
def ids(samples):
    return samples["sample_id"].to_pylist()


@pytest.fixture
def maps(ids):
    return np.random.default_rng(1).random((len(ids), 14, 14), np.float32)
