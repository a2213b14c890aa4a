"""The losses against plain loops, golden numbers and what must hold of a contrastive loss."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.paths import GOLDEN_DIR
from tests.helpers.training.golden_formula import make_loss_features
from train.models.rcgrad import LearnedScale
from train.networks.losses import (
    all_similarities,
    clip_loss,
    hard_positive_loss,
    multiple_instance_loss,
    own_similarity,
    trimap_logits,
    trimap_loss,
)

GOLDEN = np.load(GOLDEN_DIR / "golden_models.npz")


def random_features(num_samples=4, num_channels=16, size=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randn(num_samples, num_channels, size, size, generator=generator)
    audio = torch.randn(num_samples, num_channels, generator=generator)
    return F.normalize(visual, dim=1), F.normalize(audio, dim=1)


def test_the_learned_scale_has_no_limit():
    """At CLIP's limit of 100 it would have no gradient, and never come back."""
    criterion = LearnedScale(lambda embeddings, log_scale: log_scale, 6.0)
    loss = criterion({})
    loss.backward()
    assert (float(loss), float(criterion.log_scale.grad)) == (6.0, 1.0)


def test_golden_losses():
    visual, audio = make_loss_features()
    np.testing.assert_allclose(own_similarity(visual, audio), GOLDEN["lossfn_simmap"], atol=1e-5)
    assert trimap_loss(visual, audio).item() == pytest.approx(float(GOLDEN["htf_lossfn"]), rel=1e-3)
    assert multiple_instance_loss(visual, audio).item() == pytest.approx(
        float(GOLDEN["ezvsl_lossfn"]), rel=1e-3
    )


@pytest.mark.parametrize("matching", ["max", "average", "pooled"])
def test_multiple_instance_loss_equals_plain_loops(matching):
    visual, audio = random_features()
    scores = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            cosines = [float(visual[i, :, y, x] @ audio[j]) for y in range(3) for x in range(3)]
            if matching == "max":
                scores[i, j] = max(cosines)
            elif matching == "average":
                scores[i, j] = sum(cosines) / 9
            else:
                mean = visual[i].mean((1, 2))
                scores[i, j] = float(mean @ audio[j] / mean.norm())
    scores /= 0.1
    rows = [math.log(np.exp(scores[i]).sum()) - scores[i, i] for i in range(4)]
    columns = [math.log(np.exp(scores[:, i]).sum()) - scores[i, i] for i in range(4)]
    expected = (sum(rows) + sum(columns)) / 4
    assert multiple_instance_loss(
        visual, audio, tau=0.1, matching=matching
    ).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["weighted", "mean"])
def test_trimap_logits_equal_plain_loops(negatives):
    visual, audio = random_features()
    logits = trimap_logits(
        visual, audio, epsilon_positive=0.2, epsilon_negative=0.1, tau=0.1, negatives=negatives
    ).numpy()
    assert logits.shape == (4, 6)

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    for i in range(4):
        maps = [
            np.array([[float(visual[i, :, y, x] @ a) for x in range(3)] for y in range(3)])
            for a in audio
        ]
        own = maps[i]
        weight = sigmoid((own - 0.2) / 0.1)
        background = 1 - sigmoid((own - 0.1) / 0.1)
        assert logits[i, 0] == pytest.approx((own * weight).sum() / weight.sum() / 0.07, rel=1e-4)
        assert logits[i, -1] == pytest.approx(
            (own * background).sum() / background.sum() / 0.07, rel=1e-4
        )
        for j, other in enumerate(maps):
            soft = sigmoid((other - 0.2) / 0.1) if negatives == "weighted" else np.ones((3, 3))
            value = (other * soft).sum() / soft.sum() / 0.07
            if i == j:
                value = -99 * value if negatives == "weighted" else -math.inf
            assert logits[i, 1 + j] == pytest.approx(value, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("compare", [own_similarity, all_similarities])
def test_similarities_have_full_precision_also_under_mixed_precision(compare):
    """SSPL and Attention10k compare inside ``embed``, and SSPL scales the range of its maps."""
    visual, audio = random_features()
    expected = compare(visual, audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compare(visual, audio), expected)


@pytest.mark.parametrize("num_samples", [1, 2, 5])
def test_the_own_sound_is_no_negative_where_its_mean_similarity_is_negative(num_samples):
    """In the code's form its logit would be the largest: a loss of 19 for 0.02."""
    visual, audio = (values.double() for values in random_features(num_samples, seed=1))
    visual = F.normalize(visual - 0.3 * audio[:, :, None, None], dim=1).requires_grad_()
    assert (own_similarity(visual, audio).mean((1, 2)) < 0).all()
    loss = trimap_loss(visual, audio, negatives="mean")
    loss.backward()
    assert visual.grad.isfinite().all()

    logits = trimap_logits(visual.detach(), audio, negatives="mean").numpy()
    rows = [np.delete(row, 1 + i) for i, row in enumerate(logits)]
    expected = np.mean([np.log(np.exp(row - row[0]).sum()) for row in rows])
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_trimap_with_a_margin_and_without_hard_negatives():
    visual, audio = random_features()
    plain = trimap_logits(visual, audio)
    lax = trimap_logits(visual, audio, margin=-0.2)
    torch.testing.assert_close(lax[:, 0], plain[:, 0] + 0.2 / 0.07)
    assert torch.equal(lax[:, 1:], plain[:, 1:])
    assert torch.equal(trimap_logits(visual, audio, has_hard_negatives=False), plain[:, :-1])


def test_the_margin_and_the_hard_negatives_of_hardpos():
    visual, audio = random_features(seed=1)
    near = random_features(seed=2)
    plain = hard_positive_loss(visual, audio, *near)
    assert hard_positive_loss(visual, audio, *near, margin=-0.2) < plain
    assert hard_positive_loss(visual, audio, *near, has_hard_negatives=False) < plain


def test_clip_loss_is_chance_for_equal_embeddings_and_small_for_matching_ones():
    same = torch.ones(8, 5)
    assert clip_loss(same, same, torch.tensor(2.0)).item() == pytest.approx(math.log(8), rel=1e-5)
    assert clip_loss(torch.eye(8), torch.eye(8), torch.tensor(4.0)).item() < 1e-3


@pytest.mark.parametrize("loss", [trimap_loss, multiple_instance_loss])
def test_right_pairs_cost_less_than_shuffled_ones(loss):
    _, audio = random_features(6, 32)
    visual = F.normalize(audio[:, :, None, None] + 0.05 * torch.randn(6, 32, 3, 3), dim=1)
    assert loss(visual, audio) < loss(visual, audio.roll(1, 0))


def test_trimap_is_finite_where_no_place_passes_the_threshold():
    visual, audio = random_features(3, 512)
    visual = (-audio[:, :, None, None]).expand(-1, -1, 3, 3).clone().requires_grad_()
    loss = trimap_loss(visual, audio, tau=0.001)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(visual.grad).all()
