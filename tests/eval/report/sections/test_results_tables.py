"""The tables of results: marks and warnings of rows, published numbers, the summary."""

import csv
import io
import math
from dataclasses import replace

import pytest

from eval.published.comparability import PUBLISHED
from eval.report.data import exports
from eval.report.data.result_rows import Group, group_results, with_ceilings
from eval.report.page import render_template
from eval.report.sections.results_tables import Results, make_table, view_results
from eval.report.sections.summary import suggest_next_steps, view_summary
from eval.results.further_metrics import CHOSEN_ON_TEST
from tests.helpers.scoring.made_up_results import make_further
from tests.helpers.scoring.report_examples import parse

KINDS = {"flow": "baseline", "flow_8bit": "baseline", "centre": "trivial"}


def render_results(groups, *, results):
    """The HTML of the section of results."""
    view = Results(view_results(groups, results=results))
    return render_template("section_results.html", results=view, files={})


def render_summary(group, comparisons=(), seeds=()):
    """The text of the summary of one table."""
    view = view_summary(
        [group],
        protocol="earshot",
        metric="adaptive_ciou",
        comparisons=comparisons,
        seeds=seeds,
    )
    html = render_template("section_summary.html", summary=view, opening=None, num_cards=0)
    return " ".join(" ".join(parse(html).texts).split())


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
    assert "0.900 at 0.5" not in page

    few = group_results(
        [{**row, "protocol": "htf", "n": 7, "auc": 0.1, "success_rate": 0.2}],
        first_protocol="",
        metric="auc",
    )
    assert "7 samples here, 4,670 there" in " ".join(parse(render_results(few, results={})).texts)


def make_group(scores):
    rows = [
        {"model": name, "kind": KINDS.get(name, "model"), "adaptive_ciou": value}
        for name, value in scores.items()
    ]
    return Group("sample", "single", "earshot", tuple(rows))


def make_comparison(difference, low, high, **fields):
    """Return the paired difference of htf and flow."""
    row = {"first": "htf", "second": "flow", "dataset": "sample", "subset": "single"}
    row |= {"protocol": "earshot", "metric": "adaptive_ciou", "is_best_baseline": True}
    return row | {"difference": difference, "low": low, "high": high, "p_value": 0.0002} | fields


@pytest.mark.parametrize(
    ("comparison", "sentence", "verdict"),
    [
        (
            make_comparison(0.1, 0.05, 0.15),
            "htf is better than flow, the best baseline that needs no training: adaptive cIoU "
            "0.600 against 0.500, a difference of +0.100 [0.050, 0.150], p < 0.001 (paired "
            "bootstrap).",
            "htf better",
        ),
        (make_comparison(-0.1, -0.15, -0.05), "htf is worse than flow", "flow better"),
        (
            make_comparison(0.1, -0.02, 0.2, p_value=0.12),
            "There is no clear difference between htf and flow",
            "no clear difference",
        ),
        (
            make_comparison(0.1, 0.05, 0.15, seed_range=0.2),
            "But runs that differ in the seed alone lie 0.200 apart, so another seed may turn it "
            "round.",
            "htf better",
        ),
    ],
)
def test_summary_tests_the_best_model_against_the_best_baseline(comparison, sentence, verdict):
    group = make_group({"htf": 0.6, "flow": 0.5, "centre": 0.2})
    other = make_comparison(0.4, 0.3, 0.5, second="centre", is_best_baseline=False)
    text = render_summary(group, [other, comparison])
    assert sentence in text
    assert verdict in text
    assert "A map that does not look at the sample (centre) has 0.200." in text


def test_summary_says_what_makes_its_numbers_less_than_they_seem():
    """Means of other samples can contradict their difference; leaks flatter."""
    group = make_group({"htf": 0.5, "flow": 0.6})
    own = {"n": 40, "ids_sha256": "a", "leakage": 3, "selection": "test", "num_groups": 5}
    rows = tuple(
        {**row, **fields}
        for row, fields in zip(group.rows, (own, {"n": 1200, "ids_sha256": "b"}), strict=True)
    )
    text = render_summary(replace(group, rows=rows), [make_comparison(0.1, 0.05, 0.15, n=38)])
    assert "not scored on the same samples (40 and 1,200); the difference is of 38 of both." in text
    assert "htf was trained on 3 of the test clips." in text
    assert "The checkpoint of htf was chosen on the test set." in text
    assert "The samples are of 5 videos; with 5 or fewer, no difference is clear" in text

    fair = [{**row, "ids_sha256": "a", "leakage": 0, "selection": "val"} for row in rows]
    text = render_summary(replace(group, rows=tuple(fair)), [make_comparison(0.1, 0.05, 0.15)])
    assert "same samples" not in text
    assert "test clips" not in text
    assert "chosen on" not in text

    # The sentence of a baseline alone compares nothing.
    alone = tuple({**row, "kind": "baseline"} for row in rows)
    assert "same samples" not in render_summary(replace(group, rows=alone))


def test_summary_without_a_test_or_a_model_says_so():
    above = render_summary(make_group({"htf": 0.6, "flow": 0.5}))
    assert "htf is above flow" in above
    assert "no paired test was made" in above
    assert "htf is not above flow" in render_summary(make_group({"htf": 0.5, "flow": 0.6}))
    untrained = render_summary(make_group({"flow": 0.6, "centre": 0.2}))
    assert "No model was trained. The best baseline is flow: adaptive cIoU 0.600" in untrained
    alone = render_summary(make_group({"htf": 0.6}))
    assert "there is no baseline to compare it with" in alone


def test_summary_says_what_other_seeds_of_the_best_model_reach():
    group = make_group({"htf": 0.6, "flow": 0.5})
    row = {name: getattr(group, name) for name in ("dataset", "subset", "protocol")}
    row |= {"method": "htf", "models": ["htf", "htf_seed1"], "num_seeds": 2}
    row |= {"adaptive_ciou": 0.45, "adaptive_ciou_min": 0.3, "adaptive_ciou_max": 0.6}
    text = render_summary(group, seeds=[row])
    assert "htf is the best of 2 seeds of htf: 0.300 to 0.600, 0.450 on average." in text
    assert "best of 2 seeds, mean 0.450" in text

    for other in ({"subset": "elsewhere"}, {"models": ["ezvsl", "ezvsl_seed1"]}):
        assert "seeds" not in render_summary(group, seeds=[row | other])


def test_next_steps_follow_from_the_results():
    trained, untrained = make_group({"htf": 0.6}), make_group({"flow": 0.6})
    steps = suggest_next_steps([untrained], seeds=(), num_retryable=0)
    assert [step[:13] for step in steps] == ["Train a model"]
    steps = suggest_next_steps([trained], seeds=(), num_retryable=1)
    assert "second `seed`" in steps[0]
    assert steps[1].endswith("may bring 1 missing clip.")
    assert suggest_next_steps([trained], seeds=[{}], num_retryable=0) == ()


def test_untrained_networks_are_not_compared_and_p_has_the_resolution_of_the_bootstrap():
    group = make_group({"htf": 0.6, "flow": 0.5})
    untrained = {"model": "htf_untrained", "kind": "untrained", "adaptive_ciou": 0.1}
    group = Group(group.dataset, group.subset, group.protocol, (*group.rows, untrained))
    rows = [
        make_comparison(0.5, 0.4, 0.6, second="htf_untrained", is_best_baseline=False),
        make_comparison(0.1, 0.05, 0.15, seed_range=0.02),
    ]
    page = render_results([group], results={"comparisons": rows})
    assert "htf minus htf" not in page.replace("<wbr>", "")
    assert "&lt; 0.001" in page
    assert "htf better" in page


def test_seeds_have_a_table_and_their_warnings():
    result = {"model": "htf", "kind": "model", "n": 10, "num_negatives": 4}
    result |= {"adaptive_ciou": 0.6, "average_precision": 0.3}  # the seeds have no precision
    group = Group("sample", "single", "earshot", (result,))
    row = {"dataset": "sample", "subset": "single", "protocol": "earshot", "method": "htf"}
    row |= {"models": ["htf", "htf_1"], "num_seeds": 2, "adaptive_ciou": 0.55}
    row |= {"adaptive_ciou_min": 0.5, "adaptive_ciou_max": 0.6}
    note = {"dataset": "sample", "problem": "seeds", "text": "htf minus ezvsl on single: small."}
    page = render_results([group], results={"seeds": [row], "notes": [note]})
    for text in ("0.550", "0.500 to 0.600", "htf, htf_1", note["text"], "10 samples (4 negatives)"):
        assert text in page
    assert "\N{EN DASH} to" not in page
    assert "trained with one seed" in render_results([group], results={})


def read_further(group, rows):
    page = render_results([group], results={"further": rows})
    return page, " ".join(" ".join(parse(page).texts).split())


def test_further_metrics_have_a_table_each():
    group = make_group({"htf": 0.6})
    kinds = {"htf": "model", "other": "external", "centre": "trivial"}
    page, text = read_further(group, make_further("sample", "single", kinds))
    summary = "Further metrics: Fixed thresholds (ACL), Masks (AVSBench), Several sources"
    assert summary in text
    # 1,249 samples of each model in four tables; a trivial baseline compares no features.
    assert text.count("1,249 of 1,250") == 4 + 4 + 3
    for column in ("IoU@.3", "R@10", "CAP", "mIoU", "one a source", "each map normalized to 0..1"):
        assert column in text, column
    # Nothing of results.json is printed as it is spelled there.
    for name in ("mean_iou", "best_threshold", "map_scale", "frame_to_sound", "None"):
        assert name not in text, name
    assert 'aria-label="AUC by threshold' in page


def test_numbers_of_a_threshold_from_the_test_set_are_marked():
    group = make_group({"htf": 0.6})
    _, text = read_further(group, make_further("sample", "single", {"htf": "model"}))
    for title in ("best of 19 thresholds", "best threshold"):
        assert f"{title} {CHOSEN_ON_TEST}" in text
    assert "as AVGN printed it truth and prediction are swapped" in text
    # The numbers at a threshold that was there before stand apart: .5 is the tenth of 19.
    row = make_further("sample", "single", {"htf": "model"})[0]
    assert f"{row['aucs'][9]:.3f}" in text
    assert text.index("marked from 0.5 on") < text.index("best of 19 thresholds")


def test_a_further_metric_that_could_not_be_computed_is_a_dash():
    group = make_group({"htf": 0.6})
    rows = make_further("sample", "single", {"htf": "model"})
    rows = [row | {"f": None} for row in rows if row["metric"] == "masks"]
    rows += [rows[0] | {"model": "x", "f": 0.4, "mean_iou": math.nan}]
    _, text = read_further(group, rows)
    assert text.count("\N{EN DASH}") >= 2
    assert "nan" not in text


def test_equal_rows_are_best_together_or_none_is():
    rows = [
        {"model": name, "kind": "model", "n": 3, "auc": auc, "mean_ciou": 0.5}
        for name, auc in (("a", 0.3), ("b", 0.3), ("c", 0.1))
    ]
    table = make_table(Group("d", "s", "lvs", tuple(rows)), metrics=["auc", "mean_ciou"])
    found = [[cell.is_best for cell in row.cells] for row in table.rows]
    assert found == [[True, False], [True, False], [False, False]]


def test_pictures_with_several_sounds_are_counted():
    group = make_group({"htf": 0.6})
    numbers = {"num_pictures": 3240, "iiou": 0.1, "iauc": 0.2}
    rows = tuple({**row, **numbers} for row in group.rows)
    page = render_results([replace(group, rows=rows)], results={})
    assert "IIoU and IAUC are of 3,240 pictures with several sounds" in page
    assert "IIoU</th>" in page


def test_why_leakage_is_not_known_is_said():
    group = make_group({"htf": 0.6})
    note = "its pictures are synthetic"
    rows = tuple({**row, "leakage": None, "leakage_note": note} for row in group.rows)
    page = render_results([replace(group, rows=rows)], results={})
    assert note in page
    assert "not known" in page


def test_columns_that_repeat_another_are_left_out():
    row = {"dataset": "d", "subset": "s", "protocol": "earshot", "kind": "model", "n": 3}
    same = [
        {**row, "model": name, "mean_ciou": value, "adaptive_ciou": value, "auc": value + 0.01}
        for name, value in (("a", 0.4), ("b", 0.4))
    ]
    page = render_results([Group("d", "s", "earshot", tuple(same))], results={})
    assert "mean cIoU</th>" not in page
    assert "AUC</th>" not in page
    assert "Mean cIoU is the same as adaptive cIoU under this protocol, and AUC lies" in page
    assert "a and b have the same numbers." in page

    other = [{**one, "mean_ciou": 0.1} for one in same]
    page = render_results([Group("d", "s", "lvs", tuple(other))], results={})
    assert "mean cIoU</th>" in page
    assert "AUC</th>" in page


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
    assert "a was trained on 3 of these test clips" in text
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
    assert "was trained on" not in alike


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
    assert "Above the ceiling: flow_8bit. These maps have many equal values" in page
    # what has marked less of the frame wins nothing
    assert "<strong" not in page
