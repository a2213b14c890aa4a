"""Crops, flips and the encodings of flow and sound are exact."""

import numpy as np
import pytest
import torch

from tests.helpers.training.batch_checks import FORMAT
from train.data.augmentation import encode_flow, prepare_inputs, shrink
from train.data.collate import ShapeGroup, collate
from train.models.localizer import InputFormat


def make_batch(crop, *, height=35, width=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (1, height, width, 3), generator=generator, dtype=torch.uint8)
    flow = torch.randn(1, 2, height, width, generator=generator).half()
    places = torch.tensor([0])
    return {
        "frames": [ShapeGroup(places, frames)],
        "flow": [ShapeGroup(places, flow)],
        "native_height": torch.tensor([100.0]),
        "crop": torch.tensor([crop]),
    }


def test_crop_takes_pixels_as_they_are():
    batch = make_batch([0.0, 0.999, 0.0])
    inputs = prepare_inputs(batch, FORMAT)
    frames, flow = batch["frames"][0].arrays, batch["flow"][0].arrays
    expected = frames[0, :32, 18:50].permute(2, 0, 1).float() / 255
    torch.testing.assert_close(inputs["frames"][0], expected)
    torch.testing.assert_close(inputs["flow"][0], flow[0, :, :32, 18:50].float())


def test_flip_mirrors_both_and_negates_the_x_flow():
    plain = prepare_inputs(make_batch([0.3, 0.6, 0.0]), FORMAT)
    flipped = prepare_inputs(make_batch([0.3, 0.6, 1.0]), FORMAT)
    torch.testing.assert_close(flipped["frames"], plain["frames"].flip(3))
    torch.testing.assert_close(flipped["flow"][:, 0], -plain["flow"][:, 0].flip(2))
    torch.testing.assert_close(flipped["flow"][:, 1], plain["flow"][:, 1].flip(2))


@pytest.mark.parametrize("stored", [np.uint8, np.float16])
@pytest.mark.parametrize("size", [(35, 50), (17, 25), (70, 100)])
def test_flow_pictures_of_hear_the_flow_are_mirrored_as_they_are(stored, size):
    """They have no negative values: x that is negated would become 0 everywhere."""
    flow = np.random.default_rng(0).integers(0, 9, (2, *size)).astype(stored)
    frame = np.zeros((35, 50, 3), np.uint8)

    def flow_of(flip):
        batch = collate({"frames": [frame], "flow": [flow]}, ids=["a"], native_heights=[100])
        batch["crop"] = torch.tensor([[0.3, 0.6, flip]])
        return prepare_inputs(batch, InputFormat(32, 35, flow_encoding="jpeg"))["flow"]

    assert flow_of(0.0)[:, 0].max() > 0
    torch.testing.assert_close(flow_of(1.0), flow_of(0.0).flip(3))


@pytest.mark.parametrize("encoding", ["signed", "jpeg", "magnitude", "signs"])
def test_flow_stored_as_pictures_is_never_negated(encoding):
    flow = np.full((2, 35, 50), 3, np.uint8)
    form = InputFormat(32, 35, flow_encoding=encoding)

    def flow_of(flip):
        batch = collate({"flow": [flow]}, ids=["a"], native_heights=[100])
        return prepare_inputs(batch | {"crop": torch.tensor([[0.0, 0.0, flip]])}, form)["flow"]

    assert torch.equal(flow_of(1.0), flow_of(0.0))


@pytest.mark.parametrize("is_squashed", [True, False])
def test_levels_of_flow_pictures_are_rounded_when_they_are_shrunk(is_squashed):
    levels = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (3, 2, 70, 90), np.uint8))

    def shrink_as(arrays):
        group = ShapeGroup(torch.arange(3), arrays)
        return shrink(group, feature="flow", input_format=FORMAT, is_squashed=is_squashed)

    shrunk = shrink_as(levels)
    assert shrunk.dtype == torch.uint8
    assert torch.equal(shrunk.float(), shrink_as(levels.float()).round())
    assert abs(shrunk.float().mean() - levels.float().mean()) < 0.02


@pytest.mark.parametrize(("frame", "flow"), [((35, 53), (17, 26)), ((35, 53), (70, 105))])
@pytest.mark.parametrize("is_portrait", [False, True])
def test_flow_is_cropped_where_the_frame_is_whatever_sizes_are_stored(frame, flow, is_portrait):
    """Its own rounded size would give another width: 54 or 52 instead of 53."""
    along = 2 if is_portrait else 3
    if is_portrait:
        frame, flow = frame[::-1], flow[::-1]

    # Both show how far a place is from the beginning of the long side, as a fraction.
    def make_ramp(size):
        ramp = (torch.arange(max(size)) + 0.5) / max(size)
        return (ramp[:, None] if is_portrait else ramp[None]).expand(size)

    frames = (make_ramp(frame) * 255).round().to(torch.uint8)[..., None].expand(*frame, 3)
    arrays = {"frames": [frames.numpy()], "flow": [make_ramp(flow).expand(2, *flow).numpy()]}
    batch = collate(arrays, ids=["a"], native_heights=[100])
    batch["crop"] = torch.tensor([[0.999, 0.999, 0.0]])
    inputs = prepare_inputs(batch, FORMAT)

    # At an end the border is repeated; a place of the small flow is 1 / 26 wide.
    found, expected = inputs["flow"][:, :1], inputs["frames"][:, :1]
    difference = (found - expected).abs().narrow(along, 0, 30)
    assert difference.max() < 0.004


def test_smaller_flow_is_cropped_where_the_frame_is():
    """A ramp stored at half the size reads as the ramp of the frame's pixels under the crop."""
    batch = make_batch([0.5, 0.5, 0.0])
    columns = torch.arange(25) * 2 + 1.0  # x of the centre of each stored pixel, in working pixels
    ramp = columns.expand(1, 2, 17, 25).contiguous()
    batch["flow"] = [ShapeGroup(torch.tensor([0]), ramp)]
    flow = prepare_inputs(batch, FORMAT)["flow"][0, 0, 10]
    expected = torch.arange(32) + 9 + 0.5
    assert (flow - expected).abs().max() < 1.0


def test_flow_stored_at_different_sizes_makes_one_batch():
    """Make one batch of flow that is stored at different sizes.

    Above the working size it is cropped as it is (float16), below it is sampled (float32).
    """
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(2, 2, 60, 60, generator=generator).half()
    small = torch.randn(1, 2, 20, 20, generator=generator).half()
    crop = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.5, 1.0], [0.7, 0.2, 1.0]])

    def flow_of(groups, rows):
        batch = {"flow": groups, "crop": crop[rows], "native_height": torch.ones(len(rows))}
        return prepare_inputs(batch, FORMAT)["flow"]

    together = flow_of(
        [ShapeGroup(torch.tensor([0, 2]), large), ShapeGroup(torch.tensor([1]), small)], [0, 1, 2]
    )
    assert together.dtype == torch.float32
    torch.testing.assert_close(
        together[[0, 2]], flow_of([ShapeGroup(torch.tensor([0, 1]), large)], [0, 2])
    )
    torch.testing.assert_close(together[[1]], flow_of([ShapeGroup(torch.tensor([0]), small)], [1]))


def test_squash_shows_the_whole_frame():
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 40:] = 200
    batch = collate({"frames": [frame]}, ids=["a"])
    squashed = prepare_inputs(batch, FORMAT)["frames"][0, 0]
    assert squashed.shape == (32, 32)
    assert squashed[:, :14].max() < 0.05
    assert (squashed[:, 18:] - 200 / 255).abs().max() < 0.05


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[-3.0, 4.4]]),
        ({"flow_encoding": "jpeg"}, [[0.0, 4.0]]),
        (
            {"flow_encoding": "magnitude", "flow_offset": 5.0, "flow_scale": 1 / 200},
            [[(np.hypot(3, 4.4) + 5) / 200]],
        ),
        ({"flow_unit": "frame", "flow_scale": 50.0}, [[-1.5, 2.2]]),
        ({"flow_encoding": "signs"}, [[0.0, 4.4, 3.0, 0.0]]),
    ],
)
def test_flow_encodings(settings, expected):
    flow = torch.tensor([-3.0, 4.4]).view(1, 2, 1, 1)
    encoded = encode_flow(flow, torch.tensor([100.0]), InputFormat(32, 35, **settings))
    torch.testing.assert_close(encoded.flatten(1), torch.tensor(expected, dtype=torch.float32))


def test_int16_waveforms_are_scaled_and_spectrograms_pooled():
    waveform, spectrogram = (
        np.full(10, 16384, np.int16),
        np.arange(36, dtype=np.float16).reshape(6, 6),
    )
    batch = collate({"waveforms": [waveform], "spectrograms": [spectrogram]}, ids=["a"])
    form = InputFormat(32, 35, spectrogram_mean=1.0, spectrogram_std=2.0, spectrogram_pooling=3)
    inputs = prepare_inputs(batch, form)
    assert torch.equal(inputs["waveforms"], torch.full((1, 10), 0.5))
    torch.testing.assert_close(
        inputs["spectrograms"][0, 0, 0, 0].item(), (spectrogram[:3, :3].mean() - 1) / 2
    )
    assert inputs["spectrograms"].shape == (1, 1, 2, 2)
