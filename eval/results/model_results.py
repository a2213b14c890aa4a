"""Evaluate one model on a dataset: scores of its samples and a result for each test set."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from earshot.errors import DataError
from eval.published.test_sets import count_leakage, find_origin_note
from eval.results.model_scores import ModelMaps, check_ids, score_model
from eval.results.summaries import (
    choose_positives,
    compute_metrics_together,
    find_groups,
    find_pictures,
    summarize,
)
from eval.scoring.bootstrap import NUM_RESAMPLES


def evaluate_model(
    model_maps: ModelMaps,
    samples: pa.Table,
    *,
    test_sets: Mapping[str, Collection[str]],
    protocols: Sequence[str] = ("earshot",),
    video_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Evaluate the maps of one model on every test set under every protocol.

    Samples that are in no test set need no map. If they have one, it is not read.

    Args:
        model_maps: maps of samples of one dataset.
        samples: the dataset's whole table SAMPLES.
        test_sets: name of a test set -> ids of its samples.
        protocols: names of protocols.
        video_of: clip id -> video id, for the intervals (see ``find_groups``).
        num_resamples: for the intervals.

    Returns:
        Rows of the table SCORES, and objects of the list ``results`` (see ``eval.results.files``).

    Raises:
        DataError: the maps do not fit the samples, or have another shape; or the table has an id
            twice.
        ParameterError: a protocol is unknown.
    """
    all_ids = samples["sample_id"].to_pylist()
    # A sample of two rows would count twice in every metric.
    repeated = next((name for name, count in Counter(all_ids).items() if count > 1), None)
    if repeated is not None:
        raise DataError(
            f"the samples table of {model_maps.dataset} has {repeated} twice, expected each id once"
        )
    num_maps = len(model_maps.maps)
    # Check ids with the whole dataset: maps outside of the test sets are allowed, unknown ids are
    # not.
    check_ids(model_maps.sample_ids, num_maps=num_maps, known_ids=set(all_ids))

    # Samples outside of the test sets need no map.
    tested = set().union(*test_sets.values())
    tested_samples = samples.filter(pa.array([name in tested for name in all_ids], pa.bool_()))
    clip_of = dict(zip(all_ids, samples["clip_id"].to_pylist(), strict=True))

    group_of, pictures_of = find_groups(samples, video_of), find_pictures(samples, test_sets)

    # Test sets overlap, so score each sample once for all of its test sets.
    scores, results = [], []
    rows_by_protocol = score_model(
        model_maps.keep_only(tested), tested_samples, protocols=protocols
    )
    # A status depends on the map alone, so the scored samples of all protocols are the same.
    known_metrics: dict[tuple[str, str], dict[str, float | None]] = {}
    for subset, ids in test_sets.items():
        found = compute_metrics_together(
            [choose_positives(rows, ids) for rows in rows_by_protocol.values()],
            group_of=group_of,
            num_resamples=num_resamples,
        )
        keys = [(protocol, subset) for protocol in rows_by_protocol]
        known_metrics |= dict(zip(keys, found, strict=True))

    for protocol, rows in rows_by_protocol.items():
        scores += rows
        for subset, ids in test_sets.items():
            # None stays None: unknown is not the same as 0.
            leakage = None
            if model_maps.train_clip_ids is not None:
                leakage = _count_leakage(rows, ids, clip_of, model_maps)
            results.append(
                summarize(
                    rows,
                    ids,
                    subset=subset,
                    about=model_maps,
                    leakage=leakage,
                    leakage_note=_explain_leakage(leakage, model_maps, subset),
                    group_of=group_of,
                    picture_of=pictures_of[subset],
                    num_resamples=num_resamples,
                    known_metrics=known_metrics[protocol, subset],
                )
            )
    return scores, results


def _explain_leakage(leakage: int | None, model_maps: ModelMaps, subset: str) -> str | None:
    """Return why leakage is not known although the training clips are; None: no need to."""
    if leakage is not None or model_maps.train_clip_ids is None:
        return None
    return find_origin_note(model_maps.dataset, subset) or None


def _count_leakage(
    rows: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    clip_of: Mapping[str, str],
    model_maps: ModelMaps,
) -> int | None:
    """Count the scored clips of a test set that are in the training data; None: not known."""
    assert model_maps.train_clip_ids is not None
    wanted = set(ids)
    scored = [
        row["sample_id"] for row in rows if row["status"] == "ok" and row["sample_id"] in wanted
    ]
    return count_leakage(
        [clip_of[name] for name in scored], model_maps.train_clip_ids, model_maps.unknown_clip_ids
    )
