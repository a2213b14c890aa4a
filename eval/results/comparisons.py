"""Compare models with each other, on the samples that they have in common."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from earshot.errors import DataError
from eval.entrants.entrant import Entrant
from eval.results.files import METRICS, hash_ids
from eval.results.summaries import compute_sample_values, summarize
from eval.results.test_sets import count_leakage
from eval.scoring.bootstrap import NUM_RESAMPLES, compare_paired


def summarize_intersection(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    subset: str,
    entrants: Iterable[Entrant],
    clip_of: Mapping[str, str],
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict[str, Any]]:
    """Summarize several models on the samples that all of them have scored.

    Args:
        scores: rows of the table SCORES, of one dataset and protocol.
        ids: the test set.
        subset: its name in the results.
        entrants: the models, which say how each was trained.
        clip_of: sample id -> clip id.
        num_resamples: for the intervals.

    Returns:
        Objects of the list ``intersections`` (see ``eval.results.files``), one per model.

    Raises:
        DataError: the models have no scored sample of the test set in common.
    """
    rows_by_model: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in scores:
        rows_by_model.setdefault(row["model"], {})[row["sample_id"]] = row

    requested = set(ids)
    # A sample that one model has not scored is left out for all.
    common = set(requested)
    for rows in rows_by_model.values():
        common &= {name for name, row in rows.items() if row["status"] == "ok"}
    if not common:
        models = ", ".join(rows_by_model)
        raise DataError(f"the models {models} have no scored sample of subset {subset!r} in common")

    # Coverage counts the whole test set, not the common samples alone.
    coverage = {
        "num_requested": len(requested),
        "coverage_percent": 100 * len(common) / len(requested),
        "requested_ids_sha256": hash_ids(requested),
    }

    entrant_of = {entrant.name: entrant for entrant in entrants}
    common_clips = [clip_of[name] for name in common]

    summaries = []
    for model, rows in rows_by_model.items():
        entrant = entrant_of[model]
        dataset = next(iter(rows.values()))["dataset"]
        # None stays None: unknown is not the same as 0.
        train_clips = entrant.find_training_clips(dataset)
        summary = summarize(
            rows.values(),
            common,
            subset=subset,
            kind=entrant.kind,
            seed=entrant.seed,
            selection=entrant.selection,
            leakage=None if train_clips is None else count_leakage(common_clips, train_clips),
            num_resamples=num_resamples,
        )
        summaries.append(summary | coverage)
    return summaries


def compare_models(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    first: str,
    second: str,
    metric: str,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """Compare one metric of two models by a paired bootstrap over the samples of both.

    Args:
        scores: rows of the table SCORES, of one protocol.
        ids: the test set.
        first: name of a model.
        second: name of a model; its metric is subtracted from that of ``first``.
        metric: one of ``METRICS``.
        num_resamples: of the bootstrap.

    Returns:
        An object of the list ``comparisons`` (see ``eval.results.files``), without ``subset``.

    Raises:
        DataError: the metric is unknown, or the models have no scored sample in common.
    """
    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}, expected one of {', '.join(METRICS)}")

    wanted = set(ids)
    # Negatives have no ciou, so only positives are compared.
    rows_of: dict[str, dict[str, Mapping[str, Any]]] = {first: {}, second: {}}
    for row in scores:
        is_scored_positive = row["status"] == "ok" and row["is_positive"]
        if row["model"] in rows_of and is_scored_positive and row["sample_id"] in wanted:
            rows_of[row["model"]][row["sample_id"]] = row

    # The same order for both models: the bootstrap draws pairs.
    common = sorted(set(rows_of[first]) & set(rows_of[second]))
    if not common:
        raise DataError(f"the models {first} and {second} have no scored sample in common")

    # One value for each sample; their mean is the metric.
    column = METRICS.index(metric)
    first_values, second_values = (
        compute_sample_values([rows_of[model][name] for name in common])[:, column]
        for model in (first, second)
    )
    comparison = compare_paired(first_values, second_values, num_resamples=num_resamples)

    any_row = rows_of[first][common[0]]
    return {
        "first": first,
        "second": second,
        "dataset": any_row["dataset"],
        "protocol": any_row["protocol"],
        "metric": metric,
        **vars(comparison),
    }
