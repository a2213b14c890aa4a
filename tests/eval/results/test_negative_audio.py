"""Negative audio on whole test sets: thresholds, sounds, and scores that arithmetic gives."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from eval.entrants.entrant import Entrant
from eval.entrants.negative_sounds import Pool, choose_offscreen, make_sounds
from eval.results.negative_audio import (
    NegativeAudioParameters,
    SoundData,
    describe,
    evaluate_negative_audio,
)
from pipeline.features import waveforms
from pipeline.features.spectrograms import Parameters, compute_spectrogram
from tests.helpers.scoring.score_examples import ArrayReader, make_row, make_table

SETTINGS = Parameters(window_seconds=0.3).resolve()
LABELS = ("bell", "bus", "bell+bus", "dog")
# The left half of the frame sounds.
BOX = [[0.0, 0.0, 0.5, 1.0]]
HALF = np.zeros((14, 14), np.float32)
HALF[:, :7] = 1


class SoundReader(ArrayReader):
    """A reader of spectrograms that says how they were made."""

    folder = "cache/sample/spectrograms"
    attributes = {"parameters": json.dumps(asdict(SETTINGS))}  # noqa: RUF012


def make_data(num_samples=8, num_val=4):
    rows = []
    for number in range(num_samples + num_val):
        split = "test" if number < num_samples else "val"
        row = make_row(f"s{number}", boxes=BOX, splits=[split])
        rows.append(row | {"label": LABELS[number % 4]})
    samples = make_table(rows)
    ids = samples["sample_id"].to_pylist()
    rng = np.random.default_rng(0)
    arrays = {name: rng.random((257, 30)).astype(np.float16) for name in ids}
    reader = SoundReader(arrays, sample_rate=16000)
    return SoundData(
        "sample", samples, {"spectrograms": reader}, {name: name for name in ids}, ["test"]
    )


def make_entrant(answer, name="m"):
    """Make a model whose map is ``answer(kind, sample_id)``."""

    def compare(sample_ids, readers, sounds):
        for sound in sounds:
            assert all(sound.read(name).shape == (257, 30) for name in sample_ids)
        return np.array(
            [[answer(sound.kind, name) for name in sample_ids] for sound in sounds], np.float32
        )

    return Entrant(
        name, "model", lambda ids, readers: [], reads=("spectrograms",), compare_sounds=compare
    )


def evaluate(tmp_path, *entrants, data=None, **changes):
    parameters = NegativeAudioParameters(
        **{"subsets": {"sample": ["test"]}, "num_seeds": 3, **changes}
    )
    return evaluate_negative_audio(
        entrants,
        [data or make_data()],
        parameters=parameters,
        num_resamples=50,
        maps_root_dir=tmp_path,
    )


def test_a_model_that_marks_one_place_whatever_it_hears(tmp_path):
    """It cannot be told from silence: its threshold lies at its maximum, and nothing is marked."""
    (row,), _ = evaluate(tmp_path, make_entrant(lambda kind, name: HALF))
    assert row["threshold"] == 1.0
    for kind in ("silence", "noise", "offscreen"):
        assert (row[f"pia_{kind}"], row[f"auc_n_{kind}"], row[f"agreement_{kind}"]) == (0, 1, 1)
    assert (row["ciou_u"], row["f_loc"], row["f_auc"]) == (0, 0, pytest.approx(2 * 0.025 / 1.025))


def test_a_deaf_model_that_is_a_little_surer_in_the_test_set(tmp_path):
    """It then marks the same place for each sound: half of the frame where nothing sounds."""
    data = make_data()
    (row,), _ = evaluate(
        tmp_path,
        make_entrant(lambda kind, name: HALF * (0.9 if int(name[1:]) >= 8 else 1)),
        data=data,
    )
    assert row["threshold"] == pytest.approx(0.9)
    # The border lies between two cells of the map, half a cell of the grid.
    share = row["pia_noise"]
    assert 0.46 < share < 0.5
    assert row["pia_silence"] == pytest.approx(share)
    assert row["pia_offscreen"] == pytest.approx(share)
    assert row["agreement_offscreen"] == 1
    assert row["ciou_u"] == pytest.approx(share / 0.5)
    assert row["f_loc"] == pytest.approx(
        2 * row["ciou_u"] * (1 - share) / (row["ciou_u"] + 1 - share)
    )
    # pIA is at most t from .5 on; the trapezoid begins at .45.
    assert row["auc_n_noise"] == pytest.approx(0.525)


def test_a_perfect_model(tmp_path):
    def answer(kind, name):
        return np.kron(HALF, np.ones((16, 16))) if kind == "own" else np.zeros((224, 224))

    (row,), _ = evaluate(tmp_path, make_entrant(answer))
    assert (row["threshold"], row["threshold_on"]) == (0, "sample/val")
    assert (row["ciou_u"], row["auc_u"], row["f_loc"], row["f_auc"]) == (1, 1, 1, 1)
    # All right in 8 videos: at least .63 of all (Clopper and Pearson).
    assert (row["f_loc_low"], row["f_loc_high"]) == (pytest.approx(0.025 ** (1 / 8)), 1)
    assert row["pia_silence"] == row["pia_noise"] == row["pia_offscreen"] == 0
    assert sum(row["maxima_own"]) == pytest.approx(1)
    assert row["maxima_own"][-1] == row["maxima_noise"][0] == 1
    assert "threshold 0.0000 (of 4 samples of sample/val)" in describe(row)
    kept = np.load(tmp_path / "sample" / "similarities" / "m_test.npz")
    assert {name: kept[name].shape[:2] for name in kept.files if name != "sample_ids"} == {
        "own": (1, 8),
        "silence": (1, 8),
        "noise": (3, 8),
        "offscreen": (3, 8),
    }


def test_the_threshold_is_the_largest_third_quartile_of_samples_outside_the_test_set(tmp_path):
    levels = {"own": 5.0, "silence": 0.1, "noise": 0.2, "offscreen": 0.0}

    def answer(kind, name):
        number = int(name[1:])
        # Test samples would give another threshold.
        return np.full((7, 7), 9.0 if number < 8 else levels[kind] + number - 8)

    (row,), _ = evaluate(tmp_path, make_entrant(answer))
    assert row["threshold"] == row["third_quartile_noise"] == pytest.approx(0.2 + 2.25)
    assert row["third_quartile_silence"] == pytest.approx(0.1 + 2.25)
    assert row["num_threshold_samples"] == 4


def test_a_video_of_the_test_set_gives_no_threshold(tmp_path):
    data = make_data()
    data.group_of.update({f"s{number}": "s0" for number in range(8, 12)})
    rows, (note,) = evaluate(tmp_path, make_entrant(lambda kind, name: HALF), data=data)
    assert rows == []
    assert note["text"].startswith("Negative audio of sample: test is not scored, since the split ")


def test_silence_and_noise_are_what_the_feature_makes_of_them():
    data = make_data()
    reader = data.readers["spectrograms"]
    pool = Pool(["s0", "s1"], {"s0": "bell", "s1": "dog"}, data.group_of)
    own, silence, noise, other_noise, offscreen, _ = make_sounds(
        ["s0"], reader, feature="spectrograms", pool=pool, num_seeds=2
    )
    zeros = compute_spectrogram(np.zeros(4800, np.float32), sample_rate=16000, settings=SETTINGS)
    assert (silence.read("s0") == zeros).all()
    assert (own.read("s0") == reader.read("s0")).all()
    assert (offscreen.read("s0") == reader.read("s1")).all()
    assert (noise.read("s0") == noise.read("s0")).all()
    assert not (noise.read("s0") == noise.read("s1")).all()
    assert not (noise.read("s0") == other_noise.read("s0")).all()
    # Its power is that of normal noise of deviation 1: the Hann window holds 3 / 8 of it.
    power = np.exp(noise.read("s0").astype(np.float64)) ** 2
    assert power[5:-5].mean() == pytest.approx(512 * 3 / 8, rel=0.1)


def test_noise_is_not_clipped_where_waveforms_are_cached_as_int16():
    """A third of normal noise lies beyond -1..1, which int16 does not hold."""
    parameters = waveforms.Parameters(window_seconds=0.3).resolve()
    reader = SoundReader({"s0": np.zeros(4800, np.int16)}, sample_rate=16000)
    reader.attributes = {"parameters": json.dumps(asdict(parameters))}
    pool = Pool(["s0"], {}, {"s0": "s0"})
    _, silence, noise = make_sounds(["s0"], reader, feature="waveforms", pool=pool, num_seeds=1)
    values = noise.read("s0")
    # What is not int16 is in units of full scale.
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(values) > 1) == pytest.approx(0.317, abs=0.03)
    assert not silence.read("s0").any()


def test_offscreen_sound_is_of_another_class_and_video():
    labels = dict(zip("abcdef", ("bell", "bus", "bell+bus", "dog", "dog", None), strict=True))
    group_of = {name: name for name in labels} | {"e": "d"}
    pool = Pool(list(labels), labels, group_of)
    chosen = [choose_offscreen(list(labels), pool, seed=seed) for seed in range(30)]
    assert {found["c"] for found in chosen} == {"d", "e"}
    assert {found["a"] for found in chosen} == {"b", "d", "e"}
    assert {found["d"] for found in chosen} == {"a", "b", "c"}
    assert all("f" not in found for found in chosen)
    # Without any label it is another clip.
    bare = Pool(["a", "b"], {}, group_of)
    assert choose_offscreen(["a", "b"], bare, seed=1) == {"a": "b", "b": "a"}


def test_where_all_is_of_one_class_nothing_is_offscreen(tmp_path):
    data = make_data()
    column = data.samples.schema.get_field_index("label")
    samples = data.samples.set_column(column, "label", [["bus"] * data.samples.num_rows])
    data = SoundData("sample", samples, data.readers, data.group_of, ["test"])
    (row,), _ = evaluate(tmp_path, make_entrant(lambda kind, name: HALF), data=data)
    assert "pia_offscreen" not in row
    assert row["pia_noise"] == 0


def test_a_split_that_is_no_test_set_is_named(tmp_path):
    deaf = make_entrant(lambda kind, name: HALF)
    rows, (note,) = evaluate(tmp_path, deaf, subsets={"sample": ["val"]})
    assert rows == []
    assert note["text"] == (
        "Negative audio of sample: val is left out, since evaluate.subsets.sample does not have it."
    )
