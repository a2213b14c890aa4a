"""Hear The Flow: pooled flow keeps motion both ways."""

import pytest
import torch

from train.data.augmentation import prepare_inputs
from train.data.collate import ShapeGroup
from train.models.htf import pool_flow
from train.models.registry import build_parameters, make_model

TINY = {"method": "htf", "flow_encoder": "maxpool", "width": 4, "audio_width": 4, "image_size": 64}


def find_keys(flow: torch.Tensor, **settings) -> torch.Tensor:
    """Return what the attention of a network with ``maxpool`` gets for cached flow."""
    parameters = build_parameters(
        TINY | {"init": "random", "freeze_vision": False, **settings}, "test"
    )
    model = make_model(parameters).eval()
    batch = {
        "frames": [ShapeGroup(torch.tensor([0]), torch.zeros(1, 64, 64, 3, dtype=torch.uint8))],
        "flow": [ShapeGroup(torch.tensor([0]), flow)],
        "native_height": torch.tensor([64.0]),
        "spectrograms": torch.zeros(1, 257, 300),
    }
    found = []
    model.flowatt.register_forward_hook(lambda module, inputs, output: found.append(inputs[1]))
    with torch.no_grad():
        model.embed(prepare_inputs(batch, model.input_format))
    return found[0][0]


@pytest.mark.parametrize("speed", [(4.0, 0.0), (-4.0, 0.0), (0.0, 4.0), (0.0, -4.0), (-3.0, 2.0)])
def test_motion_of_a_car_is_kept_wherever_it_goes(speed):
    """A small car in each cell, before a background that stands still."""
    flow = torch.zeros(1, 2, 64, 64)
    flow[0, :, 8::32, 8::32] = torch.tensor(speed)[:, None, None]
    keys = find_keys(flow)
    expected = torch.tensor(speed)[:, None, None].expand(2, 2, 2)
    assert torch.equal(keys, expected)


def test_pictures_without_signs_are_pooled_as_published():
    flow = torch.randint(0, 200, (1, 2, 64, 64), generator=torch.Generator().manual_seed(0))
    keys = find_keys(flow.to(torch.uint8), flow_encoding="jpeg")
    assert torch.equal(keys, torch.nn.functional.adaptive_max_pool2d(flow.float(), 2)[0])
    assert torch.equal(find_keys(flow.to(torch.uint8)), keys)


def test_two_channels_are_pooled_by_their_maximum():
    flow = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pool_flow(flow, (2, 2)), torch.nn.functional.adaptive_max_pool2d(flow, 2))
