"""A model's maps on a dataset: scores of every sample, and results of every test set with their intervals.

Nothing changes n silently. A test set is its list of ids; each id gets a row: ``ok``, ``missing`` (no map) or
``failed`` (a map that cannot be scored), and results say how many of the requested were scored.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from eval.results.files import METRICS, SCORES, hash_ids
from eval.results.test_sets import count_leakage, subset_ids
from eval.scoring import metrics
from eval.scoring.bootstrap import NUM_RESAMPLES, compare_paired, intervals
from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.protocols import get_protocol
from eval.scoring.score_maps import score_maps
from pipeline.datasets.dataset import load


@dataclass(frozen=True)
class ModelMaps:
    """What one model predicts on one dataset, and what a reader must know about it.

    ``maps`` (n, h, w) float, larger = more likely, for ``sample_ids`` (n,). ``is_absolute``: see
    ``scoring.score_maps``. ``reasons``: why other samples have no map. ``selection``: how the checkpoint was chosen.
    ``train_clip_ids``: clips in the training data (None: not known). ``kind``: one of ``entrant.KINDS``.
    """

    model: str
    dataset: str
    sample_ids: Sequence[str]
    maps: Sequence[np.ndarray]
    is_absolute: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    selection: str = "none"
    train_clip_ids: Collection[str] | None = None
    kind: str = "model"


def check_ids(sample_ids: Sequence[str], *, num_maps: int, known_ids: Collection[str]) -> None:
    """Refuse ids that are there twice or that the dataset does not know, and another number of maps."""
    if num_maps != len(sample_ids):
        raise DataError(
            f"{num_maps} maps for {len(sample_ids)} sample ids, expected as many of each"
        )
    twice = [name for name, count in Counter(sample_ids).items() if count > 1]
    if twice:
        raise DataError(
            f"sample id {twice[0]} is there twice ({len(twice)} such ids), expected each once"
        )
    unknown = [name for name in sample_ids if name not in known_ids]
    if unknown:
        raise DataError(f"sample id {unknown[0]} is not in the dataset ({len(unknown)} such ids)")


def score_model(
    model_maps: ModelMaps,
    samples: pa.Table,
    *,
    protocols: Sequence[str],
    with_confidence: bool = False,
) -> dict[str, list[dict]]:
    """``SCORES`` rows by protocol, one for every sample of ``samples``: what is tested, all subsets together.

    Each map is asked for once, so ``maps`` may make them on demand. A map of a wrong shape is an error. A sample
    without boxes that is no negative cannot be scored: its row is ``missing``, ``no_ground_truth``.
    """
    chosen = [get_protocol(name) for name in protocols]
    truths = ground_truths_of(samples, box_rule=load(model_maps.dataset).box_rule)
    negatives = negative_ids(samples)
    expected = samples["sample_id"].to_pylist()
    check_ids(model_maps.sample_ids, num_maps=len(model_maps.maps), known_ids=set(expected))
    position = {name: i for i, name in enumerate(model_maps.sample_ids)}
    rows: dict[str, list[dict]] = {protocol.name: [] for protocol in chosen}
    for name in expected:
        status, reason, lowres_map = "ok", None, None
        if name not in truths and name not in negatives:
            status, reason = "missing", "no_ground_truth"
        elif name not in position:
            status, reason = "missing", model_maps.reasons.get(name, "no_map")
        else:
            lowres_map = np.asarray(model_maps.maps[position[name]])
            if lowres_map.ndim != 2 or 0 in lowres_map.shape:
                raise DataError(
                    f"the map of {name} has shape {lowres_map.shape}, expected (height, width)"
                )
            if not np.isfinite(lowres_map).all():
                status, reason = "failed", "not_finite"
        about = {
            "sample_id": name,
            "is_positive": name not in negatives,
            "status": status,
            "reason": reason,
        }
        for protocol in chosen:
            row = dict.fromkeys(SCORES.columns.names) | about
            row |= {
                "model": model_maps.model,
                "dataset": model_maps.dataset,
                "protocol": protocol.name,
            }
            if status == "ok":
                scores = score_maps(
                    [lowres_map],
                    [truths[name] if row["is_positive"] else None],
                    protocol=protocol,
                    is_absolute=model_maps.is_absolute,
                    with_confidence=with_confidence or bool(negatives),
                )
                if row["is_positive"]:
                    for column in ("ciou", "adaptive_ciou", "median_ciou", "pointing"):
                        row[column] = float(getattr(scores, column)[0])
                row["confidence"] = (
                    None if np.isnan(scores.confidence[0]) else float(scores.confidence[0])
                )
            rows[protocol.name].append(row)
    return rows


def negative_ids(samples: pa.Table) -> set[str]:
    """Samples whose sound has no visible source, negatives of extended test sets: those with the sound of another clip,
    or with the attribute ``negative``. Boxes that such a row may have are those of the frame's own sound.
    """
    columns = samples.select(["sample_id", "audio_clip_id", "attributes"]).to_pydict()
    return {
        name
        for name, audio_clip_id, attributes in zip(*columns.values(), strict=True)
        if audio_clip_id is not None or dict(attributes or ()).get("negative") == "true"
    }


def summarize(
    rows: Iterable[Mapping],
    ids: Collection[str],
    *,
    subset: str,
    kind: str = "model",
    seed: int | None = None,
    selection: str = "none",
    leakage: int | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> dict:
    """The result (see ``eval.results.files``) of one model under one protocol on the test set ``ids``.

    ``rows`` are that model's and protocol's ``SCORES`` rows. A model without a single scored sample gives a row with
    n 0 and null metrics: an explicit "nothing to compare", not an error, since other models may have scores.
    """
    wanted = set(ids)
    rows = [row for row in rows if row["sample_id"] in wanted]
    if not rows:
        raise DataError(f"the subset {subset!r} has none of its {len(wanted)} ids among the scores")
    keys = {(row["model"], row["dataset"], row["protocol"]) for row in rows}
    assert len(keys) == 1, f"rows of several models or protocols: {sorted(keys)}"
    model, dataset, protocol = keys.pop()
    scored = [row for row in rows if row["status"] == "ok"]
    positives = [row for row in scored if row["is_positive"]]
    result = {
        "model": model,
        "kind": kind,
        "dataset": dataset,
        "subset": subset,
        "protocol": protocol,
        "seed": seed,
        "n": len(scored),
        "num_requested": len(rows),
        "coverage_percent": 100 * len(scored) / len(rows),
        "ids_sha256": hash_ids(row["sample_id"] for row in scored),
        "requested_ids_sha256": hash_ids(row["sample_id"] for row in rows),
        "selection": selection,
        "leakage": leakage,
        "missing": dict(
            sorted(Counter(row["reason"] for row in rows if row["status"] != "ok").items())
        ),
        "success_at": get_protocol(protocol).published_at,
    }
    result |= metric_values(positives, num_resamples=num_resamples)
    if any(not row["is_positive"] for row in rows):
        result["num_negatives"] = len(scored) - len(positives)
        result |= _metrics_with_negatives(scored)
    return result


def metric_values(
    rows: Sequence[Mapping], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict:
    """Each of ``METRICS`` with ``_low`` and ``_high``; null for no rows."""
    if not rows:
        return {f"{metric}{end}": None for metric in METRICS for end in ("", "_low", "_high")}
    values = sample_values(rows)
    found = {}
    for metric, interval in zip(
        METRICS, intervals(values, num_resamples=num_resamples, seed=seed), strict=True
    ):
        found |= {
            metric: interval.value,
            f"{metric}_low": interval.low,
            f"{metric}_high": interval.high,
        }
    cious = np.array([row["ciou"] for row in rows])
    found["auc"] = metrics.auc(
        cious
    )  # the published arithmetic, equal to the mean but for the last bit
    return found


def sample_values(rows: Sequence[Mapping]) -> np.ndarray:
    """One column for each of ``METRICS`` whose mean is the metric: ``(n, len(METRICS))``."""
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
    return np.stack([np.asarray(columns[name], np.float64) for name in METRICS], axis=1)


def evaluate_maps(
    maps: Sequence[np.ndarray],
    sample_ids: Sequence[str],
    samples: pa.Table,
    *,
    dataset: str,
    model: str,
    subsets: Sequence[str],
    protocols: Sequence[str] = ("earshot",),
    num_resamples: int = NUM_RESAMPLES,
    **about,
) -> tuple[list[dict], list[dict]]:
    """Scores and results of one model on a dataset: every subset under every protocol.

    ``samples`` is the dataset's whole samples table; ids that are in no subset need no map, and maps of such ids are
    not scored. ``about`` goes to ``ModelMaps`` (``is_absolute reasons seed selection train_clip_ids kind``).
    """
    ids_of = {subset: subset_ids(samples, subset) for subset in subsets}
    tested = set().union(*ids_of.values())
    all_ids = samples["sample_id"].to_pylist()
    check_ids(sample_ids, num_maps=len(maps), known_ids=set(all_ids))
    tested_table = samples.filter(pa.array([name in tested for name in all_ids]))
    kept = [i for i, name in enumerate(sample_ids) if name in tested]
    model_maps = ModelMaps(
        model, dataset, [sample_ids[i] for i in kept], _Chosen(maps, kept), **about
    )
    clip_of = dict(zip(all_ids, samples["clip_id"].to_pylist(), strict=True))
    scores, results = [], []
    for rows in score_model(model_maps, tested_table, protocols=protocols).values():
        scores += rows
        for subset, ids in ids_of.items():
            wanted, leakage = set(ids), None
            if model_maps.train_clip_ids is not None:
                scored = [
                    row["sample_id"]
                    for row in rows
                    if row["status"] == "ok" and row["sample_id"] in wanted
                ]
                leakage = count_leakage(
                    [clip_of[name] for name in scored], model_maps.train_clip_ids
                )
            results.append(
                summarize(
                    rows,
                    ids,
                    subset=subset,
                    kind=model_maps.kind,
                    seed=model_maps.seed,
                    selection=model_maps.selection,
                    leakage=leakage,
                    num_resamples=num_resamples,
                )
            )
    return scores, results


class _Chosen(Sequence):
    """Some of the maps, without making them."""

    def __init__(self, maps: Sequence, positions: Sequence[int]):
        self._maps, self._positions = maps, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int):
        return self._maps[self._positions[index]]


def intersect(
    scores: Iterable[Mapping],
    ids: Collection[str],
    *,
    subset: str,
    kinds: Mapping[str, str] = MappingProxyType({}),
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict]:
    """Results of several models, under one protocol, on the samples of ``ids`` that all of them have scored.

    ``kinds`` maps a model's name to its kind (see ``entrant.KINDS``); one that it does not name is a ``model``.
    """
    by_model: dict[str, dict[str, Mapping]] = {}
    for row in scores:
        by_model.setdefault(row["model"], {})[row["sample_id"]] = row
    common = set(ids)
    for rows in by_model.values():
        common &= {name for name, row in rows.items() if row["status"] == "ok"}
    if not common:
        raise DataError(
            f"the models {', '.join(by_model)} have no scored sample of subset {subset!r} in common"
        )
    about = {"num_requested": len(set(ids)), "coverage_percent": 100 * len(common) / len(set(ids))}
    about["requested_ids_sha256"] = hash_ids(set(ids))
    return [
        summarize(
            rows.values(),
            common,
            subset=subset,
            kind=kinds.get(model, "model"),
            num_resamples=num_resamples,
        )
        | about
        for model, rows in by_model.items()
    ]


def compare_models(
    scores: Iterable[Mapping],
    ids: Collection[str],
    *,
    first: str,
    second: str,
    metric: str,
    num_resamples: int = NUM_RESAMPLES,
) -> dict:
    """Paired bootstrap of one metric of ``METRICS`` between two models on the samples that both have scored."""
    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}, expected one of {', '.join(METRICS)}")
    wanted, rows_of = set(ids), {first: {}, second: {}}
    for row in scores:
        if (
            row["model"] in rows_of
            and row["status"] == "ok"
            and row["is_positive"]
            and row["sample_id"] in wanted
        ):
            rows_of[row["model"]][row["sample_id"]] = row
    common = sorted(set(rows_of[first]) & set(rows_of[second]))
    if not common:
        raise DataError(f"the models {first} and {second} have no scored sample in common")
    column = METRICS.index(metric)
    values = [
        sample_values([rows_of[model][name] for name in common])[:, column]
        for model in (first, second)
    ]
    comparison = compare_paired(*values, num_resamples=num_resamples)
    row = rows_of[first][common[0]]
    return {
        "first": first,
        "second": second,
        "dataset": row["dataset"],
        "protocol": row["protocol"],
        "metric": metric,
    } | (vars(comparison))


def _metrics_with_negatives(scored: Sequence[Mapping]) -> dict:
    if all(
        row["is_positive"] for row in scored
    ):  # no negative has a map: these metrics would be those of positives
        return {"average_precision": None, "max_f1": None, "localization_accuracy": None}
    is_positive = np.array([row["is_positive"] for row in scored])
    cious = np.array([row["ciou"] or 0.0 for row in scored])
    confidences = np.array([row["confidence"] for row in scored])
    return {
        "average_precision": metrics.average_precision(cious, confidences, is_positive),
        "max_f1": metrics.max_f1(cious, confidences, is_positive),
        "localization_accuracy": metrics.localization_accuracy(cious, is_positive)
        if is_positive.any()
        else None,
    }
