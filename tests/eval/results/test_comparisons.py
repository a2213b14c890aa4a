"""Models on their common samples."""

import numpy as np
import pytest

from earshot.errors import DataError
from eval.entrants.entrant import Entrant
from eval.results.comparisons import (
    compare_models,
    find_best_baseline,
    is_clear,
    summarize_intersection,
)
from eval.results.files import hash_ids
from tests.helpers.scoring.score_examples import evaluate_maps


def test_intersection_scores_all_models_on_the_same_ids(samples, ids, maps):
    a, _ = evaluate_maps(samples, maps[:15], ids[:15], model="a")
    b, _ = evaluate_maps(samples, maps[5:], ids[5:], model="b")
    entrants = [
        Entrant(name, kind, lambda ids, readers: maps)
        for name, kind in (("a", "model"), ("b", "baseline"), ("c", "model"))
    ]
    facts = {
        "subset": "test",
        "entrants": entrants,
        "clip_of": dict(zip(ids, samples["clip_id"].to_pylist(), strict=True)),
        "seen_clips": {},
    }
    results = summarize_intersection(a + b, ids, **facts, num_resamples=50)
    assert [(r["model"], r["kind"]) for r in results] == [("a", "model"), ("b", "baseline")]
    assert {r["n"] for r in results} == {10}
    assert {r["ids_sha256"] for r in results} == {hash_ids(ids[5:15])}
    assert results[0]["coverage_percent"] == results[1]["coverage_percent"] == 50
    assert results[0]["mean_ciou"] == results[1]["mean_ciou"]
    # A model without any score is left out; it would leave nothing in common.
    nothing, _ = evaluate_maps(samples, [], [], model="c")
    assert summarize_intersection(a + nothing + b, ids, **facts, num_resamples=50) == results
    other, _ = evaluate_maps(samples, maps[15:], ids[15:], model="c")
    for scores in (a + other, nothing):
        with pytest.raises(DataError, match="have no scored sample of subset 'test' in common"):
            summarize_intersection(scores, ids, **facts)


def test_paired_comparison_is_over_common_samples(samples, ids, maps):
    boxes = samples["boxes"].to_pylist()
    good = np.zeros((20, 28, 28), np.float32)
    for i, ((x1, y1, x2, y2),) in enumerate(boxes):
        good[i, int(28 * y1) : int(28 * y2), int(28 * x1) : int(28 * x2)] = 1
    a, _ = evaluate_maps(samples, good, ids, model="good")
    b, _ = evaluate_maps(samples, maps[:18], ids[:18], model="noise")
    row = compare_models(
        a + b, ids, first="good", second="noise", metric="adaptive_ciou", num_resamples=500
    )
    assert row["n"] == 18
    assert row["low"] > 0.3
    assert row["p_value"] < 0.01
    with pytest.raises(DataError, match="unknown metric 'f1'"):
        compare_models(a + b, ids, first="good", second="noise", metric="f1")


def test_the_baseline_to_beat_is_the_best_on_common_samples():
    """A baseline that has only easy samples does not look better than it is."""

    def rows(model, cious):
        return [
            {
                "model": model,
                "sample_id": name,
                "status": "ok",
                "is_positive": True,
                "ciou": ciou,
                "adaptive_ciou": ciou,
                "median_ciou": ciou,
                "pointing": ciou,
            }
            for name, ciou in cious.items()
        ]

    scores = rows("m", {"a": 0.9, "b": 0.2, "c": 0.1})
    scores += rows("easy", {"a": 0.8}) + rows("even", {"a": 0.4, "b": 0.3, "c": 0.4})
    scores += rows("elsewhere", {"d": 1.0})
    options = {"model": "m", "metric": "mean_ciou"}
    names = ["easy", "even", "elsewhere"]
    assert find_best_baseline(scores, "abcd", baselines=names, **options) == "even"
    assert find_best_baseline(scores, "abcd", baselines=names[2:], **options) is None
    assert find_best_baseline(scores, "a", baselines=names, **options) == "easy"


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.1, 0.3, 0.01, True),
        (-0.3, -0.1, 0.01, True),
        (-0.1, 0.3, 0.01, False),
        (0.0, 0.3, 0.01, False),
        (0.1, 0.3, 0.06, False),  # few videos
        (float("nan"), float("nan"), 1.0, False),  # one video
        (None, None, 1.0, False),  # one video, from a file
    ],
)
def test_a_clear_difference_lacks_0_and_is_no_chance(low, high, p_value, expected):
    assert is_clear({"low": low, "high": high, "p_value": p_value}) is expected
