"""First weights are drawn as the authors' code draws them, where no file gives them."""

import pytest
import torch
from torch import nn

from train.models.registry import build_parameters, make_model


@pytest.mark.parametrize("method", ["ezvsl", "fnac", "slavc"])
def test_projections_and_norms_of_ezvsl_and_its_descendants(method):
    model = make_small(method).requires_grad_(False)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and "aud_proj" in name:
            assert layer.weight.std() == pytest.approx(0.01, rel=0.1)
            assert layer.weight.abs().max() < 0.06
            # PyTorch's own biases: uniform up to one over the root of the inputs.
            assert layer.bias.abs().max() == pytest.approx(layer.in_features**-0.5, rel=0.2)
        if isinstance(layer, nn.Conv2d) and "img_proj" in name:
            assert layer.weight.std() == pytest.approx((2 / layer.out_channels) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("method", "drawn", "ones"),
    [("ezvsl", "audnet", "imgnet"), ("htf", "audnet", "imgnet"), ("lvs", "imgnet", None)],
)
def test_factors_of_batchnorm_scatter_around_one(method, drawn, ones):
    model = make_small(method).requires_grad_(False)
    factors = torch.cat([layer.weight for layer in _norms(getattr(model, drawn))])
    assert factors.mean() == pytest.approx(1.0, abs=0.005)
    assert factors.std() == pytest.approx(0.02, rel=0.15)
    if ones is not None:
        assert all((layer.weight == 1).all() for layer in _norms(getattr(model, ones)))


def _norms(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_projections_of_narrow_networks_may_begin_larger():
    model = make_small("ezvsl", first_weights="kaiming").requires_grad_(False)
    assert model.aud_proj.weight.std() == pytest.approx((2 / 512) ** 0.5, rel=0.1)
    assert (model.aud_proj.bias == 0).all()
    assert (model.img_proj.bias == 0).all()
    assert all((layer.weight == 1).all() for layer in _norms(model.audnet))


def make_small(method, **settings):
    return make_model(build_parameters({"method": method, "width": 32, **settings}, method), seed=1)
