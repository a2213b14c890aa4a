"""Raw similarities of frames and other sounds: those of the maps, whatever is heard."""

import numpy as np
import pytest

from eval.entrants.negative_sounds import Sounds
from tests.helpers.training.toy_features import write_features
from train.data.feature_readers import open_readers
from train.inference.predictor import Predictor
from train.inference.sound_comparison import compare_sounds
from train.models.registry import METHODS, build_parameters, load_method, make_model

SMALL = {"width": 8, "image_size": 64, "init": "random", "spectrogram_pooling": 4}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("toy"), 5)


def make_predictor(method):
    settings = SMALL | ({"freeze_vision": False} if method == "htf" else {})
    parameters = build_parameters({"method": method, **settings}, "test")
    return Predictor(make_model(parameters, seed=4), parameters, device="cpu")


class Swapped:
    """A reader in which each sample has the array of another one."""

    def __init__(self, reader, other_of):
        self._reader, self._other_of = reader, other_of

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def read_batch(self, sample_ids):
        return self._reader.read_batch([self._other_of[name] for name in sample_ids])


@pytest.mark.parametrize("method", ["lvs", "htf", "ezvsl", "fnac", "slavc"])
def test_similarities_are_those_of_the_maps(toy, method):
    dirs, ids, _ = toy
    predictor = make_predictor(method)
    readers = open_readers(dirs, predictor.reads)
    sound = readers["spectrograms"]
    other_of = dict(zip(ids, ids[1:] + ids[:1], strict=True))
    sounds = [
        Sounds("own", sound.read, lambda name: name),
        Sounds("offscreen", lambda name: sound.read(other_of[name]), lambda name: other_of[name]),
        Sounds("noise", lambda name: sound.read(ids[0]), lambda name: None),
    ]
    found = compare_sounds(predictor, ids, readers, sounds)

    # Maps are cosines, or cosines over tau; similarities are cosines, or scaled to 0..1.
    tau = getattr(predictor.parameters, "tau", 1.0) if method in ("ezvsl", "fnac", "slavc") else 1.0

    def expect(other):
        swapped = readers | {"spectrograms": Swapped(sound, other)}
        cosines = predictor.predict(ids, swapped) * tau
        return (cosines + 1) / 2 if method in ("ezvsl", "fnac", "slavc") else cosines

    own = {name: name for name in ids}
    np.testing.assert_allclose(found[0], expect(own), atol=1e-5)
    np.testing.assert_allclose(found[1], expect(other_of), atol=1e-5)
    np.testing.assert_allclose(found[2], expect(dict.fromkeys(ids, ids[0])), atol=1e-5)


def test_methods_whose_similarity_has_no_place_say_so():
    without = {method for method in METHODS if not load_method(method).Model.has_similarity}
    of_flowgrad = {"rcgrad", "flowgrad_h", "flowgrad_ic", "flowgrad_en"}
    of_attention = {"attention10k", "attention_resnet"}
    assert without == of_flowgrad | of_attention | {"dmc", "coarsetofine", "avobject", "sspl"}
