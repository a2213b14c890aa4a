"""Nearest clips: the exact ones whatever the blocks; made once for equal arrays and encoders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earshot.errors import DataError, ParameterError
from tests.helpers.training.batch_checks import FORMAT
from tests.helpers.training.toy_features import write_features
from tests.helpers.training.toy_runs import tiny
from train.data.feature_readers import open_readers
from train.data.neighbour_draws import NeighbourDraws
from train.data.random_crops import RandomCrops, hash_ids
from train.data.sample_source import SampleSource
from train.models.registry import make_model
from train.neighbours import clip_encoders, neighbour_lists
from train.neighbours.clip_encoders import encode_clips, open_encoder
from train.neighbours.neighbour_lists import NeighbourParameters, obtain_neighbours
from train.neighbours.search import find_nearest
from train.runs.run_folder import write_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1024, 16384), (7, 5), (64, 1)])
def test_every_pair_is_compared(num_rows, num_columns):
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(61, 8, generator=generator, dtype=torch.float64), dim=1)
    found = find_nearest(vectors, 6, num_rows=num_rows, num_columns=num_columns)

    similarities = (vectors @ vectors.T).numpy()
    np.fill_diagonal(similarities, -2)
    expected = np.argsort(-similarities, axis=1)[:, :6]
    assert found.dtype == torch.int32
    np.testing.assert_array_equal(found, expected)


def write_encoder(folder, **settings) -> str:
    parameters = tiny(**settings)
    write_model(folder, make_model(parameters), parameters)
    return str(folder)


def test_clips_with_one_sound_are_near(toy, tmp_path):
    """The network is untrained: random convolutions tell the lines of spectrograms apart."""
    _, features_dirs, ids, _ = toy
    encoder = open_encoder(
        write_encoder(tmp_path / "run", method="lvs", audio_pooling="mean"),
        "sounds",
        weights_dir=None,
    )
    vectors = encode_clips(encoder, ids, features_dirs, device=CPU)
    assert vectors.shape == (48, 64)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(48))

    spectrograms = open_readers(features_dirs, ["spectrograms"])["spectrograms"].read_batch(ids)
    kind = np.array([array.astype(float).mean(1).argmax() for array in spectrograms]) // 50
    nearest = find_nearest(vectors, 3).numpy()
    assert (kind[nearest] == kind[:, None]).mean() > 0.6


def test_lists_are_made_once(toy, tmp_path, monkeypatch):
    _, features_dirs, ids, _ = toy
    run = write_encoder(tmp_path / "run", method="lvs")
    parameters = NeighbourParameters(frame_encoder=run, sound_encoder=run, num_neighbours=4)

    def obtain(sample_ids=ids, dirs=features_dirs):
        return obtain_neighbours(
            parameters,
            sample_ids,
            dirs,
            tmp_path / "lists",
            weights_dir=None,
            device=CPU,
            is_quiet=True,
        )

    first = obtain()
    assert first.frames.shape == first.sounds.shape == (48, 4)
    assert not (first.frames == np.arange(48)[:, None]).any()

    with monkeypatch.context() as patch:
        patch.setattr(neighbour_lists, "encode_clips", None)
        second = obtain()
    np.testing.assert_array_equal(first.sounds, second.sounds)

    # Other samples, arrays or weights: other lists.
    assert obtain(ids[:20]).frames.shape == (20, 4)
    others, _, _ = write_features(tmp_path / "others", 48, sizes=((48, 48),))
    obtain(ids, others)
    write_encoder(tmp_path / "run", method="lvs", seed=1)
    obtain()
    assert len(list((tmp_path / "lists").glob("*.npz"))) == 4


def test_what_cannot_be_found_is_named(toy, tmp_path):
    _, features_dirs, ids, _ = toy
    run = write_encoder(tmp_path / "run", method="lvs")
    parameters = NeighbourParameters(frame_encoder=run, sound_encoder=run, num_neighbours=20)
    options = {"weights_dir": None, "device": CPU}
    with pytest.raises(ParameterError, match=r"num_neighbours \(20\) must be < .* \(20\)"):
        obtain_neighbours(parameters, ids[:20], features_dirs, tmp_path, **options)
    with pytest.raises(DataError, match="reads frames, which 1 training samples lack, first other"):
        obtain_neighbours(parameters, [*ids, "other"], features_dirs, tmp_path, **options)
    with pytest.raises(DataError, match="sound_encoder imagenet: expected the folder of a run"):
        open_encoder("imagenet", "sounds", weights_dir=None)
    with pytest.raises(DataError, match="not found; expected the folder of a run"):
        open_encoder(str(tmp_path / "none"), "sounds", weights_dir=None)


def test_an_encoder_of_other_sounds_is_refused(toy, tmp_path, monkeypatch):
    """Spectrograms of another kind have the same shape: nothing else would say so."""
    _, features_dirs, ids, _ = toy
    cached = {"spectrograms": {"kind": "magnitude", "n_fft": 512}, "frames": {"short_side": 9}}
    monkeypatch.setattr(
        clip_encoders, "describe_features", lambda readers: {name: cached[name] for name in readers}
    )
    parameters = tiny("lvs")

    def encode(features, side):
        write_model(tmp_path, make_model(parameters), parameters, features=features)
        encoder = open_encoder(str(tmp_path), side, weights_dir=None)
        return encode_clips(encoder, ids[:2], features_dirs, device=CPU)

    encode(cached, "sounds")
    encode({}, "sounds")  # of imported weights nothing is known
    # Frames are resized whatever their size is.
    encode({**cached, "frames": {"short_side": 8}}, "sounds")
    other = {**cached, "spectrograms": {"kind": "psd", "n_fft": 512}}
    encode(other, "frames")
    with pytest.raises(DataError, match=r"spectrograms with .* \(kind psd, here magnitude\); name"):
        encode(other, "sounds")


def test_a_batch_has_a_neighbour_of_each_sample(toy):
    """In memory or from shards the same, and each drawn from the sample's own list."""
    _, features_dirs, ids, _ = toy
    readers = open_readers(features_dirs, ("frames", "spectrograms"))
    frames = np.arange(48 * 5).reshape(48, 5) % 48
    draws = NeighbourDraws(frames, frames[::-1].copy(), seed=3)
    crops = RandomCrops(seed=3)
    streamed, kept = (
        SampleSource(ids, readers, input_format=FORMAT, crops=crops, has_second_view=True)
        for _ in range(2)
    )
    kept.load_into_memory()
    for source in (streamed, kept):
        source.use_neighbours(draws)

    positions = np.array([5, 9, 2])
    first, second = (source[(1, positions)]["neighbours"] for source in (streamed, kept))
    assert torch.equal(first["spectrograms"], second["spectrograms"])
    assert torch.equal(first["crop"], second["crop"])
    # Its crop is neither that of the sample nor that of its second view.
    for name in ("crop", "second_crop"):
        assert not torch.equal(first["crop"], streamed[(1, positions)][name])

    by_frame, by_sound = draws.draw(positions, hash_ids([ids[p] for p in positions]), epoch=1)
    for number, position in enumerate(positions):
        assert by_frame[number] in frames[position]
        assert by_sound[number] in frames[::-1][position]
    expected = readers["spectrograms"].read_batch([ids[position] for position in by_sound])
    assert np.array_equal(first["spectrograms"].numpy(), np.stack(expected))

    epochs = np.array(
        [draws.draw(np.arange(48), hash_ids(ids), epoch=epoch)[0] for epoch in range(50)]
    )
    assert all(len(set(column)) == 5 for column in epochs.T)  # each neighbour comes
