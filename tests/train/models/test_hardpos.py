"""HardPos: the parts of its loss are those of the formula; it trains on neighbours and resumes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earshot.errors import ParameterError
from tests.helpers.paths import GOLDEN_DIR
from tests.helpers.training.golden_formula import generator, make_loss_features, tensor
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.registry import make_model
from train.networks.losses import all_similarities, hard_positive_loss, hard_positive_parts
from train.runs.run_folder import write_model
from train.weights.initialization import hash_first_weights

GOLDEN = np.load(GOLDEN_DIR / "golden_recent.npz")


def make_near(values: torch.Tensor, name: str) -> torch.Tensor:
    noise = F.normalize(tensor(generator(name).standard_normal(values.shape)), dim=1)
    return F.normalize(values.roll(1, 0) + 0.5 * noise, dim=1)


def test_the_parts_are_those_of_the_formula():
    visual, audio = make_loss_features()
    near_visual, near_audio = make_near(visual, "hp_img"), make_near(audio, "hp_aud")
    pairs = [(v, a) for v in (visual, near_visual) for a in (audio, near_audio)]
    parts = torch.stack([torch.stack(hard_positive_parts(*pair)) for pair in pairs])
    golden = GOLDEN["formula_hardpos_parts"]
    np.testing.assert_allclose(parts, golden, atol=1e-3 * np.ptp(golden))
    cross = all_similarities(visual, audio).mean((2, 3))
    golden = GOLDEN["formula_hardpos_crossmean"]
    np.testing.assert_allclose(cross, golden, atol=1e-3 * np.ptp(golden))

    # Our reading: one logit of the positives, and one of each negative.
    positive = parts[:, 0].mean(0)
    logits = torch.cat([positive[:, None], cross, parts[:, 1].T], 1) / 0.07
    own = torch.zeros(3, 8, dtype=torch.bool)
    own[range(3), range(1, 4)] = True
    expected = F.cross_entropy(logits.masked_fill(own, -torch.inf), torch.zeros(3).long())
    loss = hard_positive_loss(visual, audio, near_visual, near_audio)
    torch.testing.assert_close(loss, expected, atol=1e-3, rtol=1e-3)


@pytest.fixture
def parameters(tmp_path):
    encoder = tiny("lvs")
    write_model(tmp_path / "encoder", make_model(encoder), encoder)
    run_dir = str(tmp_path / "encoder")
    settings = {"frame_encoder": run_dir, "sound_encoder": run_dir, "num_neighbours": 5}
    return tiny("hardpos", epochs=3, learning_rate=3e-3, **settings)


def test_it_trains_on_neighbours(toy, tmp_path, parameters):
    result = run(toy, tmp_path / "run", parameters)
    assert losses(result)[-1] < losses(result)[0]
    assert list((tmp_path / "run" / "neighbours").glob("*.npz"))

    # Other encoders make another run, also in the folder of the same name.
    before = hash_first_weights(parameters)
    encoder = tiny("lvs", seed=1)
    write_model(tmp_path / "encoder", make_model(encoder), encoder)
    assert hash_first_weights(parameters) != before
    with pytest.raises(ParameterError, match=r"num_neighbours \(5\) must be <"):
        run(toy, tmp_path / "other", parameters, train_ids=toy[2][:4])
