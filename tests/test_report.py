"""The report without a browser: its numbers, its accounts, its bytes, and text that tries to be markup."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_examples import MODELS, write_project

from eval.report import ReportParameters, build_report, exports, gallery, load_inputs, sound
from eval.report.availability import count_clips, count_features, count_reasons
from eval.report.breakdowns import THRESHOLDS, SampleScores, success_curves
from eval.report.charts import Line, draw_lines, pick_ticks
from eval.report.markup import breakable, element, embed_json, escape
from eval.report.results_section import render_results, render_summary
from eval.report.rows import Group, group_results, kind_of, metrics_in, title_of, with_ceilings
from eval.report.training import read_curves
from pipeline.errors import DataError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'"


class PageParser(HTMLParser):
    """Collects tags, texts of the page and the content of the JSON block."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.stack, self.unclosed, self.texts = [], [], [], [], []
        self._void = {"meta", "link", "img", "input", "br", "wbr", "hr"}
        self._in_json, self.json_text = False, ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self._void:
            self.stack.append(tag)
        self._in_json = tag == "script" and ("id", "gallery-data") in attrs

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            self.unclosed.append((tag, self.stack[-3:]))
        else:
            self.stack.pop()

    def handle_data(self, data):
        if self._in_json:
            self.json_text += data
        else:
            self.texts.append(data)


def parse(text):
    parser = PageParser()
    parser.feed(text)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    project = write_project(tmp_path_factory.mktemp("report"), num_samples=12)
    inputs = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    paths = build_report(inputs, ReportParameters(num_gallery_samples=12), project.reports_dir)
    return project, inputs, paths


def test_page_is_one_well_formed_file_that_asks_for_nothing_outside(built):
    text = built[2].page.read_text()
    page = parse(text)
    assert page.unclosed == []
    assert page.stack == []
    outside = [
        (tag, name, value)
        for tag, name, value in page.attributes
        if name in ("src", "href", "action", "poster", "srcset", "data") and not value.startswith(("#", "data:"))
    ]
    assert outside == []
    assert "@import" not in text
    assert "url(" not in text
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; script-src 'unsafe-inline'")
    assert "http" not in policy
    assert "*" not in policy


def test_page_has_headings_captions_and_labels(built):
    page = parse(built[2].page.read_text())
    assert page.tags.count("h1") == 1
    ids = {value for _, name, value in page.attributes if name == "id"}
    anchors = {value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
    assert anchors <= ids
    assert page.tags.count("caption") == page.tags.count("table") > 5
    fields = {value for tag, name, value in page.attributes if tag in ("select", "input") and name == "id"}
    labelled = {value for tag, name, value in page.attributes if (tag, name) == ("label", "for")}
    assert fields == labelled
    assert len(fields) == 9


def test_published_numbers_stand_beside_ours_with_why_they_may_not_be_compared():
    from eval.published import PUBLISHED
    from eval.report.results_section import render_results

    row = {"model": "htf", "dataset": "vggsound", "subset": "htf_vggss_test", "n": 4670, "num_requested": 4670}
    rows = [
        {**row, "protocol": protocol, "success_rate": 0.39, "auc": 0.4, "leakage": 0} for protocol in ("earshot", "htf")
    ]
    groups = group_results(rows, first_protocol="earshot", metric="auc")
    text = " ".join(parse(render_results(groups, results={})).texts)
    published = next(p for p in PUBLISHED if p.test_set == "vggss_htf")
    assert published.method in text
    assert f"{published.success_rate:.3f} at 0.5" in text
    assert f"not comparable: there: {published.caveat}" in text
    assert "LVS" not in text
    few = group_results(
        [{**row, "protocol": "htf", "n": 7, "auc": 0.1, "success_rate": 0.2}], first_protocol="", metric="auc"
    )
    assert "7 samples here, 4,670 there" in " ".join(parse(render_results(few, results={})).texts)


def test_summary_says_when_a_baseline_is_above_the_best_model():
    scores = {"htf": 0.5, "flow": 0.6, "centre": 0.2}
    for model, is_said in (("flow", True), ("centre", False)):
        rows = [{"model": name, "adaptive_ciou": value} for name, value in scores.items() if name in ("htf", model)]
        group = Group("sample", "single", "earshot", tuple(rows))
        text = re.sub("<[^>]+>", "", str(render_summary([group], protocol="earshot", metric="adaptive_ciou")))
        assert "best model: htf" in text
        assert f"{model} {scores[model]:.3f}" in text
        assert ("it is above the model" in text) is is_said
    untrained = Group("sample", "single", "earshot", ({"model": "flow", "adaptive_ciou": 0.6},))
    text = str(render_summary([untrained], protocol="earshot", metric="adaptive_ciou"))
    assert "no model is trained; best baseline: flow" in text


def test_rows_on_other_samples_and_leaking_rows_are_pointed_out():
    from eval.report.results_section import render_group

    row = {
        "model": "a",
        "n": 5,
        "num_requested": 6,
        "ids_sha256": "11",
        "leakage": 3,
        "auc": 0.5,
        "missing": {"removed": 1},
    }
    text = " ".join(parse(render_group(Group("d", "s", "p", (row, {**row, "model": "b", "ids_sha256": "22"})))).texts)
    assert "not computed on the same samples" in text
    assert "a was trained on 3 of these test samples" in text
    assert "removed 1" in text
    alike = " ".join(parse(render_group(Group("d", "s", "p", ({**row, "leakage": 0},)))).texts)
    assert "same samples" not in alike
    assert "trained on" not in alike


def test_same_inputs_give_the_same_bytes(built, tmp_path):
    project, _, paths = built
    again = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    other = build_report(again, ReportParameters(num_gallery_samples=12), tmp_path)
    assert other.page.read_bytes() == paths.page.read_bytes()
    for first, second in zip(paths.tables, other.tables, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_availability_adds_up(built):
    dataset = built[1].datasets[0]
    rows = {row["split"]: row for row in count_clips(dataset)}
    assert rows["all"] == {"split": "all", "requested": 15, "ok": 12, "missing": 2, "pending": 1}
    assert rows["train"]["missing"] == 2
    assert rows["train"]["ok"] == 0
    for row in rows.values():
        assert row["requested"] == row["ok"] + row["missing"] + row["pending"]
    reasons = {row["reason"]: row for row in count_reasons(dataset)}
    assert sum(row["num_clips"] for row in reasons.values()) == 3
    assert reasons["removed"]["advice"].startswith("permanent")
    assert reasons["network"]["advice"].startswith("worth a retry")
    for row in count_features(dataset):
        assert row["requested"] == row["ok"] + row["missing"] + row["failed"] + row["absent"] == 14
        assert row["reasons"] == {"corrupt": 1}


def test_clips_without_a_download_record_are_pending(built):
    from dataclasses import replace

    dataset = replace(built[1].datasets[0], downloads=None)
    assert count_clips(dataset)[0] == {"split": "all", "requested": 15, "ok": 0, "missing": 0, "pending": 15}


def test_text_from_data_never_becomes_markup(tmp_path):
    ids = [f"{HOSTILE} {number}" for number in range(6)]
    project = write_project(tmp_path, num_samples=6, labels=(HOSTILE, "b"), ids=ids)
    inputs = load_inputs(project, datasets=["sample"], models=["htf"])
    inputs.results["results"][0]["selection"] = HOSTILE
    paths = build_report(inputs, ReportParameters(num_gallery_samples=6, has_sound=False), tmp_path / "out")
    page = parse(paths.page.read_text())
    assert page.unclosed == []
    assert page.tags.count("script") == 2
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert not any((tag, name, value) == ("img", "src", "x") for tag, name, value in page.attributes)
    assert any(HOSTILE in text for text in page.texts)
    assert {card["id"] for card in json.loads(page.json_text)["samples"]} == set(ids)
    assert HOSTILE not in (tmp_path / "out" / "results.md").read_text()


def test_markup_escapes_and_json_cannot_end_its_script():
    assert element("p", "<b>&", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;&amp;</p>'
    assert element("input", checked=True, class_=None, value=0) == '<input checked value="0">'
    assert element("p", escape("<"), [None, element("b", "x")]) == "<p>&lt;<b>x</b></p>"
    assert breakable("a_<b") == "a_<wbr>&lt;b"
    block = embed_json({"a": "</script><!--\u2028"}, element_id="d")
    assert block.count("<") == 2
    assert json.loads(re.sub(r"</?script[^>]*>", "", block)) == {"a": "</script><!--\u2028"}
    with pytest.raises(ValueError, match="JSON compliant"):
        embed_json(float("nan"), element_id="d")


def test_absent_inputs_become_notes(tmp_path):
    project = write_project(tmp_path, num_samples=4, has_maps=False)
    for feature in ("frames", "flow"):
        (project.feature_dir("sample", feature) / "index.parquet").unlink()
    project.downloads_table_path("sample").unlink()
    inputs = load_inputs(project, datasets=["sample"], models=["htf"])
    paths = build_report(inputs, ReportParameters(), tmp_path / "out")
    text = paths.page.read_text()
    for expected in (
        "results.json is not there",
        "scores.parquet is not there",
        "run.json is not there",
        "training/htf is not there",
        "cache/sample/frames is not there",
        "downloads.parquet is not there",
    ):
        assert expected in text
    assert parse(text).unclosed == []
    assert (tmp_path / "out" / "results.csv").read_text().startswith("dataset,subset,protocol,model,kind")


def test_damaged_inputs_are_one_sentence(built, tmp_path):
    project = write_project(tmp_path, num_samples=2)
    project.maps_path("sample", "htf").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"htf\.npz: not a readable \.npz file"):
        build_report(load_inputs(project, datasets=["sample"], models=[]), ReportParameters(), tmp_path / "out")
    assert not (tmp_path / "out" / "index.html").exists()
    (project.reports_dir / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"results\.json: not valid JSON"):
        load_inputs(project, datasets=["sample"], models=[])


def test_plots_of_models_that_are_gone_go_too(tmp_path):
    project = write_project(tmp_path, num_samples=2)
    old = project.reports_dir / "plots" / "success_curve" / "sample_single" / "old.csv"
    old.parent.mkdir(parents=True)
    old.write_text("threshold,success_rate\n")
    inputs = load_inputs(project, datasets=["sample"], models=[])
    build_report(inputs, ReportParameters(num_gallery_samples=0), project.reports_dir)
    assert sorted(path.stem for path in old.parent.iterdir()) == sorted(MODELS)


def test_gallery_parameters_are_checked():
    with pytest.raises(ValueError, match=r"num_gallery_samples \(-1\) must be >= 0"):
        ReportParameters(num_gallery_samples=-1)


def test_best_worst_and_median_come_first(built):
    dataset = built[1].datasets[0]
    ids = [f"s{number:05d}" for number in range(12)]
    values = {name: {"adaptive_ciou": number / 12} for number, name in enumerate(ids)}
    scores = SampleScores("sample", "earshot", {"m": values})
    chosen = gallery.choose_samples(dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=6)
    # six samples of each subset: even numbers are single, odd ones traffic
    assert chosen == {
        "s00010": ["m: best of test, single"],
        "s00011": ["m: best of test, traffic"],
        "s00000": ["m: worst of test, single"],
        "s00001": ["m: worst of test, traffic"],
        "s00004": ["m: median of test, single"],
        "s00005": ["m: median of test, traffic"],
    }
    everything = gallery.choose_samples(dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=100)
    assert set(everything) == set(ids)
    assert gallery.choose_samples(dataset, scores, models=["m"], metric="adaptive_ciou", num_wanted=0) == {}


def test_a_dataset_without_scores_shows_what_has_maps(built):
    dataset = built[1].datasets[0]
    chosen = gallery.choose_samples(
        dataset, SampleScores("sample", "earshot", {}), models=[], metric="adaptive_ciou", num_wanted=5
    )
    assert len(chosen) == 5
    assert all(roles == [] for roles in chosen.values())


def test_cards_hold_what_the_gallery_draws(built):
    page = parse(built[2].page.read_text())
    data = json.loads(page.json_text)
    assert set(data["models"]) == {*MODELS, "ceiling"}
    assert len(data["samples"]) == 12
    card = data["samples"][0]
    assert card["size"] == [320, 240]
    assert set(card["maps"]) == set(MODELS)
    assert card["absent"] == []
    import base64

    import cv2

    frame = cv2.imdecode(np.frombuffer(base64.b64decode(card["frame"]), np.uint8), cv2.IMREAD_COLOR)
    assert frame.shape == (240, 320, 3)
    grid = np.frombuffer(base64.b64decode(card["maps"]["htf"]["data"]), np.uint8)
    with np.load(built[0].maps_path("sample", "htf")) as archive:
        row = archive["sample_ids"].tolist().index(card["id"])
        expected = archive["maps"][row]
    expected = (expected - expected.min()) / np.ptp(expected)
    assert np.abs(grid.reshape(7, 7) / 255 - expected).max() < 0.003
    assert base64.b64decode(card["sound"])[0] == 0xFF  # an MPEG audio frame begins with eleven set bits


def test_what_a_card_cannot_show_has_its_reason(tmp_path):
    project = write_project(tmp_path, num_samples=3)
    for path in project.clips_dir("sample").iterdir():
        path.unlink()
    with np.load(project.maps_path("sample", "htf")) as archive:
        maps = archive["maps"].copy()
        sample_ids = archive["sample_ids"]
    maps[:] = np.nan
    np.savez(project.maps_path("sample", "htf"), sample_ids=sample_ids, maps=maps)
    (project.feature_dir("sample", "flow") / "index.parquet").unlink()
    inputs = load_inputs(project, datasets=["sample"], models=[])
    paths = build_report(inputs, ReportParameters(), tmp_path / "out")
    for card in json.loads(parse(paths.page.read_text()).json_text)["samples"]:
        assert card["absent"] == ["sound: the clip is not on this machine", "flow: not cached on this machine"]
        assert card["maps"]["htf"]["note"] == "holds NaN"


def test_mp3_has_the_length_and_the_pitch_of_the_sound():
    import av

    rate, seconds = sound.SAMPLE_RATE, 3.0
    times = np.arange(round(rate * seconds)) / rate
    data = sound.encode_mp3(0.5 * np.sin(2 * np.pi * 440 * times))
    assert data == sound.encode_mp3(0.5 * np.sin(2 * np.pi * 440 * times))
    assert len(data) < 7000
    with av.open(io.BytesIO(data)) as container:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(len(decoded) / rate - seconds) < 0.2
    middle = decoded[len(decoded) // 3 : 2 * len(decoded) // 3]
    peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))))
    assert abs(peak * rate / len(middle) - 440) < 3


def test_success_curve_counts_at_or_above():
    values = {"m": {str(i): {"ciou": value} for i, value in enumerate([0.0, 0.15000000000000002, 0.5, 1.0])}}
    curve = dict(zip(THRESHOLDS, success_curves(SampleScores("d", "p", values), ["m"])["m"], strict=True))
    assert (curve[0.0], curve[0.15], curve[0.2], curve[0.5], curve[0.55], curve[1.0]) == (1, 0.75, 0.5, 0.5, 0.25, 0.25)


def test_rows_are_ordered_models_first_and_ceilings_join():
    results = [
        {"model": name, "dataset": "d", "subset": "s", "protocol": p, "mean_ciou": value}
        for p in ("lvs", "earshot")
        for name, value in (("centre", 0.9), ("a", 0.2), ("flow", 0.5), ("b", 0.3))
    ]
    ceilings = [{"dataset": "d", "subset": "s", "protocol": "lvs", "n": 4, "mean_ciou": 1.0}]
    groups = group_results(
        with_ceilings({"results": results, "ceilings": ceilings}), first_protocol="earshot", metric="mean_ciou"
    )
    assert [group.protocol for group in groups] == ["earshot", "lvs"]
    assert [row["model"] for row in groups[1].rows] == ["b", "a", "flow", "centre", "ceiling"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("htf", "model"),
        ("flowgrad_h", "model"),
        ("flow", "baseline"),
        ("flow_htf", "baseline"),
        ("vision_only+cf+tf", "baseline"),
        ("untrained_htf", "untrained"),
        ("random", "trivial"),
        ("ceiling", "ceiling"),
    ],
)
def test_kinds_of_rows(name, kind):
    assert kind_of(name) == kind


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
    row = {"dataset": "urbansas", "subset": "urbansas_test", "protocol": "flowgrad", "success_at": 0.3, "n": 94}
    results = [
        {**row, "model": "flow", "success_rate": 0.181, "success_rate_at_30": 0.447, "auc": 0.294, "mean_ciou": 0.3}
    ]
    groups = group_results(results, first_protocol="flowgrad", metric="auc")
    page = str(render_results(groups, results={}))
    for text in (page, exports.write_markdown(groups), exports.write_latex(groups)):
        assert text.index("0.447") < text.index("0.181")
        assert "success at 0.3 (as published)" in text
    (line,) = csv.DictReader(io.StringIO(exports.write_csv(groups)))
    assert (line["success_at"], line["success_rate_at_30"], line["success_rate"]) == ("0.3", "0.447", "0.181")
    assert "0.330 at 0.3" in page  # the paper's flow baseline, and ours beside it at the same ciou
    assert "0.447 at 0.3" in page


def test_rows_above_the_ceiling_are_explained():
    row = {"dataset": "urbansas", "subset": "urbansas_test", "protocol": "lvs", "n": 94}
    results = {
        "results": [
            {**row, "model": name, "mean_ciou": value} for name, value in (("flow_8bit", 0.3), ("centre", 0.1))
        ],
        "ceilings": [{**row, "mean_ciou": 0.18}],
    }
    page = str(
        render_results(group_results(with_ceilings(results), first_protocol="lvs", metric="auc"), results=results)
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
    row = {"model": "a_b&c%#${}~^\\<", "n": 3, "mean_ciou": None}
    latex = exports.write_latex([Group("d", "s", "p", (row,))])
    assert r"a\_b\&c\%\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}" in latex


def test_markdown_cells_cannot_break_the_table():
    row = {"model": "a|b\n<i>", "n": 3, "mean_ciou": 0.5}
    lines = exports.write_markdown([Group("d", "s", "p", (row,))]).splitlines()
    assert lines[-1].startswith(r"| a\|b \<i\> | 0.500 |")


def test_plot_tables(built):
    folder = built[0].reports_dir / "plots" / "success_curve"
    assert {path.stem for path in (folder / "sample_traffic").iterdir()} == set(MODELS)
    rows = list(csv.DictReader(io.StringIO((folder / "sample_single" / "htf.csv").read_text())))
    assert [float(row["threshold"]) for row in rows] == list(THRESHOLDS)
    results = json.loads((built[0].reports_dir / "results.json").read_text())["results"]
    single = next(r for r in results if (r["subset"], r["model"], r["protocol"]) == ("single", "htf", "earshot"))
    assert float(rows[10]["success_rate"]) == single["success_rate"]
    reasons = (built[0].reports_dir / "plots" / "missing_reasons.csv").read_text().splitlines()
    assert sorted(reasons[1:]) == ["sample,network,1", "sample,rate_limit,1", "sample,removed,1"]


def test_curves_are_read_with_their_steps(tmp_path):
    folder = tmp_path / "plots" / "metrics" / "val"
    folder.mkdir(parents=True)
    (folder / "loss.tsv").write_text("timestamp\tstep\tloss\n1\t0\t2.5\n2\t10\tnan\n3\t20\tbroken\n4\t30\t1e-3\n")
    steps, values = read_curves(tmp_path)["val/loss"]
    assert steps == [0, 10, 30]
    assert values[0] == 2.5
    assert np.isnan(values[1])
    assert values[2] == 0.001


def test_charts_break_at_values_that_are_not_finite():
    figure = draw_lines([Line("a", [0, 1, 2, 3, 4], [1, 2, float("nan"), 4, 5])], title="t", x_label="x", y_label="y")
    assert figure.count("<polyline") == 2
    assert "nan" not in figure
    assert "no finite value" in draw_lines([Line("a", [0], [float("inf")])], title="t", x_label="x", y_label="y")


def test_ticks_are_round_and_inside():
    assert pick_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert pick_ticks(3, 3) == [3]
    assert pick_ticks(0, 11, is_whole=True) == [0, 3, 6, 9]
    assert pick_ticks(0, 2, is_whole=True) == [0, 1, 2]
