"""Maps of other systems take part as our own do; what is wrong with them is one sentence."""

import numpy as np
import pytest
from PIL import Image

import earshot
from earshot.errors import DataError, ParameterError
from eval.entrants.baselines import make_baseline
from eval.entrants.entrant import Entrant
from eval.entrants.external import check_external, make_external, read_external, read_map_file
from eval.entrants.maps import read_maps
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.scoring.protocols import PROTOCOLS
from tests.helpers.scoring.score_examples import evaluate_maps, make_samples

SAMPLES = make_samples(num_samples=8)
IDS = SAMPLES["sample_id"].to_pylist()
MAPS = np.random.default_rng(0).integers(0, 255, (8, 14, 14)).astype(np.float32)


def write_npz(folder, ids=IDS, maps=MAPS):
    np.savez(folder / "other.npz", sample_ids=np.array(ids), maps=maps)
    return folder / "other.npz"


def write_folder(folder, ids=IDS, maps=MAPS):
    """Write a folder whose even samples are arrays and whose odd ones are grey pictures."""
    path = folder / "other"
    path.mkdir()
    for number, (sample_id, values) in enumerate(zip(ids, maps, strict=True)):
        if number % 2:
            Image.fromarray(values.astype(np.uint8)).save(path / f"{sample_id}.png")
        else:
            np.save(path / f"{sample_id}.npy", values)
    (path / "readme.txt").write_text("maps")
    return path


def make_model(name, maps=MAPS):
    return Entrant(
        name,
        "model",
        lambda ids, readers: np.stack([maps[IDS.index(x)] for x in ids]),
        is_kept=True,
    )


def evaluate(tmp_path, path, *others, subsets=("test",)):
    external = make_external(read_external(path, name="other"), {"sample": IDS})
    parameters = EvaluationParameters(subsets={"sample": subsets}, num_resamples=50)
    return evaluate_dataset(
        "sample", SAMPLES, {}, [*others, external], parameters=parameters, maps_dir=tmp_path
    )


@pytest.mark.parametrize("write", [write_npz, write_folder])
def test_foreign_maps_take_part_as_our_own_do(tmp_path, write):
    own = make_model("own")
    rows = evaluate(tmp_path / "maps", write(tmp_path), make_baseline("centre"), own)

    results = {row["model"]: row for row in rows["results"]}
    assert results["other"]["kind"] == "external"
    assert results["other"]["leakage"] is None
    for metric in ("mean_ciou", "auc", "adaptive_ciou", "pointing_accuracy", "ids_sha256"):
        assert results["other"][metric] == results["own"][metric]

    pairs = {(row["first"], row["second"]): row for row in rows["comparisons"]}
    assert pairs["other", "centre"]["is_best_baseline"]
    assert pairs["own", "other"]["difference"] == 0
    assert rows["notes"] == []

    kept_ids, kept = read_maps(tmp_path / "maps" / "other.npz")
    assert kept_ids == IDS
    assert (kept == MAPS).all()


def test_samples_without_a_map_are_counted_and_named(tmp_path):
    path = write_npz(tmp_path, IDS[:5], MAPS[:5])
    rows = evaluate(tmp_path / "maps", path, make_model("own"))
    result = next(row for row in rows["results"] if row["model"] == "other")
    assert (result["n"], result["num_requested"], result["missing"]) == (5, 8, {"no_map": 3})
    named = [row["sample_id"] for row in rows["scores"] if row["reason"] == "no_map"]
    assert named == IDS[5:]
    assert [note["text"] for note in rows["notes"]] == [
        "other, sample: the map of 3 of 8 samples is missing, and counts as not scored: s5, s6, s7."
    ]
    # The fair table compares what both have.
    assert {row["n"] for row in rows["intersections"]} == {5}


def test_maps_that_say_nothing_are_named(tmp_path):
    maps = MAPS.copy()
    maps[1, 0, 0] = np.nan
    maps[2] = np.inf
    maps[3:6] = 0.25
    rows = evaluate(tmp_path / "maps", write_npz(tmp_path, maps=maps))
    notes = {note["problem"]: note for note in rows["notes"]}
    assert notes["not_finite"]["num_samples"] == 2
    assert notes["constant"]["num_samples"] == 3
    assert notes["constant"]["text"].endswith("marks the whole frame or nothing: s3, s4, s5.")
    (result,) = rows["results"]
    assert (result["n"], result["missing"]) == (6, {"not_finite": 2})


def test_sizes_may_differ_and_large_maps_are_kept_small(tmp_path):
    path = tmp_path / "other"
    path.mkdir()
    for number, sample_id in enumerate(IDS):
        np.save(path / f"{sample_id}.npy", np.eye(100 + number))
    rows = evaluate(tmp_path, path)
    assert rows["results"][0]["n"] == 8
    assert read_maps(tmp_path / "other.npz")[1].shape == (8, 56, 56)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: np.save(path, np.zeros((3, 4, 5))), r"shape \(3, 4, 5\), expected \(height"),
        (lambda path: np.save(path, np.zeros((0, 4))), r"shape \(0, 4\), expected \(height"),
        (lambda path: np.save(path, np.zeros((4, 4), complex)), "holds complex128, expected num"),
        (lambda path: np.save(path, 1e-50 * np.eye(4)), "the map has different values, which are"),
        (lambda path: np.save(path, np.array([["a"]])), "expected numbers"),
        (lambda path: np.save(path, np.array([[{}]])), "it holds Python objects"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "not a readable .npy file: it is damaged"),
        (lambda path: path.write_bytes(b""), "not a readable .npy file: it is damaged"),
    ],
)
def test_files_that_are_no_map_are_refused(tmp_path, write, message):
    path = tmp_path / "s0.npy"
    write(path)
    with pytest.raises(DataError, match=message) as caught:
        read_map_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_colour_is_no_likelihood(tmp_path, mode):
    Image.new(mode, (8, 6)).save(tmp_path / "s0.png")
    with pytest.raises(DataError, match=f"s0.png: is a picture of mode {mode}, expected grey"):
        read_map_file(tmp_path / "s0.png")


def test_sixteen_bits_stay(tmp_path):
    values = np.arange(40000, 40048, dtype=np.uint16).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "s0.png")
    assert (read_map_file(tmp_path / "s0.png") == values).all()
    (tmp_path / "s1.png").write_bytes((tmp_path / "s0.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"s1\.png: not a readable PNG"):
        read_map_file(tmp_path / "s1.png")


def test_an_unknown_id_is_refused(tmp_path):
    path = write_npz(tmp_path, ["s0", "S1", "elsewhere"], MAPS[:3])
    with pytest.raises(DataError) as caught:
        make_external(read_external(path, name="other"), {"sample": IDS, "flickr": ["f"]})
    assert str(caught.value) == (
        f"evaluate.external.other ({path}): 'S1' is no sample of sample, flickr (2 of 3 such ids)"
        ", did you mean s1?"
    )


def test_a_sample_with_two_files_is_refused(tmp_path):
    path = write_folder(tmp_path)
    np.save(path / "s1.npy", MAPS[0])
    with pytest.raises(DataError, match="sample s1 has two files"):
        read_external(path)


def test_maps_take_part_only_on_their_datasets(tmp_path):
    entrant = make_external(read_external(write_npz(tmp_path)), {"sample": IDS, "flickr": ["f"]})
    assert (entrant.is_for("sample"), entrant.is_for("flickr")) == (True, False)


def test_names_and_paths_are_checked(tmp_path):
    write_npz(tmp_path)
    check_external({"other (v2.1)": "other.npz"}, taken=["htf"], root=tmp_path)
    with pytest.raises(ParameterError, match="another model or baseline has this name"):
        check_external({"htf": "other.npz"}, taken=["htf"], root=tmp_path)
    # `<name>.npz` could not be written after all maps were computed.
    with pytest.raises(ParameterError, match="at most 200 of them"):
        check_external({"m" * 240: "other.npz"}, taken=[], root=tmp_path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_in_memory_have_the_scores_of_files(protocol):
    boxes = dict(zip(IDS, SAMPLES["boxes"].to_pylist(), strict=True))
    found = earshot.score(dict(zip(IDS, MAPS, strict=True)), boxes, protocol=protocol)
    _, (result,) = evaluate_maps(SAMPLES, MAPS, IDS, protocols=(protocol,))
    for metric in ("mean_ciou", "success_rate", "auc", "adaptive_ciou", "pointing_accuracy"):
        assert found[metric] == result[metric]
