"""The page's HTML without a browser: well formed, closed to the outside, text stays text."""

import json
import re

import pytest
from jinja2 import UndefinedError

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.report.page import make_breakable, render_template
from tests.helpers.scoring.report_examples import parse, write_project

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'"


def test_page_is_one_well_formed_file_without_outside_links(built):
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
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    # the gallery's state stands behind its name
    anchors = {link[1:].split("?")[0] for link in links if link.startswith("#")}
    assert anchors <= ids
    assert page.tags.count("caption") == page.tags.count("table") > 5
    fields = {
        value for tag, name, value in page.attributes if tag in ("select", "input") and name == "id"
    }
    labelled = {value for tag, name, value in page.attributes if (tag, name) == ("label", "for")}
    assert fields == labelled
    assert len(fields) == 11


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


def test_names_may_be_broken_after_underscores():
    assert make_breakable("a_<b") == "a_<wbr>&lt;b"


def test_json_cannot_end_its_script():
    def render(value):
        names = ("policy", "css", "script", "dataset_names", "scope", "hardware", "run")
        views = dict.fromkeys(names, "") | {"run": {"software_line": ""}}
        page = render_template("page.html", sections=(), gallery_data=value, **views)
        return re.search(r'<script type="application/json" id="gallery-data">(.*)</script>', page)

    value = {"a": "</script><!--\u2028&"}
    text = render(value)[1]
    assert "<" not in text
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        render(float("nan"))


def test_a_template_refuses_a_missing_value():
    with pytest.raises(UndefinedError, match="'protocols' is undefined"):
        render_template("section_protocols.html")
