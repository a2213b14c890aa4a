"""The tables that ``dvc plots`` draws."""

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from eval.report.data.inputs import ReportInputs
from eval.report.evaluation import Evaluation, scores_by_subset
from eval.report.sections.availability import count_reasons, find_absent_clips
from eval.report.sections.score_charts import THRESHOLD_LABELS, success_curves

_UNSAFE_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9+._-]+")
_LONGEST_NAME = 100  # letters; a file system takes 255 with all that is added


def make_plot_tables(inputs: ReportInputs, evaluation: Evaluation) -> dict[str, str]:
    """Return tables for ``dvc plots`` by file name: success curves, and why clips are missing.

    DVC draws a file as one line a revision, so there is one file for each test set and model: a
    model is then compared with itself before a change.
    """
    tables = {}
    scored = scores_by_subset(inputs, evaluation)
    folder_of = _name_files(
        {(scores.dataset, subset): f"{scores.dataset}_{subset}" for subset, scores in scored}
    )
    file_of = _name_files({model: model for model in evaluation.models})
    for subset, scores in scored:
        folder = folder_of[scores.dataset, subset]
        for model, values in success_curves(scores, evaluation.models).items():
            path = f"plots/success_curve/{folder}/{file_of[model]}.csv"
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


def _name_files(names: Mapping[Hashable, str]) -> dict[Hashable, str]:
    """Return a file name for each key: its name, and a hash where others could have the same.

    Names come from params.yaml and may hold what a file name cannot: ``a b`` is ``a_b`` then.
    """
    safe = {key: _UNSAFE_IN_FILE_NAME.sub("_", name) for key, name in names.items()}
    # Some file systems do not tell large letters from small ones.
    counts = Counter(name.lower() for name in safe.values())

    file_names = {}
    for key, name in safe.items():
        is_plain = counts[name.lower()] == 1 and len(name) <= _LONGEST_NAME
        digits = f"{zlib.crc32(repr(key).encode()):08x}"
        file_names[key] = name if is_plain else f"{name[:_LONGEST_NAME]}-{digits}"
    return file_names


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
