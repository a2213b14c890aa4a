"""Curves and the tables behind them."""

import csv
import io
import json

import numpy as np
import pytest

from eval.report.charts import Line, draw_lines, pick_ticks
from eval.report.score_charts import THRESHOLDS, SampleScores, success_curves
from eval.report.training_section import read_curves
from tests.helpers.report_examples import MODELS


def test_success_curve_counts_at_or_above():
    values = {
        "m": {
            str(i): {"ciou": value} for i, value in enumerate([0.0, 0.15000000000000002, 0.5, 1.0])
        }
    }
    curve = dict(
        zip(THRESHOLDS, success_curves(SampleScores("d", "p", values), ["m"])["m"], strict=True)
    )
    assert (curve[0.0], curve[0.15], curve[0.2], curve[0.5], curve[0.55], curve[1.0]) == (
        1,
        0.75,
        0.5,
        0.5,
        0.25,
        0.25,
    )


def test_plot_tables(built):
    folder = built[0].reports_dir / "plots" / "success_curve"
    assert {path.stem for path in (folder / "sample_traffic").iterdir()} == set(MODELS)
    rows = list(csv.DictReader(io.StringIO((folder / "sample_single" / "htf.csv").read_text())))
    assert [float(row["threshold"]) for row in rows] == list(THRESHOLDS)
    results = json.loads((built[0].reports_dir / "results.json").read_text())["results"]
    single = next(
        r
        for r in results
        if (r["subset"], r["model"], r["protocol"]) == ("single", "htf", "earshot")
    )
    assert float(rows[10]["success_rate"]) == single["success_rate"]
    reasons = (built[0].reports_dir / "plots" / "missing_reasons.csv").read_text().splitlines()
    assert sorted(reasons[1:]) == ["sample,network,1", "sample,rate_limit,1", "sample,removed,1"]


def test_curves_are_read_with_their_steps(tmp_path):
    folder = tmp_path / "plots" / "metrics" / "val"
    folder.mkdir(parents=True)
    (folder / "loss.tsv").write_text(
        "timestamp\tstep\tloss\n1\t0\t2.5\n2\t10\tnan\n3\t20\tbroken\n4\t30\t1e-3\n"
    )
    steps, values = read_curves(tmp_path)["val/loss"]
    assert steps == [0, 10, 30]
    assert values[0] == 2.5
    assert np.isnan(values[1])
    assert values[2] == 0.001


def test_charts_break_at_values_that_are_not_finite():
    figure = draw_lines(
        [Line("a", [0, 1, 2, 3, 4], [1, 2, float("nan"), 4, 5])],
        title="t",
        x_label="x",
        y_label="y",
    )
    assert figure.count("<polyline") == 2
    assert "nan" not in figure
    assert "no finite value" in draw_lines(
        [Line("a", [0], [float("inf")])], title="t", x_label="x", y_label="y"
    )


def test_ticks_are_round_and_inside():
    assert pick_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert pick_ticks(3, 3) == [3]
    assert pick_ticks(0, 11, is_whole=True) == [0, 3, 6, 9]
    assert pick_ticks(0, 2, is_whole=True) == [0, 1, 2]
