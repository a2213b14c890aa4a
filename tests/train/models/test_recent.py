"""MarginNCE, FNAC and SLAVC: golden numbers, warm-up, masks, momentum copies, a training."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earshot.errors import ParameterError
from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import (
    fill_state_dict,
    generator,
    inputs_of,
    make_loss_features,
    tensor,
)
from train.inference.entrants import name_method
from train.models.localizer import Localizer
from train.models.registry import build_parameters, make_model
from train.networks.losses import false_negative_terms, multiple_instance_loss, simultaneous_loss
from train.weights.published_layouts import recognize_method

GOLDEN = np.load(GOLDEN_DIR / "golden_recent.npz")


@pytest.mark.parametrize("method", ["fnac", "slavc"])
def test_state_dict_has_the_published_keys_and_shapes(method):
    published = json.loads((DATA / "recent_state_dict_keys.json").read_text())[method]
    state = make_model(build_parameters({"method": method}, "test")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published
    # FNAC has the keys of EZ-VSL, so the names alone cannot tell them apart.
    assert recognize_method(state) == {"method": "ezvsl" if method == "fnac" else method}


def assert_close(values: torch.Tensor, name: str) -> None:
    """Within 1e-3 of the golden array's range, or of a scalar."""
    golden = GOLDEN[name]
    scale = np.ptp(golden) if golden.size > 1 else np.abs(golden).item()
    np.testing.assert_allclose(values.detach().numpy(), golden, rtol=0, atol=1e-3 * scale)


def make_formula_model(method: str, **settings) -> Localizer:
    model = make_model(build_parameters({"method": method, **settings}, "test"))
    model.load_state_dict(fill_state_dict(model.state_dict()))
    return model.eval()


@pytest.mark.parametrize(("row", "margin"), [(0, -0.2), (1, 0.0), (2, 0.2)])
def test_the_margin_is_that_of_the_formula(row, margin):
    similarities = tensor(generator("margin_S").uniform(-0.2, 0.6, (6, 6)))
    # With unit vectors as sounds, the features of a frame are its similarities.
    loss = multiple_instance_loss(
        similarities[:, :, None, None], torch.eye(6), tau=0.03, margin=margin
    )
    assert loss.item() == pytest.approx(GOLDEN["formula_margin_losses"][row].sum(), rel=1e-5)


def test_fnac_takes_a_margin_and_refuses_another_matching():
    visual, audio = make_loss_features()
    plain, lax = (false_negative_terms(visual, audio, margin=margin) for margin in (0.0, -0.2))
    assert lax[0] == multiple_instance_loss(visual, audio, margin=-0.2) < plain[0]
    assert torch.equal(lax[1:], plain[1:])
    with pytest.raises(ParameterError, match=r"matching \(pooled\) must be max: fnac compares"):
        build_parameters({"method": "fnac", "matching": "pooled"}, "test")


def test_fnac_terms_and_their_gradients():
    visual, audio = (values.requires_grad_() for values in make_loss_features())
    terms = false_negative_terms(visual, audio)
    assert_close(terms, "fnac_lossfn")
    total = terms[0] + 100 * terms[1:].sum()
    assert_close(total, "fnac_lossfn_total")
    by_visual, by_audio = torch.autograd.grad(total, (visual, audio))
    assert_close(by_visual.norm(dim=1), "fnac_lossfn_grad_img_norm")
    assert_close(by_audio.norm(dim=1), "fnac_lossfn_grad_aud_norm")


@torch.no_grad()
def test_fnac_map_and_losses():
    model = make_formula_model("fnac")
    inputs = inputs_of("ezvsl")
    embeddings = model.embed(inputs)
    assert_close(model.localize(inputs), "fnac_map")
    assert_close(model.loss(embeddings), "fnac_total")
    model.set_epoch(0)
    assert_close(model.loss(embeddings), "fnac_total")  # epochs are compared by one loss
    model.train()
    assert_close(model.loss(embeddings), "fnac_losses_0")
    model.set_epoch(5)
    assert_close(model.loss(embeddings), "fnac_total")


def test_fnac_masks_one_band_of_rows_and_one_of_columns():
    settings = {"width": 8, "spectrogram_mean": -3.0, "spectrogram_std": 2.0}
    model = make_model(build_parameters({"method": "fnac", **settings}, "test"))
    torch.manual_seed(0)
    spectrograms = torch.full((400, 1, 257, 276), -5.0)
    is_masked = model._mask(spectrograms) == 1.5  # what the logarithm 0 becomes
    num_rows = is_masked[:, 0].all(2).sum(1)
    num_columns = is_masked[:, 0].all(1).sum(1)
    assert set(num_rows.tolist()) == set(num_columns.tolist()) == set(range(10))
    both = (num_rows * 276 + num_columns * 257 - num_rows * num_columns).sum()
    assert is_masked.sum() == both

    # Validation masks nothing.
    first, second = (model.eval().embed(small_inputs())["audio"] for _ in range(2))
    assert torch.equal(first, second)


def small_inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"frames": torch.randn(4, 3, 64, 64), "spectrograms": torch.randn(4, 1, 64, 64)}


def slavc_features(visual: torch.Tensor, audio: torch.Tensor) -> tuple[tuple, tuple]:
    def near(values: torch.Tensor, name: str) -> torch.Tensor:
        other = F.normalize(tensor(generator(name).standard_normal(values.shape)), dim=1)
        return F.normalize(values.detach() + 0.5 * other, dim=1)

    audio_2 = near(audio, "slavc_aud2").requires_grad_()
    online = (visual, near(visual, "slavc_img2"), audio, audio_2)
    momentum = (
        near(visual, "slavc_img1_trg"),
        near(visual, "slavc_img2_trg"),
        near(audio, "slavc_aud1_trg"),
        near(audio, "slavc_aud2_trg"),
    )
    return online, momentum


def test_slavc_loss_and_its_gradients():
    visual, audio = (values.requires_grad_() for values in make_loss_features())
    online, momentum = slavc_features(visual, audio)
    loss = simultaneous_loss(online, momentum)
    assert_close(loss, "slavc_lossfn")
    by_visual, by_audio = torch.autograd.grad(loss, (online[0], online[3]))
    assert_close(by_visual.norm(dim=1), "slavc_lossfn_grad_img1_norm")
    assert_close(by_audio.norm(dim=1), "slavc_lossfn_grad_aud2_norm")


@torch.no_grad()
@pytest.mark.parametrize(
    ("by_copies", "name"), [(False, "slavc_map"), (True, "slavc_map_momentum")]
)
def test_slavc_map_and_loss(by_copies, name):
    model = make_formula_model("slavc", uses_momentum_at_test=by_copies)
    inputs = inputs_of("ezvsl")
    assert_close(model.localize(inputs), name)
    assert_close(model.loss(model.embed(inputs)), "slavc_loss")


def test_slavc_copies_begin_equal_and_follow_the_networks():
    settings = {"width": 8, "momentum": 0.75, "dropout": 0.0}
    model = make_model(build_parameters({"method": "slavc", **settings}, "test"))
    assert not any(parameter.requires_grad for parameter in model.momentum_imgnet.parameters())

    with torch.no_grad():
        model.aud_proj1.weight.fill_(1)
    model.take_first_weights()
    assert (model.momentum_aud_proj1.weight == 1).all()

    with torch.no_grad():
        model.aud_proj1.weight.fill_(5)
    model.begin_step()
    assert (model.momentum_aud_proj1.weight == 2).all()
    model.train().embed(small_inputs())  # further batches of a step move nothing
    assert (model.momentum_aud_proj1.weight == 2).all()
    # The copies keep running statistics of their own.
    assert model.momentum_imgnet.bn1.num_batches_tracked == 1


@pytest.mark.parametrize("method", ["fnac", "slavc"])
def test_a_few_steps_lower_the_loss(method):
    torch.manual_seed(0)
    settings = {"width": 8, "map_stride": 16, "dropout": 0.0, "embedding_size": 32}
    model = make_model(build_parameters({"method": method, **settings}, "test")).train()
    model.set_epoch(0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    losses = []
    for _ in range(12):
        loss = model.loss(model.embed(small_inputs()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_margin_makes_another_method_in_the_results():
    plain, margin = (
        build_parameters({"method": "ezvsl", "margin": value}, "test") for value in (0.0, -0.2)
    )
    assert (name_method(plain), name_method(margin)) == ("ezvsl", "marginnce")


def test_parts_of_a_method_have_names_of_their_own_in_the_results():
    for settings, name in [
        ({"method": "coarsetofine"}, "coarsetofine_stage_1"),
        ({"method": "coarsetofine", "stage": 2, "init": "a run"}, "coarsetofine"),
        (
            {"method": "coarsetofine", "stage": 2, "init": "a run", "labels": "a.npz"},
            "coarsetofine_own_labels",
        ),
        (
            {"method": "coarsetofine", "labels": "a.npz", "label_encoder": "a run"},
            "coarsetofine_stage_1_clusters",
        ),
        ({"method": "sspl"}, "sspl_without_pcm"),
        ({"method": "sspl", "has_predictive_coding": True}, "sspl"),
        ({"method": "fnac", "margin": -0.2}, "fnac"),
    ]:
        assert name_method(build_parameters(settings, "test")) == name
