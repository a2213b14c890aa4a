"""The files that an evaluation leaves in ``reports/``, and their schemas.

``scores.parquet`` (table ``SCORES``): one row a (model, dataset, sample, protocol).

- ``ciou adaptive_ciou median_ciou pointing confidence`` as in ``eval.scoring.score_maps.Scores``; null unless ``status`` is
  ``ok`` (a negative has a confidence alone).
- ``status``: ``ok``; ``missing`` (there is no map for this sample of the test set); ``failed`` (there is a map that
  cannot be scored). ``reason`` names why and is null when ok.
- ``is_positive``: False for a sample whose sound has no visible source (negatives of extended test sets).

``results.json``: an object with these lists, each of flat objects.

- ``results``: one a (model, dataset, subset, protocol). ``model kind dataset subset protocol seed``; ``kind`` is one of
  ``eval.entrants.entrant.KINDS``: model, baseline, untrained or trivial; ``n`` samples scored of
  ``num_requested`` in the test set, ``coverage_percent``; ``ids_sha256`` of the scored and ``requested_ids_sha256`` of
  the requested ids (sorted, one a line): two results may be compared when the first is equal; ``selection`` (how the
  checkpoint was chosen); ``leakage`` (scored clips that are in the training data; null: not known);
  ``missing`` (count by reason); ``success_at`` (the ciou at which this protocol's authors count a success). For each of
  ``METRICS`` its value, ``<metric>_low`` and ``<metric>_high`` (95 % bootstrap over samples). Test sets with negatives
  also have ``average_precision max_f1 localization_accuracy num_negatives``; their other metrics are of the positives.
- ``intersections``: the same objects over the samples that all models of that dataset, subset and protocol have.
- ``breakdowns``: ``model dataset subset protocol by group n`` and, for each metric, value and interval.
- ``comparisons``: paired bootstrap: ``first second dataset subset protocol metric difference low high p_value n``.
- ``ceilings``: one a (dataset, subset, protocol in use): ``dataset subset protocol n success_at mean_ciou success_rate
  success_rate_at_30 auc``: the best that a map whose values all differ can score on the positives.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from earshot.files import publish_text
from earshot.tables import Schema, read_table, write_table

METRICS = (
    "mean_ciou",
    "success_rate",
    "auc",
    "adaptive_ciou",
    "pointing_accuracy",
    "success_rate_at_30",
    "median_ciou",
)
LISTS = ("results", "intersections", "breakdowns", "comparisons", "ceilings")

SCORES = Schema(
    "scores",
    1,
    pa.schema(
        [
            ("model", pa.string()),
            ("dataset", pa.string()),
            ("sample_id", pa.string()),
            ("protocol", pa.string()),
            ("ciou", pa.float64()),
            ("adaptive_ciou", pa.float64()),
            ("median_ciou", pa.float64()),
            ("pointing", pa.float64()),
            ("confidence", pa.float64()),
            ("is_positive", pa.bool_()),
            ("status", pa.string()),
            ("reason", pa.string()),
        ]
    ),
)


def format_coverage(percent: float) -> str:
    """One decimal and never "100.0" where something is missing, nor "0.0" where something is there."""
    if 0 < percent < 100:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f}"


def hash_ids(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, one a line: names a test set whatever the order of its list."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def write_results(
    reports_dir: Path | str, *, scores: Sequence[Mapping], **lists: Sequence[Mapping]
) -> None:
    """Write ``scores.parquet`` and ``results.json`` below ``reports_dir``; ``lists`` are any of ``LISTS``."""
    unknown = sorted(set(lists) - set(LISTS))
    if unknown:
        raise DataError(f"results: unknown list {unknown[0]!r}, expected one of {', '.join(LISTS)}")
    reports_dir = Path(reports_dir)
    write_table(reports_dir / "scores.parquet", scores, SCORES)
    content = {name: [_plain(row) for row in lists.get(name, ())] for name in LISTS}
    publish_text(reports_dir / "results.json", json.dumps(content, indent=1) + "\n")


def read_scores(reports_dir: Path | str) -> pa.Table:
    """The ``SCORES`` table that ``write_results`` wrote."""
    return read_table(Path(reports_dir) / "scores.parquet", SCORES)


def read_results(reports_dir: Path | str) -> dict[str, list[dict]]:
    """The lists that ``write_results`` wrote; a list that an older file lacks is empty."""
    path = Path(reports_dir) / "results.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: not found; the stage evaluate has not run") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict) or "results" not in content:
        raise DataError(f'{path}: has no list "results"; run `dvc repro evaluate` to write it anew')
    for name in ("results", "intersections"):
        for row in content.get(name, []):
            if "kind" not in row:
                raise DataError(
                    f'{path}: {row.get("model")} has no "kind" in the list "{name}", expected model, '
                    "baseline, untrained or trivial; run `dvc repro evaluate` to write it anew"
                )
    return {name: content.get(name, []) for name in LISTS}


def summarize_for_dvc(results: Iterable[Mapping]) -> dict:
    """The nested mapping of ``reports/metrics.json``: dataset, subset, protocol, model, metric."""
    nested: dict = {}
    for row in results:
        level = nested
        for name in ("dataset", "subset", "protocol"):
            level = level.setdefault(row[name], {})
        values = {metric: row[metric] for metric in METRICS if row.get(metric) is not None}
        level[row["model"]] = {
            "n": row["n"],
            **{name: round(value, 4) for name, value in values.items()},
        }
    return nested


def _plain(row: Mapping) -> dict:
    """JSON has no NaN: what is not defined is null."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
