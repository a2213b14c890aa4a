"""Success rates over thresholds, on the page and in the tables of its plots."""

import csv
import io
import json

import numpy as np

from eval.report.data.sample_scores import SampleScores
from eval.report.sections.score_charts import THRESHOLD_LABELS, success_curves
from eval.scoring.metrics import AUC_THRESHOLDS, auc
from tests.helpers.scoring.report_examples import MODELS


def curve_of(cious):
    values = {"m": {str(i): {"ciou": value} for i, value in enumerate(cious)}}
    return success_curves(SampleScores("d", "p", values), ["m"])["m"]


def test_success_curve_counts_at_or_above():
    curve = dict(zip(THRESHOLD_LABELS, curve_of([0.0, 0.15000000000000002, 0.5, 1.0]), strict=True))
    assert (curve[0.0], curve[0.15], curve[0.2], curve[0.5], curve[0.55], curve[1.0]) == (
        1,
        0.75,
        0.5,
        0.5,
        0.25,
        0.25,
    )


def test_the_area_under_the_curve_is_the_auc():
    """Both count at 0.05 * i, which is not always the number that is read."""
    cious = [0.15, 0.3, 0.35, 0.6, 0.7, 0.85]
    assert np.trapezoid(curve_of(cious), AUC_THRESHOLDS) == auc(np.array(cious))
    assert (*(i / 20 for i in range(20)), 1.0) == THRESHOLD_LABELS


def test_plot_tables(built):
    folder = built[0].reports_dir / "plots" / "success_curve"
    assert {path.stem for path in (folder / "sample_traffic").iterdir()} == set(MODELS)
    rows = list(csv.DictReader(io.StringIO((folder / "sample_single" / "htf.csv").read_text())))
    assert [float(row["threshold"]) for row in rows] == list(THRESHOLD_LABELS)
    results = json.loads((built[0].reports_dir / "results.json").read_text())["results"]
    single = next(
        r
        for r in results
        if (r["subset"], r["model"], r["protocol"]) == ("single", "htf", "earshot")
    )
    assert float(rows[10]["success_rate"]) == single["success_rate"]
    reasons = (built[0].reports_dir / "plots" / "missing_reasons.csv").read_text().splitlines()
    assert sorted(reasons[1:]) == ["sample,network,1", "sample,rate_limit,1", "sample,removed,1"]
