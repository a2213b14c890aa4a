"""Shapes of charts: gaps, ticks, and the SVG that shows them."""

import pytest

from eval.report.page import render_template
from eval.report.sections.charts import Line, draw_lines, pick_ticks
from eval.report.sections.training_curves import TrainedModel


def render(chart):
    """The HTML of a section that shows one chart."""
    model = TrainedModel("m", facts=(), folded_facts=(), charts=(chart,))
    return render_template("section_training.html", training=[model])


def test_charts_break_at_values_that_are_not_finite():
    line = Line("a", [0, 1, 2, 3, 4], [1, 2, float("nan"), 4, 5])
    figure = render(draw_lines([line], title="t", x_label="x", y_label="y"))
    assert figure.count("<polyline") == 2
    assert "nan" not in figure

    nothing = draw_lines([Line("a", [0], [float("inf")])], title="t", x_label="x", y_label="y")
    assert nothing.is_empty
    assert "t: there is no finite value to draw." in render(nothing)


def test_a_single_point_is_a_dot():
    figure = render(draw_lines([Line("a", [3], [0.5])], title="t", x_label="x", y_label="y"))
    assert figure.count("<circle") == 1
    assert "<polyline" not in figure


def test_ticks_are_round_and_inside():
    assert pick_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert pick_ticks(3, 3) == [3]
    assert pick_ticks(0, 11, is_whole=True) == [0, 3, 6, 9]
    assert pick_ticks(0, 2, is_whole=True) == [0, 1, 2]
