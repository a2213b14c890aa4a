"""SSL-TIE: transforms, mel spectrogram, maps and losses equal its authors'; it trains."""

import json

import numpy as np
import pytest
import torch

from earshot.errors import DataError
from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import fill_state_dict, generator, inputs_of, tensor
from tests.helpers.training.toy_runs import losses, run, tiny
from train.fitting.distributed import share_randomness
from train.models.registry import build_parameters, make_model
from train.networks.equivariance import Transform, draw_transform, make_matrices, move
from train.weights.published_checkpoints import load_published

GOLDEN = np.load(GOLDEN_DIR / "golden_recent.npz")
KEYS = json.loads((DATA / "recent_state_dict_keys.json").read_text())["ssltie"]
ANGLES = torch.tensor([-20.0, 7.0, 30.0])
TRANSFORMS = {
    "tie_full": Transform(ANGLES, torch.zeros(3), scale=1.0),
    "tie_half": Transform(ANGLES, torch.ones(3), scale=0.5),
}


def assert_close(values: torch.Tensor, name: str) -> None:
    """Within 1e-3 of the golden array's range."""
    golden = GOLDEN[name]
    scale = np.ptp(golden) if golden.ndim else abs(golden)
    assert np.abs(values.detach().numpy() - golden).max() <= 1e-3 * scale


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_maps_and_frames(name):
    transform = TRANSFORMS[name]
    assert_close(make_matrices(ANGLES, scale=transform.scale, size=224), f"{name}_matrices")

    heat = move(tensor(generator("tie_heat").uniform(-1, 1, (3, 1, 14, 14))), transform, size=224)
    assert_close(heat[:, 0], f"{name}_heat")
    other = tensor(generator("tie_other").uniform(-1, 1, heat.shape))
    assert_close((heat - other).square().mean(), f"{name}_mse")

    frames = move(inputs_of("lvs")["frames"], transform, size=224)
    assert_close(torch.nn.functional.avg_pool2d(frames, 8), f"{name}_image_pooled")


@torch.no_grad()
def test_maps_logits_and_loss_of_frames_and_of_moved_ones(tmp_path):
    template = {key: torch.zeros(shape) for key, shape in KEYS.items()}
    torch.save(
        {"state_dict": fill_state_dict(template), "epoch": 9, "best_miou": 0.4},
        tmp_path / "flickr144k.pth.tar",
    )
    model, parameters = load_published(tmp_path / "flickr144k.pth.tar")
    assert parameters.method == "ssltie"

    # The golden numbers were made with a spectrogram instead of the mel.
    model.read_sound = lambda inputs: inputs["spectrograms"]
    inputs = inputs_of("lvs")
    embeddings = model.embed(inputs)
    assert_close(model.localize(inputs), "ssltie_map")
    assert_close(model.logits(embeddings), "ssltie_logits")
    assert_close(model.loss(embeddings), "ssltie_loss")

    inputs["frames"] = move(inputs["frames"], TRANSFORMS["tie_half"], size=224)
    assert_close(model.localize(inputs), "tie_half_map")
    assert_close(model.logits(model.embed(inputs)), "tie_half_logits")


@torch.no_grad()
def test_the_sound_is_the_mel_of_its_code():
    model = make_model(build_parameters({"method": "ssltie"}, "test")).eval()
    waveform = tensor(0.1 * generator("wave16000_10s").standard_normal(160000))
    mel = model.read_sound({"waveforms": waveform[None]})
    assert mel.shape == (1, 1, 257, 670)
    assert_close(mel[0, 0, :, ::16], "ssltie_mel_db")
    assert (mel[0, 0].amax(1) == -100).sum() == 28
    # Three seconds are repeated up to ten.
    short = model.read_sound({"waveforms": waveform[None, :48000]})
    again = model.read_sound({"waveforms": waveform[:48000].repeat(4)[None, :160000]})
    assert torch.equal(short, again)


def test_state_dict_has_the_published_keys_and_shapes():
    state = make_model(build_parameters({"method": "ssltie"}, "test")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == KEYS


def test_transforms_are_drawn_as_published():
    torch.manual_seed(0)
    drawn = [draw_transform(torch.rand(100)) for _ in range(60)]
    angles = torch.cat([transform.angles for transform in drawn])
    assert sorted(set(angles.tolist())) == list(range(-30, 31))
    kinds = {(transform.scale, float(transform.is_mirrored[0])) for transform in drawn}
    assert kinds == {(scale, mirrored) for scale in (0.5, 1.0) for mirrored in (0.0, 1.0)}
    assert all(len(set(transform.is_mirrored.tolist())) == 1 for transform in drawn)


def test_masks_are_drawn_for_each_spectrogram():
    settings = {"mask_times": 180, "mask_bands": 35}
    model = make_model(build_parameters({"method": "ssltie", "width": 8, **settings}, "test"))
    torch.manual_seed(0)
    is_masked = model._mask(torch.ones(600, 257, 670)) == 0
    num_columns, num_rows = is_masked.all(1).sum(1), is_masked.all(2).sum(1)
    assert num_columns.max() == 179 and num_rows.max() == 34
    assert 0.75 < is_masked.any(2).any(1).float().mean() < 0.85
    both = num_rows * 670 + num_columns * 257 - num_rows * num_columns
    assert torch.equal(is_masked.sum((1, 2)), both)


def test_equivariance_counts_in_training_alone_and_is_0_for_equal_maps():
    settings = {"method": "lvs", "width": 8, "image_size": 64, "equivariance_weight": 1e6}
    model = make_model(build_parameters(settings, "test")).train()
    inputs = {"frames": torch.randn(4, 3, 64, 64), "spectrograms": torch.randn(4, 1, 64, 64)}
    torch.manual_seed(0)
    embeddings = model.embed(inputs)
    assert model.loss(embeddings) > 100
    assert "moved" not in model.eval().embed(inputs)

    # Without a turn, moved features that are the features themselves are right.
    nothing = {"angles": torch.zeros(4), "is_mirrored": torch.zeros(4)}
    same = embeddings | {"moved": embeddings["visual"]} | nothing
    alone = {"visual": embeddings["visual"], "audio": embeddings["audio"]}
    maps = torch.einsum("nchw,nc->nhw", embeddings["visual"], embeddings["audio"])[:, None]
    still = Transform(torch.zeros(4), torch.zeros(4), scale=1.0)
    blur = (maps - move(maps, still, size=64)).square().mean()
    assert model.loss(same).item() == pytest.approx(model.loss(alone).item() + 1e6 * blur.item())


def test_it_trains_on_waveforms(toy, tmp_path):
    parameters = tiny("ssltie", select_on="val", sound_seconds=0.5)
    result = run(toy, tmp_path / "run", parameters)
    assert losses(result)[1] < losses(result)[0]


def test_waveforms_of_another_rate_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "train.data.feature_readers.describe_features",
        lambda readers: {name: {"sample_rate": 22050} for name in readers},
    )
    with pytest.raises(DataError, match="cached at 22050 Hz, but the network reads 16000 Hz"):
        run(toy, tmp_path / "run", tiny("ssltie", select_on="val"))


def test_processes_share_the_draws(monkeypatch):
    """Each of two processes gets its half of what one process draws."""
    model = make_model(build_parameters({"method": "ssltie", "width": 8}, "test"))
    torch.manual_seed(3)
    expected = model._mask_draws(6, 5)
    share_randomness(model)
    monkeypatch.setattr("train.fitting.distributed.count_processes", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        assert torch.equal(model._mask_draws(3, 5), expected[3 * rank :][:3])
