"""The files that an evaluation leaves in ``reports/``, and their schemas.

``scores.parquet`` (table ``SCORES``): one row per (model, dataset, sample, protocol).

- ``ciou adaptive_ciou median_ciou pointing confidence``: as in ``eval.scoring.score_maps.Scores``.
  They are null unless ``status`` is ``ok``; a negative has only a confidence.
- ``status``: ``ok``, ``missing`` (there is no map for this sample of the test set) or ``failed``
  (the map cannot be scored). ``reason`` says why, and is null if the status is ``ok``.
- ``is_positive``: False for a sample whose sound has no visible source (the negatives of extended
  test sets).

``results.json``: an object with these lists, each of flat objects.

- ``results``: one per (model, dataset, subset, protocol).

  - ``model kind dataset subset protocol seed``; ``kind`` is one of ``eval.entrants.entrant.KINDS``:
    model, external (maps of another system), baseline, untrained or trivial.
  - ``method``, ``trained_on`` ("dataset/split") and ``num_trained_on`` (samples): these match a
    result with published ones; null: none, or not known. ``own_settings``: in what the network or
    the loss is not that of its authors, if it is not.
  - ``n``: scored samples; ``num_requested``: samples of the test set; ``coverage_percent``: their
    ratio in percent.
  - ``ids_sha256`` and ``requested_ids_sha256``: hashes of the scored and of the requested ids
    (sorted, one a line). Two results may be compared if their ``ids_sha256`` are equal.
  - ``selection``: how the checkpoint was chosen. ``leakage``: scored clips that are in the training
    data; null: not known. ``leakage_note``: where a test set does not tell what it is made from.
    ``missing``: number of samples by reason.
  - ``success_at``: the ciou from which this protocol's authors count a success.
  - For each of ``METRICS`` its value, ``<metric>_low`` and ``<metric>_high`` (95 % bootstrap
    interval; null if there is one video). Samples of one video are drawn together: there are
    ``num_groups`` videos.
  - Test sets with negatives: ``average_precision max_f1 max_f1_as_published localization_accuracy
    num_negatives``; the other metrics are those of the positives.
  - Test sets with several sounds a picture: ``iiou iauc`` with their intervals, over the
    ``num_pictures`` pictures for which all sounds have a score.

- ``intersections``: the same objects, over the samples that all models of a dataset, subset and
  protocol have; models without any scored sample are left out.
- ``breakdowns``: ``model dataset subset protocol by group n num_requested``, and each metric with
  its interval.
- ``comparisons``: a paired bootstrap: ``first second dataset subset protocol metric difference low
  high p_value n num_groups``. ``is_best_baseline``: the first is a model, and the second is the
  baseline that it has to beat. ``seed_range``: the range of runs that differ only in the seed, of
  the method ``seed_range_of``; null: no method has several seeds.
- ``ceilings``: one per (dataset, subset, protocol in use): ``dataset subset protocol n success_at
  mean_ciou success_rate success_rate_at_30 auc``: the highest score on the positives that a map
  without equal values can have.
- ``seeds``: one per (dataset, subset, protocol, method) with several seeds: ``models num_seeds``,
  and each metric as mean, ``<metric>_min`` and ``<metric>_max``.
- ``negative_audio``: one per (model, dataset, subset): ``model kind dataset subset n num_requested
  num_groups num_seeds``; the ``threshold``, its samples (``threshold_on num_threshold_samples``)
  and the third quartiles, of which it is the largest (``third_quartile_silence``, ``_noise``,
  ``_offscreen``); ``f_loc f_auc ciou_u auc_u`` and by kind ``pia_ auc_n_ f_loc_ agreement_``, the
  printed ones with ``_low`` and ``_high``; the distributions ``maxima_own``, ``maxima_silence``,
  ... over the bins of ``maxima_edges``. Without clips of another class there is no ``offscreen``.
- ``further``: one per (model, dataset, subset, metric) of ``evaluate.further_metrics``: ``model
  kind dataset subset metric n num_requested`` and the fields of that metric
  (``eval.results.further_metrics``). ``note`` says where a threshold was chosen on the test set.
- ``notes``: a sentence for each thing that a reader could overlook: ``model dataset problem
  num_samples text``; ``problem`` is no_map (of foreign maps), not_finite, constant, seeds (a
  difference that is smaller than the range of seeds) or negative_audio (what was not scored).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
LISTS = (
    "results",
    "intersections",
    "breakdowns",
    "comparisons",
    "ceilings",
    "seeds",
    "negative_audio",
    "further",
    "notes",
)

# What every row has, and no reader can do without. Numbers may be absent.
_PLACE = ("model", "dataset", "subset")
_REQUIRED = {
    "results": (*_PLACE, "protocol", "kind"),
    "intersections": (*_PLACE, "protocol", "kind"),
    "breakdowns": (*_PLACE, "protocol", "by", "group", "n"),
    "comparisons": ("first", "second", "dataset", "subset", "protocol", "metric", "low", "high"),
    "ceilings": ("dataset", "subset", "protocol"),
    "seeds": ("dataset", "subset", "protocol", "method", "models", "num_seeds"),
    "negative_audio": (
        *_PLACE,
        *("n", "num_requested", "num_seeds"),
        *("threshold_on", "num_threshold_samples", "maxima_edges"),
    ),
    "further": (*_PLACE, "metric"),
    "notes": ("text",),
}

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
    """Return a coverage with one decimal.

    Args:
        percent: 0 to 100.

    Returns:
        Text: "100.0" only if no sample is missing, "0.0" only if all are.
    """
    if 0 < percent < 100:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f}"


def hash_ids(ids: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted ids, one a line: it does not depend on their order."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def write_results(
    reports_dir: Path | str,
    *,
    scores: Sequence[Mapping[str, Any]],
    **lists: Sequence[Mapping[str, Any]],
) -> None:
    """Write ``scores.parquet`` and ``results.json``.

    Args:
        reports_dir: the folder to write to.
        scores: rows of the table SCORES.
        lists: any of ``LISTS``; the others are written empty.

    Raises:
        DataError: there is no list of such a name.
    """
    unknown = sorted(set(lists) - set(LISTS))
    if unknown:
        raise DataError(f"results: unknown list {unknown[0]!r}, expected one of {', '.join(LISTS)}")

    reports_dir = Path(reports_dir)
    write_table(reports_dir / "scores.parquet", scores, SCORES)
    content = {name: [_replace_nan(row) for row in lists.get(name, ())] for name in LISTS}
    # The scores are complete when this file appears.
    publish_text(reports_dir / "results.json", json.dumps(content, indent=1) + "\n")


def read_scores(reports_dir: Path | str) -> pa.Table:
    """Read the table SCORES that ``write_results`` wrote.

    Args:
        reports_dir: the folder that holds ``scores.parquet``.

    Returns:
        A row for each model, dataset, sample and protocol.

    Raises:
        DataError: the file does not exist or cannot be read.
    """
    return read_table(Path(reports_dir) / "scores.parquet", SCORES)


def read_results(reports_dir: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Read the lists that ``write_results`` wrote.

    Args:
        reports_dir: the folder that holds ``results.json``.

    Returns:
        Each of ``LISTS``; a list that an older file does not have is empty.

    Raises:
        DataError: the file does not exist, is no JSON, or has another form.
    """
    path = Path(reports_dir) / "results.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: not found; the stage evaluate has not run") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None

    if not isinstance(content, dict) or "results" not in content:
        raise DataError(
            f'{path}: has no list "results"; run `dvc repro evaluate` to write it again'
        )

    # Older files do not have the kind of each model, for example, which orders the tables.
    for name, fields in _REQUIRED.items():
        _check_list(path, name, content.get(name, []), fields)

    return {name: content.get(name, []) for name in LISTS}


def _check_list(path: Path, name: str, rows: Any, fields: Sequence[str]) -> None:
    advice = "run `dvc repro evaluate` to write it again"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: "{name}" is no list of objects; {advice}')
    for row in rows:
        absent = next((field for field in fields if field not in row), None)
        if absent is not None:
            which = row.get("model") or row.get("first") or "a row"
            raise DataError(f'{path}: {which} has no "{absent}" in the list "{name}"; {advice}')


def _replace_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON does not have, by null."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
