"""Shapes of charts: gaps, ticks, and the SVG that shows them."""

import pytest

from eval.report.page import render_template
from eval.report.sections.charts import Line, Mark, draw_lines, pick_ticks
from eval.report.sections.training_curves import TrainedModel


def render(chart):
    """The HTML of a section that shows one chart."""
    model = TrainedModel("m", identity=(), facts=(), folded_facts=(), charts=(chart,))
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
    assert figure.count('<circle cx="58.0" cy="131.0" r="3"') == 1
    assert "<polyline" not in figure


def test_ticks_are_round_and_inside():
    assert pick_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert pick_ticks(3, 3) == [3]
    assert pick_ticks(0, 11, is_whole=True) == [0, 3, 6, 9]
    assert pick_ticks(0, 2, is_whole=True) == [0, 1, 2]


def test_points_say_their_values_without_a_script():
    chart = draw_lines(
        [Line("a", [0, 0.5, 1], [0.2, 0.4, 0.6])], title="t", x_label="x", y_label="y"
    )
    assert [tip.text for tip in chart.tips] == ["a: 0.200 at 0", "a: 0.400 at 0.5", "a: 0.600 at 1"]
    assert "<title>a: 0.400 at 0.5</title>" in render(chart)

    # a long curve has a tooltip for some of its points
    long = Line("a", list(range(300)), list(range(300)))
    assert len(draw_lines([long], title="t", x_label="x", y_label="y").tips) <= 40


def test_lines_are_named_where_they_are_apart_or_else_in_a_legend():
    xs = [0, 1, 2, 3]
    apart = [Line("upper", xs, [0, 5, 9, 0]), Line("lower", xs, [0, 3, 4, 0])]
    chart = draw_lines(apart, title="t", x_label="x", y_label="y")
    assert [label.text for label in chart.labels] == ["upper", "lower"]
    assert chart.labels[0].y < chart.labels[1].y
    assert 'class="legend"' not in render(chart)

    alike = [Line("one", xs, [0, 5, 9, 0]), Line("two", xs, [0, 5, 9, 0])]
    chart = draw_lines(alike, title="t", x_label="x", y_label="y")
    assert chart.labels == ()
    assert 'class="legend"' in render(chart)


def test_marks_are_upright_lines_within_the_chart():
    line = Line("a", [0.0, 1.0], [0.0, 1.0])
    chart = draw_lines([line], title="t", x_label="x", y_label="y", marks=[Mark("limit", 2.0)])
    assert chart.marks[0].x == chart.right
    assert 'class="mark-line"' in render(chart)
