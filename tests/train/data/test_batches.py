"""Batches: the same whatever reads them; crops, flips and encodings exact."""

import numpy as np
import pytest
import torch

from earshot.errors import DataError
from tests.helpers.batch_checks import FORMAT, READS, assert_equal_inputs
from tests.helpers.toy_features import write_features
from train.data.augmentation import ShapeGroup, encode_flow, prepare_inputs
from train.data.batches import BatchLoader, SampleSource, choose_usable, collate, open_readers
from train.models.localizer import InputFormat


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_features(
        tmp_path_factory.mktemp("toy"), 22, sizes=((48, 64), (48, 48), (64, 48)), shard_rows=5
    )


def make_source(toy, **options):
    dirs, ids, _ = toy
    return SampleSource(ids, open_readers(dirs, READS), input_format=FORMAT, **options)


@pytest.mark.parametrize("is_augmented", [False, True])
def test_memory_and_shards_give_the_same_inputs(toy, is_augmented):
    streamed = make_source(toy, is_augmented=is_augmented, seed=3)
    kept = make_source(toy, is_augmented=is_augmented, seed=3)
    kept.load_into_memory()
    assert kept.is_in_memory
    assert kept.estimate_bytes() > 0
    positions = [7, 0, 21, 3, 4, 8]
    first = prepare_inputs(streamed[(2, positions)], FORMAT)
    assert_equal_inputs(first, prepare_inputs(kept[(2, positions)], FORMAT))
    assert first["frames"].shape == (6, 3, 32, 32)
    assert first["flow"].shape == (6, 2, 32, 32)


def test_worker_processes_give_the_same_batches(toy):
    options = {"batch_size": 8, "seed": 1, "is_shuffled": True}
    alone = list(BatchLoader(make_source(toy, is_augmented=True), **options))
    workers = list(BatchLoader(make_source(toy, is_augmented=True), num_workers=1, **options))
    assert len(alone) == len(workers) == 3
    for first, second in zip(alone, workers, strict=True):
        assert_equal_inputs(prepare_inputs(first, FORMAT), prepare_inputs(second, FORMAT))


def test_a_batch_does_not_depend_on_its_company(toy):
    source = make_source(toy, is_augmented=True)
    together = prepare_inputs(source[(0, [1, 2, 3])], FORMAT)
    alone = prepare_inputs(source[(0, [2])], FORMAT)
    for name in together:
        assert torch.equal(together[name][1:2], alone[name])


def test_crops_change_with_epoch_seed_and_id_and_cover_their_range(toy):
    source = make_source(toy, is_augmented=True)
    positions = np.arange(22)
    drawn = np.concatenate([source.draw_crops(positions, epoch=epoch) for epoch in range(200)])
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, :2] < 1).all()
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(drawn[:, :2].std(0), 12**-0.5, atol=0.02)
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(3, 1)]).max() < 0.05
    assert not np.array_equal(
        source.draw_crops(positions, epoch=0), source.draw_crops(positions, epoch=1)
    )
    other = make_source(toy, is_augmented=True, seed=1)
    assert not np.array_equal(
        source.draw_crops(positions, epoch=0), other.draw_crops(positions, epoch=0)
    )
    calm = make_source(toy, is_augmented=True, has_flip=False, has_random_crop=False)
    assert np.array_equal(
        calm.draw_crops(positions, epoch=5), np.tile(np.float32([0.5, 0.5, 0]), (22, 1))
    )


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
    """Stored above the working size it is cropped as it is (float16), below it is sampled (float32)."""
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


def test_squash_shows_the_whole_frame(toy):
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


def test_every_rank_gets_its_part_of_each_batch(toy):
    source = make_source(toy)
    options = {"batch_size": 8, "seed": 5, "is_shuffled": True, "keeps_last": False}
    whole = BatchLoader(source, **options).remaining()
    parts = [
        BatchLoader(source, rank=rank, num_replicas=2, **options).remaining() for rank in range(2)
    ]
    assert len(whole) == len(parts[0]) == 2
    for (_, positions), (_, first), (_, second) in zip(whole, *parts, strict=True):
        assert positions.tolist() == [*first, *second]
        assert len(first) == len(second) == 4


@pytest.mark.parametrize(("smallest_part", "num_batches"), [(1, 4), (4, 3)])
def test_the_last_batch_of_validation_is_shared_as_evenly_as_it_goes(
    toy, smallest_part, num_batches
):
    source = make_source(toy)  # of 22 samples
    parts = [
        BatchLoader(
            source, batch_size=6, rank=rank, num_replicas=2, smallest_part=smallest_part
        ).remaining()
        for rank in range(2)
    ]
    assert [len(part) for part in parts] == [num_batches] * 2
    assert [len(positions) for _, positions in parts[0]] == [3, 3, 3, 2][:num_batches]
    odd = [BatchLoader(source, batch_size=14, rank=rank, num_replicas=2) for rank in range(2)]
    assert [[len(positions) for _, positions in loader.remaining()] for loader in odd] == [
        [7, 4],
        [7, 4],
    ]
    few = SampleSource(toy[1][:1], source.readers, input_format=FORMAT)
    assert (
        len(BatchLoader(few, batch_size=4, num_replicas=2))
        == len(BatchLoader(few, batch_size=4))
        == 0
    )


def test_an_epoch_visits_each_sample_once_and_epochs_differ(toy):
    loader = BatchLoader(make_source(toy), batch_size=8, is_shuffled=True)
    first = [position for _, positions in loader.remaining() for position in positions]
    loader.set_epoch(1)
    second = [position for _, positions in loader.remaining() for position in positions]
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second


def test_a_loader_goes_on_in_the_middle_of_an_epoch(toy):
    source = make_source(toy, is_augmented=True)
    loader = BatchLoader(source, batch_size=6, is_shuffled=True)
    loader.set_epoch(3)
    iterator = iter(loader)
    taken = [next(iterator) for _ in range(2)]
    state = loader.state_dict()
    rest = list(iterator)
    other = BatchLoader(source, batch_size=6, is_shuffled=True)
    other.load_state_dict(state)
    other.set_epoch(3)
    resumed = list(other)
    assert len(taken) + len(rest) == len(loader) == 4
    assert [b["waveforms"].tolist() for b in resumed] == [b["waveforms"].tolist() for b in rest]
    assert len(list(other)) == 4  # the next epoch is whole again


def test_a_loader_left_early_begins_anew(toy):
    loader = BatchLoader(make_source(toy), batch_size=8)
    next(iter(loader))
    assert len(list(loader)) == 3


def test_samples_without_a_feature_are_counted_by_reason(toy):
    dirs, ids, _ = toy
    readers = open_readers(dirs, READS)
    usable, reasons = choose_usable(ids[:3], readers)
    assert usable == ids[:3]
    assert not reasons
    with pytest.raises(DataError, match="no sample 'ghost'"):
        choose_usable(["ghost"], readers)


def test_unknown_feature_and_odd_arrays_are_refused(toy):
    dirs, _, _ = toy
    with pytest.raises(DataError, match="reads depth, which is not cached"):
        open_readers(dirs, ("depth",))
    with pytest.raises(DataError, match=r"b has shape \(3,\), a has \(2,\)"):
        collate({"waveforms": [np.zeros(2), np.zeros(3)]}, ids=["a", "b"])
    with pytest.raises(DataError, match=r"flow: a has shape \(6, 4, 4\)"):
        collate({"flow": [np.zeros((6, 4, 4))]}, ids=["a"], native_heights=[4])
