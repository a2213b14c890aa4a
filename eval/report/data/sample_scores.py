"""The scores of single samples, as the curves, the gallery and the opening need them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SCORE_COLUMNS = ("ciou", "adaptive_ciou", "pointing")
_COLUMN_OF_METRIC = {
    "mean_ciou": "ciou",
    "success_rate": "ciou",
    "auc": "ciou",
    "pointing_accuracy": "pointing",
}


@dataclass(frozen=True)
class SampleScores:
    """Scores of one dataset under one protocol.

    ``values[model][sample_id]`` maps names of ``SCORE_COLUMNS`` to numbers.
    """

    dataset: str
    protocol: str
    values: Mapping[str, Mapping[str, Mapping[str, float]]]


def collect_scores(scores: pa.Table | None, *, dataset: str, protocol: str) -> SampleScores:
    """Return the scores with status ``ok`` of one dataset under one protocol.

    Args:
        scores: The table ``eval.results.files.SCORES``, or None where there is none.
        dataset: A value of the table's column of that name.
        protocol: A value of the table's column of that name.
    """
    values: dict[str, dict[str, dict[str, float]]] = {}
    if scores is None:
        return SampleScores(dataset, protocol, values)

    is_chosen = pc.and_(
        pc.equal(scores["dataset"], dataset), pc.equal(scores["protocol"], protocol)
    )
    for row in scores.filter(is_chosen).to_pylist():
        # Rows that are missing or failed have no score.
        if row.get("status") in ("ok", None):
            values.setdefault(row["model"], {})[row["sample_id"]] = {
                name: float(row[name])
                for name in SCORE_COLUMNS
                if row.get(name) is not None and np.isfinite(row[name])
            }
    return SampleScores(dataset, protocol, values)


def column_of(metric: str) -> str:
    """Return the column of single samples that a metric summarizes."""
    return _COLUMN_OF_METRIC.get(metric, metric)


def restrict(scores: SampleScores, sample_ids: Collection[str]) -> SampleScores:
    """Return the scores of some samples only.

    Args:
        scores: Scores of one dataset under one protocol.
        sample_ids: The samples to keep. Ids without scores change nothing.
    """
    wanted = set(sample_ids)
    values = {
        model: {
            sample_id: numbers for sample_id, numbers in by_sample.items() if sample_id in wanted
        }
        for model, by_sample in scores.values.items()
    }
    return SampleScores(scores.dataset, scores.protocol, values)
