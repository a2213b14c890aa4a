"""All entrants on one dataset: ceilings, leakage within a dataset alone, who takes part."""

from dataclasses import replace

import numpy as np
import pytest

from earshot.errors import ParameterError
from eval.entrants.baselines import BASELINES, FLOW_BASELINES, make_baseline
from eval.entrants.entrant import Entrant
from eval.entrants.maps import read_maps
from eval.entrants.training_clips import TrainingClips
from eval.entrants.vision_only import make_vision_only
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.scoring.protocols import PROTOCOLS
from pipeline.features.detections import Detections, pack_detections
from tests.helpers.scoring.score_examples import ArrayReader, make_samples, make_table


def evaluate_entrants(
    samples, entrants, tmp_path, *, dataset="sample", readers=None, protocols=("earshot",)
):
    parameters = EvaluationParameters(
        subsets={dataset: ["test"]}, protocols=protocols, num_resamples=20
    )
    return evaluate_dataset(
        dataset, samples, readers or {}, entrants, parameters=parameters, maps_dir=tmp_path
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"main_protocol": "htf"},
            r"main_protocol is 'htf', expected one of evaluate.protocols \(earshot\)",
        ),
        (
            {"protocols": ("earshot", "lvs", "earshot")},
            "protocols is earshot, lvs, earshot, expected each once",
        ),
        ({"protocols": ("earshot", "ezvsl", "ezvsl_test")}, "expected each once, by its name"),
        ({"protocols": ("earshot", "lsv")}, "unknown protocol 'lsv', expected one of earshot"),
        (
            {"comparison_metric": "ciou"},
            "comparison_metric is 'ciou', expected one of mean_ciou, success_rate, auc",
        ),
        ({"num_resamples": 0}, "num_resamples is 0, expected at least 1"),
        ({"subsets": {"sample": "test"}}, "subsets.sample is 'test', expected a list of splits"),
    ],
)
def test_mistaken_parameters_are_found_before_any_map_is_made(changes, message):
    with pytest.raises(ParameterError, match=message):
        EvaluationParameters(**changes)


def test_every_protocol_has_its_ceiling_over_the_positives(tmp_path):
    samples = make_samples(num_samples=6, num_negatives=3)
    rows = evaluate_entrants(
        samples, [make_baseline("centre")], tmp_path, protocols=tuple(PROTOCOLS)
    )
    assert {row["kind"] for row in rows["results"]} == {"trivial"}
    ceilings = {row["protocol"]: row for row in rows["ceilings"]}
    assert set(ceilings) == set(PROTOCOLS)
    assert {row["n"] for row in ceilings.values()} == {6}
    for name, row in ceilings.items():
        if name in ("earshot", "rcgrad", "flowgrad", "sspl"):
            assert row["mean_ciou"] == row["success_rate"] == row["auc"] == 1, name
        elif name.startswith("sslalignment_adaptive"):  # one pixel less than the box has
            assert 0.999 < row["mean_ciou"] < 1, name
        else:  # boxes of 0.3 x 0.3: nine hundredths of the frame, of which half is marked
            assert row["mean_ciou"] == pytest.approx(0.09 / 0.5, rel=0.03), name
            assert row["success_rate"] == 0
    assert ceilings["flowgrad"]["success_at"] == 0.3
    own = {row["protocol"]: row for row in rows["results"]}
    assert all(
        own[name]["mean_ciou"] <= row["mean_ciou"] + 1e-9
        for name, row in ceilings.items()
        if name != "ezvsl"
    )


@pytest.mark.parametrize(
    ("train_dataset", "leakage"), [("sample", 2), ("vggsound", 0), ("local", None), (None, 0)]
)
def test_clip_ids_are_compared_within_a_dataset_alone(tmp_path, train_dataset, leakage):
    """Compare clip ids within a dataset alone.

    Two datasets may have a clip id in common by chance; what a folder of one's own holds is not
    known.
    """
    samples = make_samples(num_samples=6)
    entrant = Entrant(
        "m",
        "model",
        lambda ids, readers: np.random.default_rng(0).random((len(ids), 7, 7), np.float32),
        training_clips=TrainingClips(
            train_dataset, {"clip-s1", "clip-s2", "clip-elsewhere"} if train_dataset else ()
        ),
    )
    (result,) = evaluate_entrants(samples, [entrant], tmp_path)["results"]
    assert result["leakage"] == leakage


def test_a_model_keeps_its_facts_on_the_common_samples(tmp_path):
    samples = make_samples(num_samples=6)
    ids = samples["sample_id"].to_pylist()
    trained = Entrant(
        "m",
        "model",
        lambda ids, readers: np.random.default_rng(0).random((len(ids), 7, 7), np.float32),
        seed=3,
        selection="test",
        # s1 has no flow, so only s2 is both a common sample and in the training data.
        training_clips=TrainingClips("sample", {"clip-s1", "clip-s2"}),
    )
    flows = {name: np.ones((2, 8, 8), np.float32) for name in ids if name != "s1"}

    found = evaluate_entrants(
        samples, [trained, make_baseline("flow")], tmp_path, readers={"flow": ArrayReader(flows)}
    )
    facts = {
        row["model"]: (row["n"], row["selection"], row["seed"], row["leakage"])
        for row in found["intersections"]
    }
    assert facts == {"m": (5, "test", 3, 1), "flow": (5, "none", None, None)}


def test_the_topline_reads_cached_detections(tmp_path):
    samples = make_samples(num_samples=4)
    rows = samples.to_pylist()
    arrays = {}
    for row in rows[:3]:
        boxes = np.array(row["boxes"], np.float64)
        found = Detections(boxes, np.full(len(boxes), 3), np.full(len(boxes), 0.9))
        parked = Detections(np.full((1, 4), 0.99), np.full(1, 3), np.full(1, 0.9))
        arrays[row["sample_id"]] = pack_detections(found, parked)
    readers = {"detections": ArrayReader(arrays, num_frames=2)}
    found = evaluate_entrants(
        samples, [make_vision_only()], tmp_path, readers=readers, protocols=("earshot", "flowgrad")
    )
    result = next(row for row in found["results"] if row["protocol"] == "flowgrad")
    assert (result["model"], result["n"], result["num_requested"]) == ("vision_only", 3, 4)
    assert result["missing"] == {"detections: gone": 1}
    assert result["mean_ciou"] > 0.95  # FlowGrad's rule for boxes is not that of this dataset

    entrant = make_vision_only(box_rule="union")
    found = evaluate_entrants(samples, [entrant], tmp_path, readers=readers)
    assert found["results"][0]["mean_ciou"] == 1


def test_normalized_flow_differs_where_the_protocol_looks_at_values(tmp_path):
    samples = make_samples(num_samples=4)
    rng = np.random.default_rng(0)
    flows = {
        name: rng.normal(0, 5, (2, 30, 40)).astype(np.float16)
        for name in samples["sample_id"].to_pylist()
    }
    entrants = [make_baseline(name) for name in BASELINES if name.startswith("flow")]
    assert len(entrants) == 2 * len(FLOW_BASELINES)
    found = evaluate_entrants(
        samples,
        entrants,
        tmp_path,
        readers={"flow": ArrayReader(flows)},
        protocols=("earshot", "flowgrad", "lvs"),
    )
    score = {(row["model"], row["protocol"]): row["mean_ciou"] for row in found["results"]}
    for name in FLOW_BASELINES:
        assert score[name, "flowgrad"] != score[f"{name}_normalized", "flowgrad"]
        for protocol in ("earshot", "lvs"):
            assert score[name, protocol] == score[f"{name}_normalized", protocol]


def test_an_entrant_without_any_score_leaves_the_table_of_common_samples(tmp_path):
    samples = make_samples(num_samples=6)
    ids = samples["sample_id"].to_pylist()
    flows = {name: np.ones((2, 8, 8), np.float32) for name in ids[1:]}
    readers = {"flow": ArrayReader(flows), "detections": ArrayReader({})}
    entrants = [make_baseline("centre"), make_baseline("flow"), make_vision_only()]
    found = evaluate_entrants(samples, entrants, tmp_path, readers=readers)
    assert [row["n"] for row in found["results"]] == [6, 5, 0]
    facts = [(row["model"], row["n"]) for row in found["intersections"]]
    assert facts == [("centre", 5), ("flow", 5)]


def noise_model(name="m", **facts):
    """A model whose maps are noise."""
    return Entrant(
        name,
        "model",
        lambda ids, readers: np.random.default_rng(0).random((len(ids), 7, 7), np.float32),
        is_kept=True,
        **facts,
    )


def test_boxes_of_a_dataset_without_test_sets_are_named(tmp_path):
    samples = make_samples(num_samples=3, num_negatives=1)
    rows = evaluate_dataset(
        "zoo", samples, {}, [], parameters=EvaluationParameters(), maps_dir=tmp_path
    )
    (note,) = rows["notes"]
    assert note["text"] == (
        "zoo: 3 samples with boxes or masks are not scored, since evaluate.subsets of params.yaml "
        "has no entry for zoo; splits of these samples: single, test, traffic."
    )
    without = make_samples(num_samples=0, num_negatives=1)
    rows = evaluate_dataset(
        "zoo", without, {}, [], parameters=EvaluationParameters(), maps_dir=tmp_path
    )
    assert rows["notes"] == []


def test_no_file_of_maps_without_a_map(tmp_path):
    samples = make_samples(num_samples=3)
    ids = samples["sample_id"].to_pylist()
    entrant = noise_model(reads=("flow",))
    flows = {name: np.ones((2, 8, 8), np.float32) for name in ids}
    evaluate_entrants(samples, [entrant], tmp_path, readers={"flow": ArrayReader(flows)})
    assert read_maps(tmp_path / "m.npz")[0] == ids

    # Nor that of an earlier run.
    found = evaluate_entrants(samples, [entrant], tmp_path, readers={"flow": ArrayReader({})})
    assert found["results"][0]["missing"] == {"flow: gone": 3}
    assert not (tmp_path / "m.npz").exists()


def test_each_model_is_compared_with_the_best_baseline(tmp_path):
    samples = make_samples(num_samples=12)
    names = ("centre", "uniform", "random")
    entrants = [make_baseline(name) for name in names]
    models = [noise_model(), noise_model("second")]
    found = evaluate_entrants(samples, [*entrants, *models], tmp_path)
    values = {row["model"]: row["adaptive_ciou"] for row in found["results"]}
    best = max(names, key=values.get)
    assert [
        (row["first"], row["second"], row["is_best_baseline"]) for row in found["comparisons"]
    ] == [("m", best, True), ("second", best, True), ("m", "second", False)]
    row = found["comparisons"][0]
    assert row["difference"] == pytest.approx(values["m"] - values[best])
    assert (row["n"], row["num_groups"], row["subset"]) == (12, 12, "test")


def test_a_network_before_training_is_compared_with_its_own_run_alone(tmp_path):
    entrants = [noise_model(), noise_model("m_untrained"), noise_model("second")]
    entrants[1] = replace(entrants[1], kind="untrained")
    found = evaluate_entrants(make_samples(num_samples=4), entrants, tmp_path)
    pairs = [(row["first"], row["second"]) for row in found["comparisons"]]
    assert pairs == [("m", "m_untrained"), ("m", "second")]


def test_intervals_draw_the_samples_of_one_video_together(tmp_path):
    """Ten frames a clip say little more than one: repeating a sample adds no certainty."""
    single = make_samples(num_samples=6)
    rows = [
        row | {"sample_id": f"{row['sample_id']}@{copy}"}
        for row in single.to_pylist()
        for copy in range(10)
    ]
    many = make_table(rows)
    models = [make_baseline("centre"), noise_constant()]
    once = evaluate_entrants(single, models, tmp_path)
    often = evaluate_entrants(many, models, tmp_path)
    for first, second in zip(once["results"], often["results"], strict=True):
        assert (first["n"], first["num_groups"]) == (6, 6)
        assert (second["n"], second["num_groups"]) == (60, 6)
        for metric in ("mean_ciou", "success_rate", "auc"):
            for end in ("", "_low", "_high"):
                name = f"{metric}{end}"
                assert second[name] == pytest.approx(first[name]), name
    ends = [(row["low"], row["high"], row["p_value"]) for row in once["comparisons"]]
    assert ends == [
        pytest.approx((row["low"], row["high"], row["p_value"])) for row in often["comparisons"]
    ]

    # Clips of one video are not independent, either.
    videos = {f"clip-s{number}": f"video{number // 2}" for number in range(6)}
    parameters = EvaluationParameters(subsets={"sample": ["test"]}, num_resamples=20)
    found = evaluate_dataset(
        "sample", single, {}, models[:1], parameters=parameters, maps_dir=tmp_path, video_of=videos
    )
    assert found["results"][0]["num_groups"] == 3


def noise_constant():
    """A model with the same map for every sample."""
    one = np.random.default_rng(1).random((7, 7), np.float32)
    return Entrant("m", "model", lambda ids, readers: [one] * len(ids), is_kept=True)
