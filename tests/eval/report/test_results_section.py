"""The report's results: order, marks and warnings of rows, published numbers, exports for papers."""

import csv
import io
import json
import re

from eval.report import exports
from eval.report.results_section import render_results, render_summary
from eval.report.rows import (
    METRIC_TITLES,
    Group,
    group_results,
    metrics_in,
    title_of,
    with_ceilings,
)
from eval.results.files import METRICS
from tests.helpers.report_examples import parse

KINDS = {"flow": "baseline", "flow_8bit": "baseline", "centre": "trivial"}


def test_published_numbers_stand_beside_ours_with_why_they_may_not_be_compared():
    from eval.report.results_section import render_results
    from eval.results.published import PUBLISHED

    row = {
        "model": "htf",
        "kind": "model",
        "dataset": "vggsound",
        "subset": "htf_vggss_test",
        "n": 4670,
        "num_requested": 4670,
    }
    rows = [
        {**row, "protocol": protocol, "success_rate": 0.39, "auc": 0.4, "leakage": 0}
        for protocol in ("earshot", "htf")
    ]
    groups = group_results(rows, first_protocol="earshot", metric="auc")
    text = " ".join(parse(render_results(groups, results={})).texts)
    published = next(p for p in PUBLISHED if p.test_set == "vggss_htf")
    assert published.method in text
    assert f"{published.success_rate:.3f} at 0.5" in text
    assert f"not comparable: there: {published.caveat}" in text
    assert "LVS" not in text
    few = group_results(
        [{**row, "protocol": "htf", "n": 7, "auc": 0.1, "success_rate": 0.2}],
        first_protocol="",
        metric="auc",
    )
    assert "7 samples here, 4,670 there" in " ".join(parse(render_results(few, results={})).texts)


def test_summary_says_when_a_baseline_is_above_the_best_model():
    scores = {"htf": 0.5, "flow": 0.6, "centre": 0.2}
    for model, is_said in (("flow", True), ("centre", False)):
        rows = [
            {"model": name, "kind": KINDS.get(name, "model"), "adaptive_ciou": value}
            for name, value in scores.items()
            if name in ("htf", model)
        ]
        group = Group("sample", "single", "earshot", tuple(rows))
        text = re.sub(
            "<[^>]+>", "", str(render_summary([group], protocol="earshot", metric="adaptive_ciou"))
        )
        assert "best model: htf" in text
        assert f"{model} {scores[model]:.3f}" in text
        assert ("it is above the model" in text) is is_said
    row = {"model": "flow", "kind": "baseline", "adaptive_ciou": 0.6}
    untrained = Group("sample", "single", "earshot", (row,))
    text = str(render_summary([untrained], protocol="earshot", metric="adaptive_ciou"))
    assert "no model is trained; best baseline: flow" in text


def test_rows_on_other_samples_and_leaking_rows_are_pointed_out():
    from eval.report.results_section import render_group

    row = {
        "model": "a",
        "kind": "model",
        "n": 5,
        "num_requested": 6,
        "ids_sha256": "11",
        "leakage": 3,
        "auc": 0.5,
        "missing": {"removed": 1},
    }
    text = " ".join(
        parse(
            render_group(Group("d", "s", "p", (row, {**row, "model": "b", "ids_sha256": "22"})))
        ).texts
    )
    assert "not computed on the same samples" in text
    assert "compare them under \u201cOn the samples that all models have\u201d." in text
    assert "a was trained on 3 of these test samples" in text
    assert "removed 1" in text
    alike = " ".join(parse(render_group(Group("d", "s", "p", ({**row, "leakage": 0},)))).texts)
    assert "same samples" not in alike
    assert "trained on" not in alike


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


def test_no_table_can_be_misread_about_the_published_success():
    row = {
        "dataset": "urbansas",
        "subset": "urbansas_test",
        "protocol": "flowgrad",
        "success_at": 0.3,
        "n": 94,
    }
    results = [
        {
            **row,
            "model": "flow",
            "kind": "baseline",
            "success_rate": 0.181,
            "success_rate_at_30": 0.447,
            "auc": 0.294,
            "mean_ciou": 0.3,
        }
    ]
    groups = group_results(results, first_protocol="flowgrad", metric="auc")
    page = str(render_results(groups, results={}))
    for text in (page, exports.write_markdown(groups), exports.write_latex(groups)):
        assert text.index("0.447") < text.index("0.181")
        assert "success at 0.3 (as published)" in text
    (line,) = csv.DictReader(io.StringIO(exports.write_csv(groups)))
    assert (line["success_at"], line["success_rate_at_30"], line["success_rate"]) == (
        "0.3",
        "0.447",
        "0.181",
    )
    assert "0.330 at 0.3" in page  # the paper's flow baseline, and ours beside it at the same ciou
    assert "0.447 at 0.3" in page


def test_rows_above_the_ceiling_are_explained():
    row = {"dataset": "urbansas", "subset": "urbansas_test", "protocol": "lvs", "n": 94}
    results = {
        "results": [
            {**row, "model": name, "kind": KINDS[name], "mean_ciou": value}
            for name, value in (("flow_8bit", 0.3), ("centre", 0.1))
        ],
        "ceilings": [{**row, "mean_ciou": 0.18}],
    }
    page = str(
        render_results(
            group_results(with_ceilings(results), first_protocol="lvs", metric="auc"),
            results=results,
        )
    )
    assert "Above the ceiling: flow_8bit. It holds for maps whose values all differ" in page


def test_exports_have_every_row_with_intervals(built):
    project = built[0]
    rows = json.loads((project.reports_dir / "results.json").read_text())["results"]
    table = list(csv.DictReader(io.StringIO((project.reports_dir / "results.csv").read_text())))
    of_csv = {(r["model"], r["subset"], r["protocol"]): r for r in table}
    assert len(table) == len(rows) + 1  # and the ceiling
    markdown = (project.reports_dir / "results.md").read_text()
    latex = (project.reports_dir / "results.tex").read_text()
    for row in rows:
        found = of_csv[row["model"], row["subset"], row["protocol"]]
        for name in ("mean_ciou", "adaptive_ciou_low", "auc_high"):
            assert float(found[name]) == row[name]
        assert int(found["n"]) == row["n"]
        text = f"{row['mean_ciou']:.3f} [{row['mean_ciou_low']:.3f}, {row['mean_ciou_high']:.3f}]"
        assert text in markdown
        assert text.replace(" [", r" {\scriptsize [") + "}" in latex
    assert latex.count(r"\toprule") == latex.count(r"\end{table}") == 4
    assert r"untrained\_htf" in latex
    assert "untrained_htf" not in latex


def test_latex_escapes_what_is_special():
    row = {"kind": "model", "model": "a_b&c%#${}~^\\<", "n": 3, "mean_ciou": None}
    latex = exports.write_latex([Group("d", "s", "p", (row,))])
    assert (
        r"a\_b\&c\%\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}" in latex
    )


def test_markdown_cells_cannot_break_the_table():
    row = {"kind": "model", "model": "a|b\n<i>", "n": 3, "mean_ciou": 0.5}
    lines = exports.write_markdown([Group("d", "s", "p", (row,))]).splitlines()
    assert lines[-1].startswith(r"| a\|b \<i\> | 0.500 |")
