"""Attention10k: features, attention, loss and SoundNet equal its authors'; it trains."""

import pytest
import torch

from earshot.errors import DataError
from tests.helpers.training.compared_golden import (
    KEYS,
    assert_close,
    make_formula_model,
    normal,
    shapes_of,
)
from tests.helpers.training.golden_formula import fill_state_dict
from tests.helpers.training.teachers import write_soundnet
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.attention10k import Model
from train.models.registry import build_parameters, make_model
from train.networks.encoders.soundnet import SoundNet
from train.weights.initialization import hash_first_weights, initialize


def toy_parameters(folder, **settings):
    settings = {"map_stride": 16, "freeze_vision": False, "sound_seconds": 9.5, **settings}
    return tiny("attention10k", teacher_weights=write_soundnet(folder), select_on="val", **settings)


@torch.no_grad()
def test_features_attention_and_loss(monkeypatch):
    model = make_formula_model("attention10k")
    sound, other = normal("sound", 3, 1000), normal("soundneg", 3, 1000)
    model.read_sound = lambda inputs: sound
    inputs = {"frames": normal("image320", 3, 3, 320, 320)}

    features = model.vision_embedding_model(inputs["frames"])
    assert_close(features[:, :8], "attention10k_features8")
    # The frames' features do not change below.
    monkeypatch.setattr(model.vision_embedding_model, "forward", lambda frames: features)
    assert_close(model.embed_sound(sound), "attention10k_sound512")
    maps = model.localize(inputs)
    assert_close(maps, "attention10k_map")

    visual = model.embed(inputs)["visual"]
    assert_close(visual, "attention10k_z")
    distances = torch.stack(model.measure(visual, sound, other), 1)
    assert_close(distances, "attention10k_distances")
    assert_close(distances.softmax(1)[:, 0].square().mean(), "attention10k_loss")
    distances = torch.stack(model.measure(visual, sound.relu(), other.relu()), 1)
    assert_close(distances.softmax(1)[:, 0].square().mean(), "attention10k_loss_relu")

    # The cosine has the same order, without ties.
    settings = build_parameters({"method": "attention10k", "map_values": "cosine"}, "test")
    monkeypatch.setattr(model, "settings", settings)
    cosines = model.localize(inputs)
    torch.testing.assert_close(cosines.relu().flatten(1).softmax(1), maps.flatten(1))


@torch.no_grad()
def test_loss_alone_with_the_next_sound_as_other():
    visual, sound = (
        normal("lossz", 5, 1000),
        normal("lossz", 5, 1000) + 0.05 * normal("lossp", 5, 1000),
    )
    other = visual + 0.06 * normal("lossn", 5, 1000)
    own, far = Model.measure(visual, sound, other)
    assert_close(torch.stack([own, far], 1).softmax(1)[:, 0].square().mean(), "attention10k_lossfn")

    model = make_model(build_parameters({"method": "attention10k", "width": 8}, "test"))
    own, far = Model.measure(visual, sound, sound.roll(-1, 0))
    expected = torch.stack([own, far], 1).softmax(1)[:, 0].square().mean()
    assert torch.equal(model.loss({"visual": visual, "audio": sound}), expected)


@torch.no_grad()
def test_soundnet():
    network = SoundNet()
    assert shapes_of(network) == KEYS["soundnet8"]
    network.load_state_dict(fill_state_dict(network.state_dict()))
    waveforms = (0.1 * normal("wave22050", 2, 220500)).repeat(1, 2)
    objects = network.eval()(waveforms)
    assert_close(objects, "soundnet8_object")
    assert_close(objects.mean(2), "soundnet8_object_mean")


def test_state_dict_has_the_published_keys_and_shapes(tmp_path):
    model = make_model(build_parameters({"method": "attention10k"}, "test"))
    assert shapes_of(model) == KEYS["attention10k"]
    assert all(
        parameter.requires_grad != name.startswith("vision_embedding_model")
        for name, parameter in model.named_parameters()
    )


def test_it_trains_and_keeps_soundnet_out_of_its_weights(toy, tmp_path):
    result = run(toy, tmp_path / "run", toy_parameters(tmp_path))
    assert losses(result)[1] < losses(result)[0]
    state = torch.load(tmp_path / "run" / "model.ckpt", weights_only=True)["model"]
    assert not [key for key in state if "conv8" in key]


def test_other_weights_of_soundnet_make_another_run(tmp_path):
    parameters = toy_parameters(tmp_path)
    before = hash_first_weights(parameters)
    state = torch.load(parameters.teacher_weights, weights_only=True)
    state["conv1.0.bias"] += 1
    torch.save(state, parameters.teacher_weights)
    assert before != hash_first_weights(parameters)

    del state["conv7.1.bias"]
    torch.save(state, parameters.teacher_weights)
    with pytest.raises(DataError, match=r"1 keys are missing \(conv7.1.bias\)"):
        initialize(make_model(parameters), parameters, weights_dir=None)
    missing = toy_parameters(tmp_path)
    (tmp_path / "sound8.pth").unlink()
    with pytest.raises(DataError, match="no such file, expected SoundNet's weights"):
        initialize(make_model(missing), missing, weights_dir=None)
