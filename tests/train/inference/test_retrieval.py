"""Pooled features of frames and sounds: those of the network, in the order of the samples."""

import numpy as np
import pytest

from tests.train.inference.test_sound_comparison import make_predictor, toy  # noqa: F401
from train.data.feature_readers import open_readers
from train.inference.retrieval import embed_pairs, has_pooled_features


@pytest.mark.parametrize("method", ["lvs", "slavc", "rcgrad"])
def test_features_do_not_depend_on_the_other_samples(toy, method):  # noqa: F811
    dirs, ids, _ = toy
    predictor = make_predictor(method)
    assert has_pooled_features(predictor)
    readers = open_readers(dirs, predictor.reads)

    frames, sounds = embed_pairs(predictor, ids, readers)
    assert frames.shape == sounds.shape
    assert len(frames) == len(ids)
    alone = embed_pairs(predictor, ids[2:3], readers)
    np.testing.assert_allclose(alone[0][0], frames[2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(alone[1][0], sounds[2], rtol=1e-4, atol=1e-6)
