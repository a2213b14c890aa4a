"""From maps to results: every id accounted for, subsets, negatives, intersections, comparisons, files."""

import json

import numpy as np
import pyarrow as pa
import pytest

from earshot.errors import DataError
from earshot.tables import SAMPLES, write_table
from eval.results.files import (
    METRICS,
    hash_ids,
    read_results,
    read_scores,
    summarize_for_dvc,
    write_results,
)
from eval.results.model_results import (
    ModelMaps,
    compare_models,
    evaluate_maps,
    intersect,
    score_model,
)
from eval.results.published import PUBLISHED, why_not_comparable
from eval.results.test_set_tables import load_test_set
from eval.results.test_sets import count_leakage, find_test_sets, get_test_set, subset_ids
from tests.helpers.score_examples import loop_average_precision, make_samples, row


def evaluate(samples, maps, ids, **options):
    options = {
        "dataset": "sample",
        "model": "m",
        "subsets": ["test"],
        "num_resamples": 100,
    } | options
    return evaluate_maps(maps, ids, samples, **options)


@pytest.fixture
def samples():
    return make_samples()


@pytest.fixture
def ids(samples):
    return samples["sample_id"].to_pylist()


@pytest.fixture
def maps(ids):
    return np.random.default_rng(1).random((len(ids), 14, 14), np.float32)


def test_every_id_has_a_row_and_results_reconcile(samples, ids, maps):
    maps[4, 3, 3] = np.nan
    scores, results = evaluate(
        samples,
        maps[:-3],
        ids[:-3],
        subsets=["single", "traffic", "test"],
        protocols=["earshot", "lvs"],
        reasons={ids[-1]: "flow: too_short"},
        train_clip_ids={"clip-s2", "clip-s4", "clip-elsewhere"},
        selection="last epoch",
        seed=5,
    )
    assert len(scores) == 40
    by_id = {r["sample_id"]: r for r in scores if r["protocol"] == "lvs"}
    assert (by_id["s4"]["status"], by_id["s4"]["reason"], by_id["s4"]["ciou"]) == (
        "failed",
        "not_finite",
        None,
    )
    assert (by_id["s19"]["status"], by_id["s19"]["reason"]) == ("missing", "flow: too_short")
    assert (by_id["s18"]["status"], by_id["s18"]["reason"]) == ("missing", "no_map")
    whole = next(r for r in results if r["subset"] == "test" and r["protocol"] == "lvs")
    assert (whole["n"], whole["num_requested"], whole["coverage_percent"]) == (16, 20, 80)
    assert whole["missing"] == {"flow: too_short": 1, "no_map": 2, "not_finite": 1}
    assert whole["n"] + sum(whole["missing"].values()) == whole["num_requested"]
    assert (whole["leakage"], whole["selection"], whole["seed"]) == (
        1,
        "last epoch",
        5,
    )  # s4 leaks but has no score
    scored = [name for name in ids[:17] if name != "s4"]
    assert (
        whole["ids_sha256"]
        == hash_ids(reversed(scored))
        != whole["requested_ids_sha256"]
        == hash_ids(ids)
    )
    parts = [r for r in results if r["subset"] != "test" and r["protocol"] == "lvs"]
    assert sum(r["n"] for r in parts) == 16
    for r in results:
        for metric in METRICS:
            assert r[f"{metric}_low"] <= r[metric] + 1e-12, metric
            assert r[metric] <= r[f"{metric}_high"] + 1e-12, metric


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m, i: (m, [*i[:-1], i[0]]), r"sample id s0 is there twice \(1 such ids\)"),
        (lambda m, i: (m, [*i[:-1], "x"]), r"sample id x is not in the dataset \(1 such ids\)"),
        (lambda m, i: (m[:-1], i), "19 maps for 20 sample ids"),
        (
            lambda m, i: (m.reshape(20, -1), i),
            r"the map of s0 has shape \(196,\), expected \(height, width\)",
        ),
        (lambda m, i: (m[:, :0], i), r"the map of s0 has shape \(0, 14\)"),
    ],
)
def test_bad_maps_are_refused(samples, ids, maps, spoil, message):
    with pytest.raises(DataError, match=message):
        evaluate(samples, *spoil(maps, ids))


def test_an_empty_subset_is_an_error_that_names_the_splits(samples, ids, maps):
    with pytest.raises(
        DataError,
        match="the subset 'tset' is empty; splits in the samples table: single, test, traffic",
    ):
        evaluate(samples, maps, ids, subsets=["tset"])


def test_a_model_without_any_map_is_an_explicit_row(samples):
    _, results = evaluate(samples, [], [])
    assert (results[0]["n"], results[0]["num_requested"], results[0]["mean_ciou"]) == (0, 20, None)
    assert results[0]["missing"] == {"no_map": 20}


def test_samples_without_ground_truth_count_as_missing():
    rows = [
        row("a", boxes=[[0, 0, 0.5, 0.5]], splits=["test"]),
        row("b", boxes=[], splits=["test"]),
    ]
    samples = pa.Table.from_pylist(rows, schema=SAMPLES.columns)
    _, results = evaluate(samples, np.ones((2, 7, 7)), ["a", "b"])
    assert (results[0]["n"], results[0]["missing"]) == (1, {"no_ground_truth": 1})


def test_maps_are_asked_for_once_and_only_when_tested(samples, ids, maps):
    asked = []

    class Lazy:
        def __len__(self):
            return len(ids)

        def __getitem__(self, index):
            asked.append(index)
            return maps[index]

    evaluate(samples, Lazy(), ids, subsets=["single"], protocols=["earshot", "lvs", "htf"])
    assert asked == [i for i in range(20) if i % 2]


def test_without_a_map_of_any_negative_their_metrics_are_not_defined():
    samples = make_samples(10, num_negatives=9)
    maps = np.random.default_rng(0).random((10, 14, 14), np.float32)
    result = evaluate(samples, maps, samples["sample_id"].to_pylist()[:10])[1][0]
    assert (result["n"], result["num_requested"], result["num_negatives"]) == (10, 19, 0)
    assert (
        result["average_precision"] is result["max_f1"] is result["localization_accuracy"] is None
    )


def test_negatives_have_confidence_and_give_average_precision():
    samples = make_samples(10, num_negatives=9)
    ids = samples["sample_id"].to_pylist()
    maps = np.zeros((19, 14, 14), np.float32)
    for i, boxes in enumerate(samples["boxes"].to_pylist()[:10]):
        x1, y1, x2, y2 = (int(14 * v) for v in boxes[0])
        maps[i, y1:y2, x1:x2] = 3  # the right place, sure
    maps[10:] = 0.01 * np.random.default_rng(0).random((9, 14, 14))  # anywhere, unsure
    scores, results = evaluate(samples, maps, ids)
    result = results[0]
    assert (result["n"], result["num_negatives"]) == (19, 9)
    assert result["max_f1"] == 1
    assert result["localization_accuracy"] == 1
    columns = [
        np.array([r[name] or 0 for r in scores]) for name in ("ciou", "confidence", "is_positive")
    ]
    assert result["average_precision"] == pytest.approx(loop_average_precision(*columns))
    assert 0.5 < result["average_precision"] < 1  # SLAVC's sum begins after its first threshold
    negative = next(r for r in scores if not r["is_positive"])
    assert negative["ciou"] is None
    assert 0 < negative["confidence"] < 0.01
    top_quarter = np.sort(np.full((224, 224), 2.0).ravel())[-224 * 56 :].mean()
    flat = evaluate(samples, np.full((19, 2, 2), 2.0), ids)[0][0]["confidence"]
    assert flat == top_quarter
    silent = row("a+a", boxes=[], splits=["test"], attributes=[("negative", "true")])
    table = pa.concat_tables([samples, pa.Table.from_pylist([silent], schema=SAMPLES.columns)])
    assert evaluate(table, maps, ids)[1][0]["missing"] == {"no_map": 1}


def test_intersection_scores_all_models_on_the_same_ids(samples, ids, maps):
    a, _ = evaluate(samples, maps[:15], ids[:15], model="a")
    b, _ = evaluate(samples, maps[5:], ids[5:], model="b")
    results = intersect(a + b, ids, subset="test", kinds={"b": "baseline"}, num_resamples=50)
    assert [(r["model"], r["kind"]) for r in results] == [("a", "model"), ("b", "baseline")]
    assert {r["n"] for r in results} == {10}
    assert {r["ids_sha256"] for r in results} == {hash_ids(ids[5:15])}
    assert results[0]["coverage_percent"] == results[1]["coverage_percent"] == 50
    assert results[0]["mean_ciou"] == results[1]["mean_ciou"]
    nothing, _ = evaluate(samples, [], [], model="c")
    with pytest.raises(DataError, match="have no scored sample of subset 'test' in common"):
        intersect(a + nothing, ids, subset="test")


def test_paired_comparison_is_over_common_samples(samples, ids, maps):
    boxes = samples["boxes"].to_pylist()
    good = np.zeros((20, 28, 28), np.float32)
    for i, ((x1, y1, x2, y2),) in enumerate(boxes):
        good[i, int(28 * y1) : int(28 * y2), int(28 * x1) : int(28 * x2)] = 1
    a, _ = evaluate(samples, good, ids, model="good")
    b, _ = evaluate(samples, maps[:18], ids[:18], model="noise")
    row = compare_models(
        a + b, ids, first="good", second="noise", metric="adaptive_ciou", num_resamples=500
    )
    assert row["n"] == 18
    assert row["low"] > 0.3
    assert row["p_value"] < 0.01
    with pytest.raises(DataError, match="unknown metric 'f1'"):
        compare_models(a + b, ids, first="good", second="noise", metric="f1")


def test_files_come_back_as_written(samples, ids, maps, tmp_path):
    scores, results = evaluate(samples, maps[:-1], ids[:-1])
    results[0]["auc_low"] = float("nan")
    write_results(tmp_path, scores=scores, results=results)
    assert read_scores(tmp_path).to_pylist() == [
        {name: r[name] for name in read_scores(tmp_path).column_names} for r in scores
    ]
    content = read_results(tmp_path)
    assert content["results"][0]["mean_ciou"] == results[0]["mean_ciou"]
    assert content["results"][0]["auc_low"] is None
    assert content["comparisons"] == []
    json.loads(
        (tmp_path / "results.json").read_text(), parse_constant=pytest.fail
    )  # no NaN: not JSON
    assert summarize_for_dvc(results)["sample"]["test"]["earshot"]["m"]["n"] == 19
    with pytest.raises(DataError, match="unknown list 'metrics'"):
        write_results(tmp_path, scores=scores, metrics=[])
    del results[0]["kind"]
    write_results(tmp_path, scores=scores, results=results)
    with pytest.raises(
        DataError, match=r'm has no "kind" in the list "results", expected model, .*'
    ):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("[")
    with pytest.raises(DataError, match="not valid JSON"):
        read_results(tmp_path)


def test_published_test_sets_have_their_sizes_and_leaks(shared, tmp_path):
    lists_dir = shared("lists", "ezvsl", "vggss.json").parent.parent
    tables = {}
    for name in (
        "vggss",
        "vggss_htf",
        "vggss_heard",
        "vggss_unheard",
        "vggss_extended",
        "flickr_250",
        "flickr",
    ):
        test_set = get_test_set(name)
        tables[name] = load_test_set(
            test_set, table_path=tmp_path / "none.parquet", cache_dir=tmp_path, lists_dir=lists_dir
        )
        assert len(subset_ids(tables[name], test_set.split)) == test_set.num_published, name
    table = tables["vggss"]
    training = (lists_dir / "ezvsl" / "vggss_144k.txt").read_text().split()
    assert count_leakage(table["clip_id"].to_pylist(), training) == 3709
    assert (
        count_leakage(
            table["clip_id"].to_pylist(),
            (lists_dir / "htf" / "vgg_train_144k.txt").read_text().split(),
        )
        == 0
    )
    extended = tables["vggss_extended"]
    rows = score_model(ModelMaps("m", "vggsound", [], []), extended, protocols=["lvs"])["lvs"]
    assert sum(not r["is_positive"] for r in rows) == 5158
    assert {r["reason"] for r in rows} == {"no_map"}


def test_published_results_say_why_they_are_not_comparable():
    assert {p.test_set for p in PUBLISHED} <= set(find_test_sets())
    htf = next(
        p
        for p in PUBLISHED
        if p.method == "Hear The Flow"
        and p.trained_on == "VGG-Sound 144k"
        and "vggss" in p.test_set
    )
    result = {
        "dataset": "vggsound",
        "subset": "vggss_test",
        "protocol": "htf",
        "n": 5158,
        "leakage": 0,
    }
    assert why_not_comparable(result, htf) == "another test set: vggss_htf"
    result |= {"subset": "htf_vggss_test", "n": 4600, "protocol": "lvs", "leakage": 3}
    assert why_not_comparable(result, htf) == (
        "another protocol: htf; 4,600 samples here, 4,670 there; 3 test clips are in our training data; "
        "there: checkpoint chosen on the test set"
    )
    lvs = next(p for p in PUBLISHED if p.method == "LVS" and p.test_set == "vggss")
    result = {
        "dataset": "vggsound",
        "subset": "vggss_test",
        "protocol": "lvs",
        "n": 5158,
        "leakage": 0,
    }
    assert why_not_comparable(result, lvs) == ""


def test_a_test_set_that_is_not_at_hand_says_what_to_run(tmp_path):
    write_table(tmp_path / "samples.parquet", make_samples(2), SAMPLES)
    with pytest.raises(DataError, match="run `dvc repro sources@urbansas`, or give --annotations"):
        load_test_set(
            get_test_set("urbansas"), table_path=tmp_path / "samples.parquet", cache_dir=tmp_path
        )
