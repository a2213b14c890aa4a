"""Encoders: what their options do to what a cell of the map sees."""

import pytest
import torch

from train.encoders import make_encoder, zero_init_residual
from train.models import build_parameters, make_model


def reach_of(encoder: torch.nn.Module) -> int:
    """How many cells away from the middle one a change of the pixels in its own place is felt."""
    picture = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    changed = picture.clone()
    changed[:, :, 128:144, 128:144] += 1.0
    with torch.inference_mode():
        difference = (encoder.eval()(changed) - encoder(picture)).abs().amax((0, 1))
    rows, columns = torch.nonzero(difference > 1e-6, as_tuple=True)
    return max(int((rows - 8).abs().max()), int((columns - 8).abs().max()))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_blocks_that_start_as_shortcuts_see_their_own_place_only(backbone):
    encoder = make_encoder(backbone, in_channels=3, width=8, map_stride=16)
    assert reach_of(encoder) >= 4, "otherwise this test shows nothing"
    zero_init_residual(encoder)
    assert reach_of(encoder) == 1


def test_zero_init_residual_is_a_parameter_and_off_by_default():
    section = {"method": "lvs", "init": "random", "width": 8, "map_stride": 16, "image_size": 64}

    def branch_scales(**changes):
        model = make_model(build_parameters({**section, **changes}, "train.x"))
        return [
            float(value.detach().abs().max()) for name, value in model.named_parameters() if name.endswith("bn2.weight")
        ]

    assert set(branch_scales()) == {1.0}
    assert set(branch_scales(zero_init_residual=True)) == {0.0}
