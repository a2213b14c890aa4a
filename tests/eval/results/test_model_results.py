"""One model on a dataset: test sets under protocols, leakage, and which maps are read."""

import numpy as np

from eval.results.files import METRICS, hash_ids
from eval.results.model_results import evaluate_model
from eval.results.model_scores import ModelMaps
from tests.helpers.scoring.score_examples import evaluate_maps, make_table


def test_every_id_has_a_row_and_results_reconcile(samples, ids, maps):
    maps[4, 3, 3] = np.nan
    scores, results = evaluate_maps(
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


def test_a_map_is_read_once_and_only_if_it_is_tested(samples, ids, maps):
    read_positions = []

    class Lazy:
        def __len__(self):
            return len(ids)

        def __getitem__(self, index):
            read_positions.append(index)
            return maps[index]

    evaluate_maps(samples, Lazy(), ids, subsets=["single"], protocols=["earshot", "lvs", "htf"])
    assert read_positions == [i for i in range(20) if i % 2]


def test_a_model_without_any_map_is_an_explicit_row(samples):
    _, results = evaluate_maps(samples, [], [])
    assert (results[0]["n"], results[0]["num_requested"], results[0]["mean_ciou"]) == (0, 20, None)
    assert results[0]["missing"] == {"no_map": 20}


def test_intervals_draw_videos_and_say_how_many(samples, ids, maps):
    """Frames of one video are alike: without their video, the interval is too narrow."""
    clip_ids = samples["clip_id"].to_pylist()
    # Ten videos of two frames with the same boxes and the same map.
    table = samples.to_pylist()
    for number, row in enumerate(table):
        row["boxes"] = table[number // 2 * 2]["boxes"]
    twins = make_table(table)
    same_maps = maps[np.arange(20) // 2 * 2]
    model_maps = ModelMaps("m", "sample", ids, same_maps)
    found = {}
    for name, video_of in (
        ("frames", None),
        ("videos", {clip_id: f"v{number // 2}" for number, clip_id in enumerate(clip_ids)}),
    ):
        _, (found[name],) = evaluate_model(
            model_maps, twins, test_sets={"all": ids}, video_of=video_of, num_resamples=2000
        )

    assert (found["frames"]["num_groups"], found["videos"]["num_groups"]) == (20, 10)
    assert found["frames"]["mean_ciou"] == found["videos"]["mean_ciou"]
    widths = {name: row["mean_ciou_high"] - row["mean_ciou_low"] for name, row in found.items()}
    # Half of the samples are copies, so the interval is wider by the square root of 2.
    assert 1.25 < widths["videos"] / widths["frames"] < 1.7
