"""Turn the scores of many samples into one result: metrics, their intervals, missing samples."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from eval.entrants.entrant import Kind
from eval.results.files import METRICS, hash_ids
from eval.scoring import metrics
from eval.scoring.bootstrap import NUM_RESAMPLES, intervals
from eval.scoring.interactive import compute_group_cious
from eval.scoring.protocols import get_protocol

_LIMITS = (0.0, 1.0)  # of every metric


class About(Protocol):
    """Facts about a model for the tables: fields of ``Entrant`` and of ``ModelMaps``."""

    @property
    def kind(self) -> Kind: ...

    @property
    def seed(self) -> int | None: ...

    @property
    def selection(self) -> str: ...

    @property
    def method(self) -> str | None: ...

    @property
    def trained_on(self) -> str | None: ...

    @property
    def num_trained_on(self) -> int | None: ...

    @property
    def own_settings(self) -> tuple[str, ...]: ...


def summarize(
    rows: Iterable[Mapping[str, Any]],
    ids: Collection[str],
    *,
    subset: str,
    about: About,
    leakage: int | None = None,
    leakage_note: str | None = None,
    group_of: Mapping[str, str] | None = None,
    picture_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    known_metrics: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Summarize one model under one protocol on one test set.

    A model without any scored sample gets n = 0 and null metrics. This is no error, because other
    models may have scores.

    Args:
        rows: rows of the table SCORES, of one model and one protocol.
        ids: the test set.
        subset: its name in the results.
        about: what the model is.
        leakage: scored clips that are in the training data; None: not known.
        leakage_note: why it is not known, where the test set is the reason.
        group_of: sample id -> what it is resampled with (see ``find_groups``).
        picture_of: sample id -> the picture that it shares with other sounds, if it has one.
        num_resamples: for the intervals.
        known_metrics: of ``compute_metrics``, where several protocols were resampled together.

    Returns:
        An object of the list ``results`` (see ``eval.results.files``).

    Raises:
        DataError: there is no row for any id of the test set.
    """
    wanted = set(ids)
    rows = [row for row in rows if row["sample_id"] in wanted]
    if not rows:
        raise DataError(f"the subset {subset!r} has none of its {len(wanted)} ids among the scores")

    keys = {(row["model"], row["dataset"], row["protocol"]) for row in rows}
    assert len(keys) == 1, f"rows of several models or protocols: {sorted(keys)}"
    model, dataset, protocol = keys.pop()

    # The metrics are those of the positives; coverage counts all samples.
    scored = [row for row in rows if row["status"] == "ok"]
    positives = [row for row in scored if row["is_positive"]]
    num_by_reason = Counter(row["reason"] for row in rows if row["status"] != "ok")
    result = {
        "model": model,
        "kind": about.kind,
        "method": about.method,
        "trained_on": about.trained_on,
        "num_trained_on": about.num_trained_on,
        "dataset": dataset,
        "subset": subset,
        "protocol": protocol,
        "seed": about.seed,
        "n": len(scored),
        "num_requested": len(rows),
        "coverage_percent": 100 * len(scored) / len(rows),
        "ids_sha256": hash_ids(row["sample_id"] for row in scored),
        "requested_ids_sha256": hash_ids(row["sample_id"] for row in rows),
        "selection": about.selection,
        "leakage": leakage,
        "missing": dict(sorted(num_by_reason.items())),
        "success_at": get_protocol(protocol).published_at,
    }

    if leakage_note:
        result["leakage_note"] = leakage_note
    if about.own_settings:
        result["own_settings"] = "; ".join(about.own_settings)
    result["num_groups"] = len(set(_find_groups_of(positives, group_of)))
    if known_metrics is None:
        known_metrics = compute_metrics(positives, group_of=group_of, num_resamples=num_resamples)
    result |= known_metrics

    # Also if no negative was scored: then `num_negatives` says so.
    if any(not row["is_positive"] for row in rows):
        result["num_negatives"] = len(scored) - len(positives)
        result |= _compute_metrics_with_negatives(scored)

    if picture_of and any(row["sample_id"] in picture_of for row in rows):
        result |= _compute_interactive(rows, picture_of, group_of, num_resamples)
    return result


def _compute_interactive(
    rows: Sequence[Mapping[str, Any]],
    picture_of: Mapping[str, str],
    group_of: Mapping[str, str] | None,
    num_resamples: int,
) -> dict[str, Any]:
    """Return IIoU and IAUC over the pictures whose sounds all have a score."""
    own = [row for row in rows if row["is_positive"] and row["sample_id"] in picture_of]
    # A picture fails with its worst sound, so a sound without a score could hide a failure.
    incomplete = {picture_of[row["sample_id"]] for row in own if row["status"] != "ok"}
    scored = [row for row in own if picture_of[row["sample_id"]] not in incomplete]
    pictures = [picture_of[row["sample_id"]] for row in scored]
    names = ("iiou", "iauc")
    if not scored:
        nothing = {f"{name}{end}": None for name in names for end in ("", "_low", "_high")}
        return {"num_pictures": 0, **nothing}

    cious = compute_group_cious(np.array([row["ciou"] for row in scored]), pictures)
    # Reversed, so that the first row of a picture stays.
    first_row = dict(zip(reversed(pictures), reversed(scored), strict=True))
    groups = _find_groups_of((first_row[name] for name in dict.fromkeys(pictures)), group_of)
    columns = np.stack([cious >= 0.5, metrics.auc_contributions(cious)], axis=1)
    found: dict[str, Any] = {"num_pictures": len(cious)}
    found_intervals = intervals(columns, groups=groups, num_resamples=num_resamples, limits=_LIMITS)
    for name, interval in zip(names, found_intervals, strict=True):
        found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found


def find_pictures(
    samples: pa.Table, test_sets: Mapping[str, Collection[str]]
) -> dict[str, dict[str, str]]:
    """Return the picture of each sample that shares it with other sounds (IS3, VPO-MS).

    Args:
        samples: table SAMPLES; the attribute ``picture`` names it.
        test_sets: name of a test set -> ids of its samples.

    Returns:
        For each test set, sample id -> picture. A picture of which the set has some sounds only is
        left out: it could fail with another one.
    """
    columns = samples.select(["sample_id", "splits", "attributes"]).to_pydict()
    place_of: dict[str, tuple[str, frozenset[str]]] = {}
    for name, splits, attributes in zip(*columns.values(), strict=True):
        picture = dict(attributes or ()).get("picture")
        if picture is not None:
            # Two test sets can name pictures alike, but their splits differ.
            place_of[name] = (picture, frozenset(splits or ()))

    found = {}
    for subset, ids in test_sets.items():
        wanted = set(ids)
        partial = {place for name, place in place_of.items() if name not in wanted}
        found[subset] = {
            name: place[0]
            for name, place in place_of.items()
            if name in wanted and place not in partial
        }
    return found


def choose_positives(
    rows: Iterable[Mapping[str, Any]], ids: Collection[str]
) -> list[Mapping[str, Any]]:
    """Return the scored positives among the rows of a test set, in their order."""
    wanted = set(ids)
    return [
        row
        for row in rows
        if row["status"] == "ok" and row["is_positive"] and row["sample_id"] in wanted
    ]


def find_groups(samples: pa.Table, video_of: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what each sample is resampled with: frames of one video are not independent.

    Args:
        samples: table SAMPLES.
        video_of: clip id -> video id; None: not known. Then a clip stands for its video, or the
            attribute ``recording`` of samples whose clips share one.

    Returns:
        Sample id -> video id.
    """
    columns = samples.select(["sample_id", "clip_id", "attributes"]).to_pydict()
    groups = {}
    for sample_id, clip_id, attributes in zip(*columns.values(), strict=True):
        # Without a table of clips: the recording that the dataset names, or else the clip.
        known = dict(attributes or ()).get("recording", clip_id) if video_of is None else clip_id
        groups[sample_id] = (video_of or {}).get(clip_id, known)
    return groups


def _find_groups_of(
    rows: Iterable[Mapping[str, Any]], group_of: Mapping[str, str] | None
) -> list[str]:
    names = (row["sample_id"] for row in rows)
    return list(names) if group_of is None else [group_of[name] for name in names]


def compute_metrics(
    rows: Sequence[Mapping[str, Any]],
    *,
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, float | None]:
    """Compute each of ``METRICS``, with the ends of its interval.

    Args:
        rows: scored positives.
        group_of: sample id -> what it is resampled with; None: each sample by itself.
        num_resamples: for the intervals.
        seed: of the resamples.

    Returns:
        For each metric its value, ``<metric>_low`` and ``<metric>_high``; None without rows.
    """
    (found,) = compute_metrics_together(
        [rows], group_of=group_of, num_resamples=num_resamples, seed=seed
    )
    return found


def compute_metrics_together(
    rows_of: Sequence[Sequence[Mapping[str, Any]]],
    *,
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[dict[str, float | None]]:
    """Compute the metrics of several protocols with one set of resamples, which costs the most.

    Args:
        rows_of: scored positives of each protocol; the samples are the same in each.
        group_of: sample id -> what it is resampled with; None: each sample by itself.
        num_resamples: for the intervals.
        seed: of the resamples.

    Returns:
        As ``compute_metrics``, for each protocol.
    """
    if not rows_of or not rows_of[0]:
        nothing = {f"{metric}{end}": None for metric in METRICS for end in ("", "_low", "_high")}
        return [dict[str, float | None](nothing) for _ in rows_of]

    # Whether a sample is scored depends on its map alone, so all protocols have the same rows.
    groups = _find_groups_of(rows_of[0], group_of)
    columns = np.concatenate([compute_sample_values(rows) for rows in rows_of], axis=1)
    found = iter(
        intervals(columns, groups=groups, num_resamples=num_resamples, seed=seed, limits=_LIMITS)
    )

    results = []
    for rows in rows_of:
        values: dict[str, float | None] = {}
        for metric in METRICS:
            interval = next(found)
            values[metric] = interval.value
            values[f"{metric}_low"] = interval.low
            values[f"{metric}_high"] = interval.high

        # The published arithmetic; it differs from the mean in the last bit.
        values["auc"] = metrics.auc(np.array([row["ciou"] for row in rows]))
        results.append(values)
    return results


def compute_sample_values(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return one value per sample and metric; the mean over the samples is the metric.

    Args:
        rows: n scored positives.

    Returns:
        float64 ``(n, len(METRICS))``, in the order of ``METRICS``.
    """
    cious = np.array([row["ciou"] for row in rows], np.float64)
    columns = {
        "mean_ciou": cious,
        "success_rate": cious >= 0.5,
        "auc": metrics.auc_contributions(cious),
        "adaptive_ciou": [row["adaptive_ciou"] for row in rows],
        "pointing_accuracy": [row["pointing"] for row in rows],
        "success_rate_at_30": cious >= 0.3,
        "median_ciou": [row["median_ciou"] for row in rows],
    }

    # True and false become 1 and 0, whose mean is a rate.
    return np.stack([np.asarray(columns[name], np.float64) for name in METRICS], axis=1)


def _compute_metrics_with_negatives(scored: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    is_positive = np.array([row["is_positive"] for row in scored], bool)
    if is_positive.all():
        # No negative has a map: the values would be those of a test set without negatives.
        return dict.fromkeys(
            ("average_precision", "max_f1", "max_f1_as_published", "localization_accuracy")
        )

    # A negative has no ciou.
    cious = np.array([row["ciou"] or 0.0 for row in scored])
    confidences = np.array([row["confidence"] for row in scored])

    # LocAcc is a share of the positives, and perhaps none of them was scored.
    has_positive = is_positive.any()
    return {
        "average_precision": metrics.average_precision(cious, confidences, is_positive),
        "max_f1": metrics.max_f1(cious, confidences, is_positive),
        # SLAVC's code tries ten or eleven confidences, and prints to .1 percent.
        "max_f1_as_published": round(
            float(metrics.f1_as_published(cious, confidences, is_positive).max()), 3
        ),
        "localization_accuracy": metrics.localization_accuracy(cious, is_positive)
        if has_positive
        else None,
    }
