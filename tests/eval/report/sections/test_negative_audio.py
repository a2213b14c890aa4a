"""Negative audio on the page: the numbers of results.json, and where the threshold lies."""

import numpy as np
import pytest

from eval.report.page import render_template
from eval.report.sections.negative_audio import view_negative_audio
from tests.helpers.scoring.made_up_results import make_negative_audio
from tests.helpers.scoring.report_examples import parse


def make_rows(*models):
    rng = np.random.default_rng(0)
    return [make_negative_audio("sample", "single", model, rng) for model in models]


def render(rows, notes=()):
    html = render_template(
        "section_silence.html", silence=view_negative_audio(rows), silence_notes=notes
    )
    return " ".join(" ".join(parse(html).texts).split()), html


def test_the_table_has_the_numbers_and_says_where_the_threshold_comes_from():
    (table,) = view_negative_audio(make_rows("htf", "ezvsl"))
    text, _ = render(make_rows("htf", "ezvsl"))
    assert "thresholds from 20 samples of sample/val" in text
    assert table.rows[0].threshold == "0.520"
    cells = dict(zip(table.titles, table.rows[0].cells, strict=True))
    assert (cells["F_LOC"].value, cells["F_LOC"].interval) == (0.53, "[0.460, 0.570]")
    assert cells["F_LOC"].is_best
    # nobody is better where all are equal
    assert not cells["marked, silence"].is_best
    assert "agreement, offscreen" in table.more_titles


def test_marking_less_is_better():
    rows = make_rows("htf", "ezvsl")
    rows[1]["pia_noise"] = 0.01
    (table,) = view_negative_audio(rows)
    place = table.titles.index("marked, noise")
    assert [row.cells[place].is_best for row in table.rows] == [False, True]


def test_the_chart_shows_each_kind_and_the_threshold():
    (table,) = view_negative_audio(make_rows("htf"))
    (chart,) = table.charts
    names = [entry.name for entry in chart.legend]
    assert names == ["its own sound", "silence", "noise", "offscreen sound"]
    assert chart.marks[0].text == "threshold 0.520"
    # 0.52 of an axis from -0.2 to 1.0
    place = (chart.marks[0].x - chart.left) / (chart.right - chart.left)
    assert abs(place - 0.72 / 1.2) < 0.01
    # a bin of 20 is a step: both of its ends have its share
    points = chart.strokes[0].points
    assert len(points) == 40
    assert all(points[i][1] == points[i + 1][1] for i in range(0, 40, 2))
    # its value is said in its middle
    tips = [tip for tip in chart.tips if tip.text.startswith("silence:")]
    assert len(tips) == 20
    assert tips[0].x == pytest.approx((points[0][0] + points[1][0]) / 2, abs=0.06)


def test_a_run_without_offscreen_sound_or_without_any_says_so():
    rows = make_rows("htf")
    for name in [name for name in rows[0] if name.endswith("offscreen")]:
        del rows[0][name]
    (table,) = view_negative_audio(rows)
    assert not any("offscreen" in title for title in (*table.titles, *table.more_titles))
    text, _ = render([], notes=["traffic is left out."])
    assert "Nothing was scored with silence, noise or offscreen sound" in text
    assert "traffic is left out." in text
