"""Random crops depend on seed, epoch and sample id, and cover their range."""

import numpy as np

from train.data.random_crops import RandomCrops, hash_ids

IDS = hash_ids([f"toy0_{number:04d}" for number in range(22)])


def test_crops_change_with_epoch_seed_and_id_and_cover_their_range():
    crops = RandomCrops()
    drawn = np.concatenate([crops.draw(IDS, epoch=epoch) for epoch in range(200)])
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, :2] < 1).all()
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(drawn[:, :2].std(0), 12**-0.5, atol=0.02)
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(3, 1)]).max() < 0.05

    assert not np.array_equal(crops.draw(IDS, epoch=0), crops.draw(IDS, epoch=1))
    other = RandomCrops(seed=1)
    assert not np.array_equal(crops.draw(IDS, epoch=0), other.draw(IDS, epoch=0))


def test_without_random_crop_and_flip_it_is_the_middle():
    middle = RandomCrops(has_flip=False, has_random_crop=False)
    expected = np.tile(np.float32([0.5, 0.5, 0]), (22, 1))
    assert np.array_equal(middle.draw(IDS, epoch=5), expected)
