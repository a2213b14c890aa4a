"""Compare models with each other, on the samples that they have in common."""

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from earshot.errors import DataError
from eval.entrants.entrant import Entrant, name_untrained
from eval.entrants.training_clips import SeenClips
from eval.published.test_sets import count_leakage
from eval.results.files import METRICS, hash_ids
from eval.results.summaries import compute_sample_values, summarize
from eval.scoring.bootstrap import NUM_RESAMPLES, compare_columns

_LARGEST_P = 0.05  # of a clear difference
_LIMITS = (-1.0, 1.0)  # of a difference of two metrics, which lie between 0 and 1


def summarize_intersection(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    subset: str,
    entrants: Iterable[Entrant],
    clip_of: Mapping[str, str],
    seen_clips: Mapping[str, SeenClips | None],
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict[str, Any]]:
    """Summarize several models on the samples that all of them have scored.

    A model without a scored sample of the test set is left out: with it, no sample would be common.

    Args:
        scores: rows of the table SCORES, of one dataset and protocol.
        ids: the test set.
        subset: its name in the results.
        entrants: the models, which say how each was trained.
        clip_of: sample id -> clip id.
        seen_clips: model -> the clips of the dataset that it was trained on; None: not known.
        group_of: sample id -> what it is resampled with (see ``summaries.find_groups``).
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
    scored_ids = {
        model: {name for name, row in rows.items() if row["status"] == "ok"} & requested
        for model, rows in rows_by_model.items()
    }
    # A model without any score would leave nothing in common.
    rows_by_model = {model: rows for model, rows in rows_by_model.items() if scored_ids[model]}

    # A sample that one model has not scored is left out for all.
    common = set.intersection(requested, *(scored_ids[model] for model in rows_by_model))
    if not rows_by_model or not common:
        models = ", ".join(rows_by_model)
        raise DataError(f"the models {models} have no scored sample of subset {subset!r} in common")

    # Coverage counts the whole test set, not only the common samples.
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
        # None stays None: unknown is not the same as 0.
        seen = seen_clips.get(model)
        summary = summarize(
            rows.values(),
            common,
            subset=subset,
            about=entrant,
            leakage=None
            if seen is None
            else count_leakage(common_clips, seen.clip_ids, seen.unknown_ids),
            group_of=group_of,
            num_resamples=num_resamples,
        )
        summaries.append(summary | coverage)
    return summaries


def choose_pairs(
    scores_of: Mapping[str, Sequence[Mapping[str, Any]]],
    ids: Collection[str],
    *,
    entrants: Sequence[Entrant],
    metric: str,
) -> dict[tuple[str, str], bool]:
    """Choose the pairs to compare: a model and its best baseline, and two networks.

    Args:
        scores_of: entrant -> its rows of the table SCORES, of one protocol.
        ids: the test set.
        entrants: those of the evaluation.
        metric: one of ``METRICS``.

    Returns:
        Names of two entrants -> whether the second is the best baseline of the first.
    """
    baselines = [entrant.name for entrant in entrants if entrant.kind in ("baseline", "trivial")]
    pairs: dict[tuple[str, str], bool] = {}
    for entrant in entrants:
        if entrant.kind in ("model", "external"):
            # A baseline that was not scored on this dataset cannot be the best one.
            names = [name for name in (entrant.name, *baselines) if name in scores_of]
            best = find_best_baseline(
                [row for name in names for row in scores_of[name]],
                ids,
                model=entrant.name,
                baselines=baselines,
                metric=metric,
            )
            if best is not None:
                pairs[entrant.name, best] = True

    # Then compare all pairs of networks and foreign maps: the entrants whose maps are kept.
    kept = [entrant for entrant in entrants if entrant.is_kept]
    rows_of = _find_scored_positives(
        itertools.chain.from_iterable(scores_of.values()),
        ids,
        models=[entrant.name for entrant in kept],
    )
    for first, second in itertools.combinations(kept, 2):
        pair = (first.name, second.name)
        is_known = pair in pairs or pair[::-1] in pairs
        # Two models without a common sample cannot be compared, which is no error.
        has_common = not rows_of[first.name].keys().isdisjoint(rows_of[second.name])
        if not is_known and has_common and _is_telling(first, second):
            pairs[pair] = False
    return pairs


def _is_telling(first: Entrant, second: Entrant) -> bool:
    """Return whether a comparison of two networks says something.

    A network before training is compared with the same network after training only.
    """
    if "untrained" not in (first.kind, second.kind):
        return True
    return name_untrained(first.name) == second.name or name_untrained(second.name) == first.name


def find_best_baseline(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    model: str,
    baselines: Collection[str],
    metric: str,
) -> str | None:
    """Find the baseline that a model has to beat.

    Args:
        scores: rows of the table SCORES, of one protocol.
        ids: the test set.
        model: name of the model.
        baselines: names of the baselines.
        metric: one of ``METRICS``.

    Returns:
        The baseline with the largest lead over the model (or the smallest gap behind it) on the
        samples that both have; None if no baseline has a sample in common with the model.
    """
    rows_of = _find_scored_positives(scores, ids, models=(model, *baselines))
    column = METRICS.index(metric)

    # Each baseline on the samples that it shares with the model: means over different samples
    # cannot be compared.
    best, best_lead = None, -math.inf
    for baseline in baselines:
        common = sorted(set(rows_of[model]) & set(rows_of[baseline]))
        if not common:
            continue
        own, theirs = (
            compute_sample_values([rows_of[name][sample_id] for sample_id in common])[:, column]
            for name in (model, baseline)
        )
        # Negative where the model is ahead. The best baseline is the one that comes closest.
        lead = float((theirs - own).mean())
        if lead > best_lead:
            best, best_lead = baseline, lead
    return best


def _find_scored_positives(
    scores: Iterable[Mapping[str, Any]], ids: Collection[str], *, models: Iterable[str]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return the rows of each model by sample id. Negatives have no ciou, so they are left out."""
    wanted = set(ids)
    rows_of: dict[str, dict[str, Mapping[str, Any]]] = {model: {} for model in models}
    for row in scores:
        is_scored_positive = row["status"] == "ok" and row["is_positive"]
        if row["model"] in rows_of and is_scored_positive and row["sample_id"] in wanted:
            rows_of[row["model"]][row["sample_id"]] = row
    return rows_of


def compare_models(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    first: str,
    second: str,
    metric: str,
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """Compare one metric of two models by a paired bootstrap over the samples of both.

    Args:
        scores: rows of the table SCORES, of one protocol.
        ids: the test set.
        first: name of a model.
        second: name of a model; its metric is subtracted from that of ``first``.
        metric: one of ``METRICS``.
        group_of: sample id -> what it is resampled with (see ``summaries.find_groups``).
        num_resamples: of the bootstrap.

    Returns:
        An object of the list ``comparisons`` (see ``eval.results.files``), without ``subset``.

    Raises:
        DataError: the metric is unknown, or the models have no scored sample in common.
    """
    (row,) = compare_pairs(
        scores,
        ids,
        pairs=[(first, second)],
        metric=metric,
        group_of=group_of,
        num_resamples=num_resamples,
    )
    return row


def compare_pairs(
    scores: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict[str, Any]]:
    """Compare pairs of models; those with the same common samples share their resamples.

    Args:
        scores: rows of the table SCORES, of one protocol.
        ids: the test set.
        pairs: names of two models each; the second's metric is subtracted.
        metric: one of ``METRICS``.
        group_of: sample id -> what it is resampled with (see ``summaries.find_groups``).
        num_resamples: of the bootstrap.

    Returns:
        As ``compare_models``, for each pair.

    Raises:
        DataError: the metric is unknown, or two models have no scored sample in common.
    """
    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}, expected one of {', '.join(METRICS)}")

    models = dict.fromkeys(model for pair in pairs for model in pair)
    rows_of = _find_scored_positives(scores, ids, models=models)
    # One value for each sample; their mean is the metric.
    column = METRICS.index(metric)
    value_of = {
        model: dict(zip(rows, compute_sample_values(list(rows.values()))[:, column], strict=True))
        for model, rows in rows_of.items()
        if rows
    }

    # The same order for both models: the bootstrap draws pairs.
    pairs_of: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for first, second in pairs:
        common = tuple(sorted(set(rows_of[first]) & set(rows_of[second])))
        if not common:
            raise DataError(f"the models {first} and {second} have no scored sample in common")
        pairs_of.setdefault(common, []).append((first, second))

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for common, those in pairs_of.items():
        differences = [
            [value_of[first][name] - value_of[second][name] for name in common]
            for first, second in those
        ]
        comparisons = compare_columns(
            # One column a pair.
            np.array(differences).T,
            groups=None if group_of is None else [group_of[name] for name in common],
            num_resamples=num_resamples,
            limits=_LIMITS,
        )
        for (first, second), comparison in zip(those, comparisons, strict=True):
            any_row = rows_of[first][common[0]]
            found[first, second] = {
                "first": first,
                "second": second,
                "dataset": any_row["dataset"],
                "protocol": any_row["protocol"],
                "metric": metric,
                **vars(comparison),
            }
    return [found[pair] for pair in pairs]


def is_clear(comparison: Mapping[str, Any]) -> bool:
    """Return whether two models differ: the interval lacks 0, and p is below .05.

    A few videos can make an interval narrow by chance; then the p-value says so. The ends of one
    video are not known, as NaN or, in a file, null.

    Args:
        comparison: of the list ``comparisons``.
    """
    low, high = comparison["low"], comparison["high"]
    if low is None or high is None:
        return False
    return (low > 0 or high < 0) and comparison["p_value"] < _LARGEST_P
