"""SSLalignment: released weights load strictly and give the golden maps."""

import json

import numpy as np
import pytest
import torch

from earshot.errors import DataError
from pipeline.features.spectrograms import Parameters, compute_spectrogram
from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import fill_state_dict, generator, inputs_of, tensor
from train.inference.predictor import load_predictor
from train.models.registry import build_parameters, make_model
from train.video.model_features import make_features
from train.weights.published_checkpoints import import_published, load_published

GOLDEN = np.load(GOLDEN_DIR / "golden_recent.npz")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Write formula weights in the layout in which the authors gave theirs away."""
    keys = json.loads((DATA / "recent_state_dict_keys.json").read_text())["sslalign"]
    path = tmp_path_factory.mktemp("weights") / "sslalignment.pth"
    template = {key: torch.zeros(shape) for key, shape in keys.items()}
    torch.save({"model_state_dict": fill_state_dict(template), "epoch": 7}, path)
    return path


def assert_close(values: torch.Tensor, name: str) -> None:
    golden = GOLDEN[name]
    assert np.abs(values.numpy() - golden).max() <= 1e-3 * np.ptp(golden)


@torch.no_grad()
def test_the_released_layout_gives_the_golden_maps(checkpoint):
    model, parameters = load_published(checkpoint, "sslalignment")
    assert parameters.method == "sslalignment"
    spectrograms = tensor(generator("spectrogram299").standard_normal((3, 1, 257, 299)))
    inputs = {"frames": inputs_of("lvs")["frames"], "spectrograms": spectrograms}
    assert_close(model.localize(inputs), "sslalign_map")
    assert_close(model.logits(model.embed(inputs)), "sslalign_logits")


def test_further_tensors_are_refused_unless_they_are_named(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    content["model_state_dict"]["aud_head.weight"] = torch.zeros(3, 3)
    torch.save(content, tmp_path / "more.pth")
    with pytest.raises(DataError, match=r"1 keys are not in the model \(aud_head.weight\)"):
        load_published(tmp_path / "more.pth", "sslalignment")
    load_published(tmp_path / "more.pth", "sslalignment", unused=["aud_head"])

    del content["model_state_dict"]["audnet.bn1.bias"]
    torch.save(content, tmp_path / "less.pth")
    with pytest.raises(DataError, match=r"1 keys are missing \(audnet.bn1.bias\)"):
        load_published(tmp_path / "less.pth", "sslalignment", unused=["aud_head"])


def test_the_preset_is_the_spectrogram_of_its_code():
    waveform = (0.1 * generator("wave16000_10s").standard_normal(160000)).astype("f4")
    settings = Parameters(preset="sslalignment", dtype="float32").resolve()
    got = compute_spectrogram(waveform[56000:104000], sample_rate=16000, settings=settings)
    assert got.shape == (257, 299)
    golden = GOLDEN["sslalign_spec"]
    assert np.abs(got[:, ::8] - golden).max() <= 1e-3 * np.ptp(golden)


def test_imported_weights_bring_their_own_spectrogram(checkpoint, tmp_path):
    import_published(checkpoint, "sslalignment", tmp_path / "run")
    predictor = load_predictor(tmp_path / "run", device="cpu")
    (feature,) = [f for f in make_features(predictor, {}) if f.name == "spectrograms"]
    assert feature.parameters.hop_length == 159
    assert (feature.parameters.anchor, feature.parameters.sample_rate) == ("centre", 16000)


def test_its_network_is_that_of_lvs_and_a_training_adds_projections():
    keys = json.loads((DATA / "recent_state_dict_keys.json").read_text())["sslalign"]
    released = make_model(build_parameters({"method": "sslalignment", "embedding_size": 0}, "test"))
    assert {key: list(value.shape) for key, value in released.state_dict().items()} == keys

    trained = make_model(build_parameters({"method": "sslalignment"}, "test"))
    further = set(trained.state_dict()) - set(keys)
    assert {key.split(".")[0] for key in further} == set(trained.further_parts)
