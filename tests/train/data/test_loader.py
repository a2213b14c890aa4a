"""The batches of an epoch: shared by processes, shuffled, resumable."""

import shutil

import pytest

from tests.helpers.training.batch_checks import FORMAT, assert_equal_inputs, make_source
from train.data.augmentation import prepare_inputs
from train.data.loader import BatchLoader
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource


def test_worker_processes_give_the_same_batches(varied_toy):
    options = {"batch_size": 8, "shuffle_seed": 1}
    alone = list(BatchLoader(make_source(varied_toy, crops=RandomCrops()), **options))
    workers = list(
        BatchLoader(make_source(varied_toy, crops=RandomCrops()), num_workers=1, **options)
    )
    assert len(alone) == len(workers) == 3
    for first, second in zip(alone, workers, strict=True):
        assert_equal_inputs(prepare_inputs(first, FORMAT), prepare_inputs(second, FORMAT))


def test_every_rank_gets_its_part_of_each_batch(varied_toy):
    source = make_source(varied_toy)
    options = {"batch_size": 8, "shuffle_seed": 5, "keeps_last": False}
    whole = BatchLoader(source, **options).list_remaining()
    parts = [
        BatchLoader(source, rank=rank, num_processes=2, **options).list_remaining()
        for rank in range(2)
    ]
    assert len(whole) == len(parts[0]) == 2
    for (_, positions), (_, first), (_, second) in zip(whole, *parts, strict=True):
        assert positions.tolist() == [*first, *second]
        assert len(first) == len(second) == 4


@pytest.mark.parametrize(("smallest_part", "num_batches"), [(1, 4), (4, 3)])
def test_the_last_batch_of_validation_is_shared_as_evenly_as_it_goes(
    varied_toy, smallest_part, num_batches
):
    source = make_source(varied_toy)  # of 22 samples
    parts = [
        BatchLoader(
            source, batch_size=6, rank=rank, num_processes=2, smallest_part=smallest_part
        ).list_remaining()
        for rank in range(2)
    ]
    assert [len(part) for part in parts] == [num_batches] * 2
    assert [len(positions) for _, positions in parts[0]] == [3, 3, 3, 2][:num_batches]
    odd = [BatchLoader(source, batch_size=14, rank=rank, num_processes=2) for rank in range(2)]
    assert [[len(positions) for _, positions in loader.list_remaining()] for loader in odd] == [
        [7, 4],
        [7, 4],
    ]
    few = SampleSource(varied_toy[1][:1], source.readers, input_format=FORMAT)
    assert (
        len(BatchLoader(few, batch_size=4, num_processes=2))
        == len(BatchLoader(few, batch_size=4))
        == 0
    )


def test_an_epoch_visits_each_sample_once_and_epochs_differ(varied_toy):
    loader = BatchLoader(make_source(varied_toy), batch_size=8, shuffle_seed=0)
    first = [position for _, positions in loader.list_remaining() for position in positions]
    loader.set_epoch(1)
    second = [position for _, positions in loader.list_remaining() for position in positions]
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second


def test_a_loader_goes_on_in_the_middle_of_an_epoch(varied_toy):
    source = make_source(varied_toy, crops=RandomCrops())
    loader = BatchLoader(source, batch_size=6, shuffle_seed=0)
    loader.set_epoch(3)
    iterator = iter(loader)
    taken = [next(iterator) for _ in range(2)]
    state = loader.state_dict()
    rest = list(iterator)
    other = BatchLoader(source, batch_size=6, shuffle_seed=0)
    other.load_state_dict(state)
    other.set_epoch(3)
    resumed = list(other)
    assert len(taken) + len(rest) == len(loader) == 4
    assert [b["waveforms"].tolist() for b in resumed] == [b["waveforms"].tolist() for b in rest]
    assert len(list(other)) == 4  # the next epoch is whole again


def test_a_loader_left_early_begins_anew(varied_toy):
    loader = BatchLoader(make_source(varied_toy), batch_size=8)
    next(iter(loader))
    assert len(list(loader)) == 3


def test_without_room_in_shared_memory_no_process_is_started(varied_toy, monkeypatch, capsys):
    source = make_source(varied_toy)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        "train.data.loader.shutil.disk_usage", lambda _: usage._replace(free=64 * 1024)
    )
    loader = BatchLoader(source, batch_size=4, num_workers=2)
    assert loader._workers is None
    assert len(list(loader)) == len(loader)
    assert "has 0.1 MB free, 2 loader processes need about" in capsys.readouterr().err
