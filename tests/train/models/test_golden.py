"""Every published network has the keys of its authors' code and computes the same numbers.

Weights and inputs come from a formula. ``tests/data/make_golden_models.py`` made the numbers.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import (
    METHODS,
    fill_state_dict,
    generator,
    inputs_of,
    make_formula_model,
    tensor,
)
from train.models.registry import build_parameters, make_model
from train.networks.gradcam import grad_cam, keep_upper_half

GOLDEN = np.load(GOLDEN_DIR / "golden_models.npz")
MAP_STEP = slice(3, None, 7)  # of the golden maps of 224x224, which are kept thinned


def assert_close(values, golden_name, *, step=None):
    """Within 1e-3 of the golden array's range, or of a scalar."""
    values = values.detach().numpy()
    values = values[:, step, step] if step is not None else values
    golden = GOLDEN[golden_name]
    assert values.shape == golden.shape
    assert np.abs(golden).max() > 0
    scale = np.ptp(golden) if golden.size > 1 else np.abs(golden).item()
    np.testing.assert_allclose(values, golden, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_has_the_published_keys_and_shapes(name):
    published = json.loads((DATA / "state_dict_keys.json").read_text())[name]
    state = make_model(build_parameters(METHODS[name], "test")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published


@torch.no_grad()
def test_lvs_map_logits_and_loss():
    model = make_formula_model("lvs")
    inputs = inputs_of("lvs")
    embeddings = model.embed(inputs)
    assert_close(model.localize(inputs), "lvs_map")
    assert_close(model.logits(embeddings), "lvs_logits")
    assert_close(model.loss(embeddings), "lvs_loss")


@torch.no_grad()
def test_ezvsl_map_and_loss():
    model = make_formula_model("ezvsl")
    inputs = inputs_of("ezvsl")
    assert_close(model.localize(inputs), "ezvsl_map")
    assert_close(model.loss(model.embed(inputs)), "ezvsl_loss")


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["cnn", "maxpool"])
def test_htf_map_loss_and_attention(encoder):
    model = make_formula_model(f"htf_{encoder}")
    inputs = inputs_of("htf")
    assert_close(model.localize(inputs), f"htf_{encoder}_map")
    assert_close(model.loss(model.embed(inputs)), f"htf_{encoder}_loss")
    visual = tensor(generator("feat").standard_normal((3, 512, 7, 7)))
    num_channels = 512 if encoder == "cnn" else 2
    keys = tensor(generator(f"key{encoder}").standard_normal((3, num_channels, 7, 7)))
    assert_close(model.flowatt(visual, keys)[:, :8], f"htf_{encoder}_attention_out")


@torch.no_grad()
@pytest.mark.parametrize("name", ["rcgrad", "flowgrad_ic", "flowgrad_en"])
def test_gradcam_models_batched_equal_the_authors_one_by_one(name):
    model = make_formula_model(name)
    inputs = inputs_of(name)
    maps = model.localize(inputs)
    assert_close(keep_upper_half(maps), f"{name}_map", step=MAP_STEP)
    if name != "flowgrad_en":
        assert_close(maps, f"{name}_gradcam", step=MAP_STEP)
        assert_close(model.audio_encoder(inputs["waveforms"])[:, :16], f"{name}_audio_embedding16")


@torch.no_grad()
def test_full_maps_of_the_shared_folder(shared):
    golden = np.load(shared("golden", "models.npz"))
    model = make_formula_model("rcgrad")
    maps = model.localize(inputs_of("rcgrad"))
    np.testing.assert_allclose(maps.numpy(), golden["rcgrad_gradcam"], atol=1e-3)
    np.testing.assert_allclose(keep_upper_half(maps).numpy(), golden["rcgrad_map"], atol=1e-3)


def test_closed_form_gradcam_equals_autograd_one_by_one():
    """Compare with the textbook Grad-CAM.

    It goes backward from the score to the features; weights are mean gradients.
    """
    torch.manual_seed(0)
    features, vectors = torch.randn(5, 12, 4, 6), torch.randn(5, 12)
    batched = grad_cam(features, vectors, size=(16, 24))
    for number in range(5):
        one = features[number : number + 1].clone().requires_grad_()
        (one.mean((2, 3)) @ vectors[number]).sum().backward()
        cam = (one.grad.mean((2, 3), keepdim=True) * one).sum(1).relu().detach()
        cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
        cam = F.interpolate(cam[None], size=(16, 24), mode="bilinear")[0, 0]
        cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
        torch.testing.assert_close(batched[number], cam, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_another_salt_makes_other_weights_and_maps():
    template = make_model(build_parameters({"method": "lvs", "width": 8}, "test")).state_dict()
    first, second = fill_state_dict(template), fill_state_dict(template, "other")
    assert not torch.equal(first["imgnet.conv1.weight"], second["imgnet.conv1.weight"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["rcgrad", "flowgrad_en"])
@pytest.mark.parametrize("uses_batch_statistics", [False, True])
def test_a_map_does_not_depend_on_the_rest_of_its_batch(name, uses_batch_statistics):
    settings = {"width": 8, "uses_batch_statistics": uses_batch_statistics}
    model = make_formula_model(name, **settings)
    inputs = {
        key: values[:, ..., :16000] if key == "waveforms" else values
        for key, values in inputs_of(name).items()
    }
    together = model.localize(inputs)
    for number in range(3):
        alone = model.localize({key: values[number : number + 1] for key, values in inputs.items()})
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_statistics_of_each_sample_are_those_of_a_batch_of_one_in_training_mode():
    """The released code keeps the audio encoder in training mode and passes single samples."""
    model = make_formula_model("rcgrad", width=8, uses_batch_statistics=True)
    waveforms = inputs_of("rcgrad")["waveforms"][:, :16000]
    together = model.audio_encoder(waveforms)
    encoder = make_formula_model("rcgrad", width=8).audio_encoder
    encoder.train()
    alone = torch.cat([encoder(waveforms[number : number + 1]) for number in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    # also where BatchNorm was replaced by the one of several GPUs
    synchronized = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
    torch.testing.assert_close(synchronized.audio_encoder(waveforms), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_batch_statistics_change_the_audio_embedding_and_leave_the_weights():
    usual = make_formula_model("rcgrad", width=8)
    quirky = make_formula_model("rcgrad", width=8, uses_batch_statistics=True)
    before = {key: value.clone() for key, value in quirky.state_dict().items()}
    waveforms = inputs_of("rcgrad")["waveforms"][:, :16000]
    assert not torch.allclose(
        usual.audio_encoder(waveforms), quirky.audio_encoder(waveforms), rtol=1e-2
    )
    after = quirky.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.no_grad()
@pytest.mark.parametrize("uses_batch_statistics", [False, True])
def test_digital_silence_has_a_map_and_a_loss(uses_batch_statistics):
    """One silent clip in a validation set must not make its score NaN."""
    model = make_formula_model("rcgrad", width=8, uses_batch_statistics=uses_batch_statistics)
    inputs = {"frames": inputs_of("rcgrad")["frames"][:2], "waveforms": 0.1 * torch.randn(2, 16000)}
    inputs["waveforms"][1] = 0
    for is_training in (False, True):
        model.train(is_training)
        assert model.localize(inputs).isfinite().all()
        assert model.loss(model.embed(inputs)).isfinite()
    assert model.embed({**inputs, "waveforms": torch.zeros(2, 16000)})["audio"].isfinite().all()


@torch.no_grad()
def test_flowgrad_h_is_rcgrad_times_the_magnitude():
    inputs = inputs_of("rcgrad")
    rcgrad = make_formula_model("rcgrad", width=8)
    product = make_model(build_parameters({"method": "flowgrad_h", "width": 8}, "test"))
    product.load_state_dict(rcgrad.state_dict())
    magnitude = inputs["flow"][:, 0]
    low, high = magnitude.amin((1, 2), keepdim=True), magnitude.amax((1, 2), keepdim=True)
    expected = rcgrad.localize(inputs) * (magnitude - low) / (high - low)
    torch.testing.assert_close(product.eval().localize(inputs), expected)
