"""DMC: clusters, distances, losses, maps and mel spectrogram equal its authors'; it trains."""

import pytest
import torch

from tests.helpers.training.compared_golden import (
    GOLDEN,
    KEYS,
    assert_close,
    make_formula_model,
    normal,
    shapes_of,
    uniform,
)
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.registry import build_parameters, make_model
from train.networks.clustering import cluster_places, measure_distances
from train.networks.losses import contrast_distances


def soften(state: dict[str, torch.Tensor]) -> None:
    for name in ("fc_v_1", "fc_a_1"):
        for part in ("weight", "bias"):
            state[f"{name}.{part}"] *= 2**-11


def embed(model) -> dict[str, torch.Tensor]:
    model.read_sound = lambda inputs: normal("logmel201", 3, 1, 201, 64)
    return model.embed({"frames": normal("image", 3, 3, 224, 224)})


def in_pairs(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return six rows, each sound with its own picture and then with the next one."""
    return torch.stack([own, other], 1).flatten(0, 1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "clusters", "change"),
    [("dmc", (2, 1), None), ("dmc_small", (2, 1), soften), ("dmc32", (3, 2), None)],
)
def test_clusters_distances_and_losses(name, clusters, change):
    num_pictures, num_sounds = clusters
    model = make_formula_model(
        "dmc", change=change, num_picture_clusters=num_pictures, num_sound_clusters=num_sounds
    )
    embeddings = embed(model)
    if name == "dmc":
        for part, golden in (("visual", "dmc_features_v16"), ("sound", "dmc_features_a16")):
            assert_close(embeddings[part].flatten(2).mT[:, ::16, :16], golden)

    pictures, assignments = cluster_places(embeddings["visual"].flatten(2), num_pictures)
    sounds, _ = cluster_places(embeddings["sound"].flatten(2), num_sounds)
    assert_close(assignments.unflatten(2, (14, 14)), f"{name}_assign")

    own, other = (measure_distances(p, sounds) for p in (pictures, pictures.roll(-1, 0)))
    assert_close(in_pairs(own, other), f"{name}_centre_distance")
    assert_close(in_pairs(own.amin(1), other.amin(1)), f"{name}_distance")
    assert_close(model.loss(embeddings), f"{name}_loss")


@torch.no_grad()
@pytest.mark.parametrize("num_clusters", [2, 3])
def test_clustering_alone(num_clusters):
    features = 0.03 * normal("cluster", 3, 196, 512)
    features += 0.02 * uniform("clusterpick", 3, 196, 1) * normal("clusterdir", 3, 1, 512)
    centres, assignments = cluster_places(features.mT, num_clusters)
    assert_close(assignments, f"dmc_layer{num_clusters}_assign")
    assert_close(centres[:, :, :16], f"dmc_layer{num_clusters}_centres16")


def test_contrastive_loss():
    squares = (7 * uniform("contrastive", 8)).square()
    assert_close(contrast_distances(squares[::2], squares[1::2], margin=5), "contrastive5_lossfn")


@torch.no_grad()
def test_the_map_is_the_assignment_of_the_nearest_cluster():
    model = make_formula_model("dmc", change=soften)
    embeddings = embed(model)
    inputs = {"frames": normal("image", 3, 3, 224, 224)}
    maps = model.localize(inputs)
    nearest = GOLDEN["dmc_small_centre_distance"][::2, :, 0].argmin(1)
    for number in range(3):
        expected = torch.from_numpy(GOLDEN["dmc_small_assign"][number, nearest[number]])
        torch.testing.assert_close(maps[number], expected, atol=1e-3, rtol=0)

    # The other form has nearly the same halves: its centres are one iteration further.
    other = make_formula_model("dmc", change=soften, map_values="difference")
    other.read_sound = model.read_sound
    is_nearer = other.localize(inputs) > 0
    assert (is_nearer == (maps > 0.5)).float().mean() > 0.95
    assert embeddings["audio"].shape == (3, 512)


@torch.no_grad()
def test_the_sound_is_the_mel_of_its_code():
    model = make_model(build_parameters({"method": "dmc", "width": 8}, "test"))
    sound = model.read_sound({"waveforms": 0.1 * normal("wave16000", 16000)[None]})
    assert sound.shape == (1, 1, 201, 64)
    assert_close(sound[0, 0], "dmc_logmel")
    # Of a longer waveform it reads the second in the middle.
    longer = torch.nn.functional.pad(0.1 * normal("wave16000", 16000), (8000, 8000), value=0.5)
    assert torch.equal(model.read_sound({"waveforms": longer[None]}), sound)


def test_state_dict_has_the_published_keys_and_shapes():
    assert shapes_of(make_model(build_parameters({"method": "dmc"}, "test"))) == KEYS["dmc"]


def test_it_trains_on_waveforms(toy, tmp_path):
    result = run(toy, tmp_path / "run", tiny("dmc", sound_seconds=0.25))
    assert losses(result)[1] < losses(result)[0]
