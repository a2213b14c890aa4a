"""The page without a browser: its accounts, its bytes, what is absent, and text that tries to be markup."""

import json
import re
from dataclasses import replace

import pyarrow as pa
import pytest

from earshot.errors import DataError
from eval.report import ReportParameters, build_report, load_inputs
from eval.report.availability import count_clips, count_features, count_reasons
from eval.report.markup import breakable, element, embed_json, escape
from eval.results.files import write_results
from tests.helpers.report_examples import MODELS, parse, write_project

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'"


def test_page_is_one_well_formed_file_that_asks_for_nothing_outside(built):
    text = built[2].page.read_text()
    page = parse(text)
    assert page.unclosed == []
    assert page.stack == []
    outside = [
        (tag, name, value)
        for tag, name, value in page.attributes
        if name in ("src", "href", "action", "poster", "srcset", "data")
        and not value.startswith(("#", "data:"))
    ]
    assert outside == []
    assert "@import" not in text
    assert "url(" not in text
    policy = next(
        value for _, name, value in page.attributes if name == "content" and "default-src" in value
    )
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
    fields = {
        value for tag, name, value in page.attributes if tag in ("select", "input") and name == "id"
    }
    labelled = {value for tag, name, value in page.attributes if (tag, name) == ("label", "for")}
    assert fields == labelled
    assert len(fields) == 9


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


def test_what_was_confirmed_is_permanent(built):
    dataset = built[1].datasets[0]
    clip_ids = dataset.clips["clip_id"].to_pylist()[:2]
    for is_last_confirmed, advice in ((True, "permanent"), (False, "once more on another day")):
        rows = [
            {"clip_id": name, "status": "missing", "reason": "corrupt", "detail": "noise"}
            | {"is_confirmed": is_confirmed}
            for name, is_confirmed in zip(clip_ids, (True, is_last_confirmed), strict=True)
        ]
        [row] = count_reasons(replace(dataset, downloads=pa.Table.from_pylist(rows)))
        assert row["advice"].startswith(advice)


def test_a_dataset_without_a_test_set_is_not_told_that_evaluate_has_not_run(tmp_path):
    project = write_project(tmp_path, dataset="local", has_maps=False)
    write_results(project.reports_dir, scores=[])
    inputs = load_inputs(project, datasets=["local"], models=[])
    page = build_report(
        inputs, ReportParameters(num_gallery_samples=0), tmp_path / "out"
    ).page.read_text()
    assert "Nothing was scored: evaluate.subsets of params.yaml names no test set of local." in page
    assert "the stage evaluate has not run" not in page


def test_clips_without_a_download_record_are_pending(built):
    dataset = replace(built[1].datasets[0], downloads=None)
    assert count_clips(dataset)[0] == {
        "split": "all",
        "requested": 15,
        "ok": 0,
        "missing": 0,
        "pending": 15,
    }


def test_text_from_data_never_becomes_markup(tmp_path):
    ids = [f"{HOSTILE} {number}" for number in range(6)]
    project = write_project(tmp_path, num_samples=6, labels=(HOSTILE, "b"), ids=ids)
    inputs = load_inputs(project, datasets=["sample"], models=["htf"])
    inputs.results["results"][0]["selection"] = HOSTILE
    paths = build_report(
        inputs, ReportParameters(num_gallery_samples=6, has_sound=False), tmp_path / "out"
    )
    page = parse(paths.page.read_text())
    assert page.unclosed == []
    assert page.tags.count("script") == 2
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert not any(
        (tag, name, value) == ("img", "src", "x") for tag, name, value in page.attributes
    )
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
    assert (
        (tmp_path / "out" / "results.csv")
        .read_text()
        .startswith("dataset,subset,protocol,model,kind")
    )


def test_damaged_inputs_are_one_sentence(built, tmp_path):
    project = write_project(tmp_path, num_samples=2)
    project.maps_path("sample", "htf").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"htf\.npz: not a readable \.npz file"):
        build_report(
            load_inputs(project, datasets=["sample"], models=[]),
            ReportParameters(),
            tmp_path / "out",
        )
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
