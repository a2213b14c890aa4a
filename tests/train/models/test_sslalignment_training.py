"""Training of SSLalignment, which is our reading: its loss is that of the formula; it learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from earshot.errors import ParameterError
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.registry import make_model
from train.runs.run_folder import read_model, write_model
from train.weights.initialization import initialize

NAMES = ("visual", "audio", "visual_vector", "audio_vector")


def make_loss(**settings):
    return make_model(tiny("sslalignment", **settings)).loss


def make_views(*prefixes: str, num_clips: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {"visual": (8, 3, 3), "audio": (8,), "visual_vector": (5,), "audio_vector": (5,)}
    return {
        prefix + name: F.normalize(torch.randn(num_clips, *shapes[name]), dim=1)
        for prefix in prefixes
        for name in NAMES
    }


def contrast(similarities: torch.Tensor) -> torch.Tensor:
    """Return InfoNCE in both directions, term by term."""
    total = 0.0
    for matrix in (similarities, similarities.T):
        for row, values in enumerate(matrix):
            total = total - (values[row] - values.exp().sum().log()) / len(matrix)
    return total


def test_the_loss_is_that_of_the_formula():
    views = make_views("", "second_", "near_")
    expected = []
    for frames in ("", "second_", "near_"):
        for sounds in ("", "second_", "near_"):
            maps = torch.einsum("nchw,mc->nmhw", views[f"{frames}visual"], views[f"{sounds}audio"])
            by_place = maps.flatten(2).max(2).values
            aligned = views[f"{frames}visual_vector"] @ views[f"{sounds}audio_vector"].T
            expected.append(contrast(by_place / 0.2) + contrast(aligned / 0.2))
    assert len(expected) == 9
    found = make_loss(temperature=0.2)(views)
    torch.testing.assert_close(found, torch.stack(expected).mean())

    # Without projections localization alone is trained.
    alone = {name: values for name, values in views.items() if "vector" not in name}
    maps = torch.einsum("nchw,mc->nmhw", alone["visual"], alone["audio"]).flatten(2)
    own = {name: alone[name] for name in ("visual", "audio")}
    torch.testing.assert_close(
        make_loss(temperature=0.2, embedding_size=0)(own), contrast(maps.max(2).values / 0.2)
    )


def test_the_loss_of_equal_and_of_perfect_views():
    """Views that tell nothing cost the logarithm of the batch; perfect ones cost nothing."""
    same = {name: values[:1].expand_as(values) for name, values in make_views("", "near_").items()}
    # Two similarities, each in two directions.
    assert make_loss()(same).item() == pytest.approx(4 * math.log(4), abs=1e-5)

    basis = torch.eye(4)
    perfect = {"visual": basis[:, :, None, None].expand(-1, -1, 3, 3), "audio": basis}
    perfect |= {"visual_vector": basis, "audio_vector": basis}
    perfect |= {f"near_{name}": values for name, values in perfect.items()}
    assert make_loss(temperature=0.01)(perfect).item() < 1e-6
    # A neighbour's sound that is another clip's is a wrong positive, and costs.
    wrong = perfect | {"near_audio": basis.roll(1, 0)}
    assert make_loss(temperature=0.01)(wrong).item() > 10


def test_the_sound_of_the_second_view_is_masked_and_no_other():
    model = make_model(tiny("sslalignment", mask_width=6))
    sounds = torch.randn(64, 1, 20, 30)
    masked = model._mask(sounds)
    is_changed = masked != sounds
    means = sounds.mean((2, 3), keepdim=True).expand_as(sounds)
    assert torch.equal(masked[is_changed], means[is_changed])
    # Whole rows and columns, at most six of each, and somewhere all of them.
    for axis, most in ((3, 6), (2, 6)):
        counts = is_changed.all(axis).sum((1, 2))
        assert (counts.min(), counts.max()) == (0, most)
    assert torch.equal(make_model(tiny("sslalignment", mask_width=0))._mask(sounds), sounds)

    inputs = {"frames": torch.randn(2, 3, 32, 32), "spectrograms": torch.randn(2, 1, 32, 36)}
    inputs["second_frames"] = inputs["frames"]
    embeddings = model.eval().embed(inputs)
    assert torch.equal(embeddings["second_visual"], embeddings["visual"])
    assert not torch.equal(embeddings["second_audio"], embeddings["audio"])
    del inputs["second_frames"]
    assert torch.equal(model.embed(inputs)["audio"], embeddings["audio"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon_positive": 0.5}, r"epsilon_positive \(0.5\) is of LVS's loss"),
        ({"equivariance_weight": 1.0}, r"equivariance_weight \(1.0\) is of LVS's loss"),
        ({"temperature": 0.0}, r"temperature \(0.0\) must be > 0"),
        ({"embedding_size": -1}, r"embedding_size \(-1\) must be >= 0"),
    ],
)
def test_what_cannot_be_is_said(settings, words):
    with pytest.raises(ParameterError, match=words):
        tiny("sslalignment", **settings)


def test_it_trains_on_three_views(toy, tmp_path):
    encoder = tiny("lvs")
    write_model(tmp_path / "encoder", make_model(encoder), encoder)
    run_dir = str(tmp_path / "encoder")
    settings = {"frame_encoder": run_dir, "sound_encoder": run_dir, "num_neighbours": 5}
    # It may also begin with a run that has no projections, such as LVS or the released weights.
    parameters = tiny("sslalignment", epochs=3, learning_rate=3e-3, init=run_dir, **settings)
    result = run(toy, tmp_path / "run", parameters)
    assert losses(result)[-1] < losses(result)[0]

    first = make_model(parameters)
    initialize(first, parameters, weights_dir=None)
    trained, _ = read_model(tmp_path / "run")
    for name in ("visual_head.0.weight", "audio_head.2.weight", "audnet.conv1_a.weight"):
        assert not torch.equal(trained.state_dict()[name], first.state_dict()[name])
