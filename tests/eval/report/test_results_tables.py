"""The tables of results: marks and warnings of rows, published numbers, the summary."""

import csv
import io
import re

from eval.published.comparability import PUBLISHED
from eval.report.data import exports
from eval.report.data.result_rows import Group, group_results, with_ceilings
from eval.report.page import render_template
from eval.report.sections.results_tables import Results, view_results
from eval.report.sections.summary_cards import view_summary
from tests.helpers.scoring.report_examples import parse

KINDS = {"flow": "baseline", "flow_8bit": "baseline", "centre": "trivial"}


def render_results(groups, *, results):
    """The HTML of the section of results."""
    view = Results(view_results(groups, results=results))
    return render_template("section_results.html", results=view)


def render_summary(group):
    """The HTML of the summary of one table."""
    view = view_summary([group], protocol="earshot", metric="adaptive_ciou")
    return render_template("section_summary.html", summary=view)


def test_published_numbers_say_why_they_may_not_be_compared():
    row = {
        "model": "mine",
        "kind": "model",
        "method": "htf",
        "trained_on": "vggsound/htf_vgg_10k",
        "selection": "val",
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
    assert f"not comparable: there: {published.caveats[0]}" in text
    assert "LVS" not in text

    # Of the two published rows this run has one; the other one names what is known against it.
    assert text.count("not comparable") == 1
    assert text.count(f"not in this run; there: {published.caveats[0]}") == 1
    best = {**row, "model": "other", "method": "lvs", "protocol": "htf", "success_rate": 0.9}
    groups = group_results([*rows, best], first_protocol="earshot", metric="auc")
    page = render_results(groups, results={})
    assert page[page.index("<h3>") :].count("0.900 at 0.5") == 0

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
        text = re.sub("<[^>]+>", "", render_summary(group))
        assert "best model: htf" in text
        assert f"{model} {scores[model]:.3f}" in text
        assert ("it is above the model" in text) is is_said

    row = {"model": "flow", "kind": "baseline", "adaptive_ciou": 0.6}
    untrained = Group("sample", "single", "earshot", (row,))
    text = render_summary(untrained)
    assert "no model is trained; best baseline: flow" in text


def test_rows_on_other_samples_and_leaking_rows_have_a_warning():
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
    other = {**row, "model": "b", "ids_sha256": "22"}
    group = Group("d", "s", "p", (row, other))
    common = [{**row, "dataset": "d", "subset": "s", "protocol": "p"}]
    text = " ".join(parse(render_results([group], results={"intersections": common})).texts)
    assert "not computed on the same samples" in text
    assert "compare them under \u201cOn the samples that all models have\u201d." in text
    assert "No sample of these was scored" not in text
    text = " ".join(parse(render_results([group], results={})).texts)
    assert "no sample was scored by all of them" in text
    assert "a was trained on 3 of these test samples" in text
    assert "removed 1" in text

    # Nothing can be compared with a row that has no score.
    empty = {**row, "model": "c", "n": 0, "ids_sha256": "33", "auc": None}
    page = render_results([Group("d", "s", "p", (row, empty))], results={})
    assert "not computed on the same samples" not in page
    assert "No sample of these was scored: c." in page

    alike = " ".join(
        parse(render_results([Group("d", "s", "p", ({**row, "leakage": 0},))], results={})).texts
    )
    assert "same samples" not in alike
    assert "trained on" not in alike


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
            "model": "flow_8bit",
            "method": "flow_8bit",
            "kind": "baseline",
            "success_rate": 0.181,
            "success_rate_at_30": 0.447,
            "auc": 0.294,
            "mean_ciou": 0.3,
        }
    ]

    groups = group_results(results, first_protocol="flowgrad", metric="auc")
    page = render_results(groups, results={})
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
