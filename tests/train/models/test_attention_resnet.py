"""Attention10k with trained encoders: attention, distances and loss equal GeWu-Lab's code."""

import pytest
import torch

from earshot.errors import ParameterError
from tests.helpers.training.compared_golden import (
    KEYS,
    assert_close,
    make_formula_model,
    normal,
    shapes_of,
    uniform,
)
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.registry import build_parameters, make_model
from train.networks.losses import contrast_distances


@torch.no_grad()
def test_attention_distances_and_loss():
    model = make_formula_model("attention_resnet")
    # Their log mel spectrogram: the network takes any size.
    inputs = {
        "frames": normal("image", 3, 3, 224, 224),
        "spectrograms": normal("logmel201", 3, 1, 201, 64),
    }
    embeddings = model.embed(inputs)
    visual, audio = embeddings["visual"], embeddings["audio"]
    attention, attended = model.attend(visual, audio)
    assert_close(attention, "attention_resnet_map")
    assert_close(model.localize(inputs), "attention_resnet_map")
    assert_close(attended[:, :16], "attention_resnet_v16")

    # Six pairs: each sound with its own picture, and then with the next one.
    other = model.attend(visual.roll(-1, 0), audio)[1]
    distances = torch.stack([attended - audio, other - audio], 1).norm(dim=2)
    assert_close(distances.flatten(), "attention_resnet_distance")
    assert_close(model.loss(embeddings), "attention_resnet_loss")


def test_contrastive_loss():
    squares = (7 * uniform("contrastive", 8)).square()
    assert_close(contrast_distances(squares[::2], squares[1::2], margin=10), "contrastive10_lossfn")


def test_state_dict_has_the_published_keys_and_shapes():
    model = make_model(build_parameters({"method": "attention_resnet"}, "test"))
    assert shapes_of(model) == KEYS["attention_resnet"]


def test_it_trains(toy, tmp_path):
    result = run(toy, tmp_path / "run", tiny("attention_resnet", learning_rate=3e-3))
    assert losses(result)[1] < losses(result)[0]


def test_what_cannot_be_is_said():
    with pytest.raises(ParameterError, match=r"audio_width \(16\) must be 0 or width \(8\)"):
        tiny("attention_resnet", audio_width=16)
    with pytest.raises(ParameterError, match=r"margin \(0\.0\) must be > 0"):
        tiny("attention_resnet", margin=0.0)
