"""The tables that ``dvc plots`` draws."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from eval.report.data.inputs import ReportInputs
from eval.report.evaluation import Evaluation, scores_by_subset
from eval.report.sections.availability import count_reasons, find_absent_clips
from eval.report.sections.score_charts import THRESHOLD_LABELS, success_curves

_UNSAFE_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9+._-]+")


def make_plot_tables(inputs: ReportInputs, evaluation: Evaluation) -> dict[str, str]:
    """Return tables for ``dvc plots`` by file name: success curves, and why clips are missing.

    DVC draws a file as one line a revision, so there is one file for each test set and model: a
    model is then compared with itself before a change.
    """
    tables = {}
    for subset, scores in scores_by_subset(inputs, evaluation):
        for model, values in success_curves(scores, evaluation.models).items():
            # Names come from params.yaml and may hold what a file name cannot.
            dataset, subset_name, model_name = (
                _UNSAFE_IN_FILE_NAME.sub("_", name) for name in (scores.dataset, subset, model)
            )
            path = f"plots/success_curve/{dataset}_{subset_name}/{model_name}.csv"
            points = zip(THRESHOLD_LABELS, values, strict=True)
            tables[path] = _write_csv(["threshold", "success_rate"], points)

    # Pending clips that have a reason are counted too, as on the page.
    reasons = [
        (dataset.name, row.reason, row.num_clips)
        for dataset in inputs.datasets
        for row in count_reasons(find_absent_clips(dataset))
    ]
    tables["plots/missing_reasons.csv"] = _write_csv(["dataset", "reason", "num_clips"], reasons)
    return tables


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
