"""Rows of results: their groups, their order, and the metrics that a table shows."""

from eval.report.data.result_rows import (
    METRIC_TITLES,
    group_results,
    metrics_in,
    title_of,
    with_ceilings,
)
from eval.results.files import METRICS

KINDS = {"flow": "baseline", "flow_8bit": "baseline", "centre": "trivial"}


def test_rows_are_ordered_models_first_and_ceilings_join():
    results = [
        {
            "model": name,
            "kind": KINDS.get(name, "model"),
            "dataset": "d",
            "subset": "s",
            "protocol": p,
            "mean_ciou": value,
        }
        for p in ("lvs", "earshot")
        for name, value in (("centre", 0.9), ("a", 0.2), ("flow", 0.5), ("b", 0.3))
    ]
    ceilings = [{"dataset": "d", "subset": "s", "protocol": "lvs", "n": 4, "mean_ciou": 1.0}]

    groups = group_results(
        with_ceilings({"results": results, "ceilings": ceilings}),
        first_protocol="earshot",
        metric="mean_ciou",
    )
    assert [group.protocol for group in groups] == ["earshot", "lvs"]
    assert [row["model"] for row in groups[1].rows] == ["b", "a", "flow", "centre", "ceiling"]


def test_a_model_may_have_the_name_of_a_baseline():
    row = {"dataset": "d", "subset": "s", "protocol": "p", "auc": 0.5}
    rows = [
        {**row, "model": "vision_only", "kind": "baseline"},
        {**row, "model": "centre_untrained", "kind": "untrained"},
        {**row, "model": "flow_raft", "kind": "model"},
    ]
    (group,) = group_results(rows, first_protocol="p", metric="auc")
    assert [row["model"] for row in group.rows] == ["flow_raft", "vision_only", "centre_untrained"]


def test_every_metric_has_a_title():
    assert set(METRICS) < set(METRIC_TITLES)


def test_success_at_30_is_shown_where_the_protocol_counts_it():
    row = {"success_rate": 0.4, "success_rate_at_30": 0.6, "median_ciou": 0.5, "success_at": 0.5}
    assert metrics_in([row]) == ["success_rate"]
    flowgrad = {**row, "success_at": 0.3}
    assert metrics_in([flowgrad]) == ["success_rate_at_30", "success_rate"]
    titles = [title_of(name, [flowgrad]) for name in metrics_in([flowgrad])]
    assert titles == ["success at 0.3 (as published)", "success at 0.5"]
    assert title_of("success_rate", [row]) == "success at 0.5"
    assert metrics_in([row], is_full=True) == ["success_rate", "success_rate_at_30", "median_ciou"]
