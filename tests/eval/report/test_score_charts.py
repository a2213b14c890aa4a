"""Success rates over thresholds, on the page and in the tables of its plots."""

import csv
import io
import json

from eval.report.score_charts import THRESHOLDS, SampleScores, success_curves
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
