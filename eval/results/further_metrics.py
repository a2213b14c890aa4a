"""Compute metrics that are not means over samples, or that need several maps of a sample.

``METRICS_OF`` names them: ``evaluate.further_metrics`` in params.yaml, ``--metric`` of
``eval.score``.

- ``acl_sweep``: success and AUC at 19 fixed thresholds (ACL);
- ``masks``: mIoU and F against masks (AVSBench);
- ``sources``: CAP, PIAP and IoU of several sources (NoPrior, AVGN);
- ``retrieval``: R@k of sounds and frames, from pooled features.

The first two take probabilities. If any map of a model has a value outside of 0..1, each map is
normalized to 0..1, and the row says so (``map_scale``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.errors import ParameterError
from eval.results.model_scores import ModelMaps, find_negatives
from eval.results.source_scores import score_several_sources
from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.masks import (
    SWEPT_THRESHOLDS,
    compute_mask_f,
    compute_mean_iou,
    sweep_thresholds,
)
from eval.scoring.retrieval import compute_recalls
from eval.scoring.score_maps import has_finite_range
from eval.scoring.upsampling import upsample
from pipeline.datasets.dataset import load
from pipeline.lists.masks import ATTRIBUTE, decode_mask

CHOSEN_ON_TEST = "threshold chosen on the test set"
_UPSAMPLING = "cv2_linear"  # as torch with corners that are not aligned, which ACL takes

Row = dict[str, Any]
Facts = dict[str, dict[str, str]]  # sample id -> attributes


def check_metrics(names: Sequence[str], *, parameter: str) -> None:
    """Check names of metrics.

    Args:
        names: of ``METRICS_OF``.
        parameter: where they come from, for the message.

    Raises:
        ParameterError: one is unknown or named twice.
    """
    for name in names:
        if name not in METRICS_OF:
            raise ParameterError(
                f"{parameter} has {name!r}, expected some of {', '.join(METRICS_OF)}"
            )
    if len(set(names)) < len(names):
        raise ParameterError(f"{parameter} names {', '.join(names)}, expected each once")


def compute_further(
    model_maps: ModelMaps,
    samples: pa.Table,
    *,
    test_sets: Mapping[str, Collection[str]],
    metrics: Iterable[str],
) -> list[Row]:
    """Compute metrics of one model on each test set that has the inputs for them.

    Args:
        model_maps: maps, and perhaps maps of sources and features, of samples of one dataset.
        samples: the dataset's whole table SAMPLES.
        test_sets: name of a test set -> ids of its samples.
        metrics: names of ``METRICS_OF``.

    Returns:
        Objects of the list ``further`` (see ``eval.results.files``). A test set without a sample
        that a metric can score has no row of it.

    Raises:
        DataError: a mask or a map is wrong.
    """
    columns = samples.select(["sample_id", "attributes"]).to_pydict()
    facts = {
        name: dict(attributes or ()) for name, attributes in zip(*columns.values(), strict=True)
    }
    negatives = find_negatives(samples)
    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}

    rows = []
    for subset, all_ids in test_sets.items():
        # The sound of a negative is not in its frame, so these metrics are of positives alone.
        wanted = [name for name in all_ids if name not in negatives]
        ids = [name for name in wanted if name in position_of]
        for metric in metrics:
            found = METRICS_OF[metric](model_maps, samples, facts, ids)
            # The samples do not have what the metric needs, such as masks.
            if found is None:
                continue
            about = {
                "model": model_maps.model,
                "kind": model_maps.kind,
                "dataset": model_maps.dataset,
                "subset": subset,
                "metric": metric,
                "num_requested": len(wanted),
            }
            rows.append(about | found)
    return rows


def _sweep(
    model_maps: ModelMaps, samples: pa.Table, facts: Facts, ids: Sequence[str]
) -> Row | None:
    truths = ground_truths_of(samples, box_rule=load(model_maps.dataset).box_rule)
    chosen = _choose_finite(model_maps, [name for name in ids if name in truths])
    if not chosen:
        return None

    maps, scale = _read_probabilities(model_maps, chosen)
    sweep = sweep_thresholds(maps, [truths[name].levels() > 0 for name in chosen])
    # Both numbers are of the threshold with the largest AUC, as in ACL's code.
    best = sweep.thresholds.index(sweep.best_threshold)
    return {
        "n": len(chosen),
        "map_scale": scale,
        "note": sweep.note,
        "best_threshold": sweep.best_threshold,
        "success_rate": float(sweep.success_rates[best]),
        "auc": float(sweep.aucs[best]),
        "thresholds": list(sweep.thresholds),
        "success_rates": sweep.success_rates.tolist(),
        "aucs": sweep.aucs.tolist(),
    }


def _score_masks(
    model_maps: ModelMaps, samples: pa.Table, facts: Facts, ids: Sequence[str]
) -> Row | None:
    chosen = _choose_finite(model_maps, [name for name in ids if ATTRIBUTE in facts[name]])
    if not chosen:
        return None

    maps, scale = _read_probabilities(model_maps, chosen)
    masks = [decode_mask(facts[name][ATTRIBUTE], where=f"sample {name}") for name in chosen]
    # AVSBench marks from one half on, ACL prints the best of its thresholds.
    mean_ious = [compute_mean_iou(maps, masks, threshold=one) for one in SWEPT_THRESHOLDS]
    return {
        "n": len(chosen),
        "map_scale": scale,
        "mean_iou": compute_mean_iou(maps, masks, threshold=0.5),
        "f": compute_mask_f(maps, masks),
        "best_mean_iou": max(mean_ious),
        "best_threshold": SWEPT_THRESHOLDS[int(np.argmax(mean_ious))],
        "note": f"f and best_mean_iou: {CHOSEN_ON_TEST}",
    }


def _retrieve(
    model_maps: ModelMaps, samples: pa.Table, facts: Facts, ids: Sequence[str]
) -> Row | None:
    if model_maps.embed_pairs is None or not ids:
        return None

    frames, sounds = model_maps.embed_pairs(ids)
    units = []
    for features in (frames, sounds):
        features = np.asarray(features, np.float64)
        # Of length 1, so that the product below is a cosine. A feature of zeros stays as it is.
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        units.append(features / np.maximum(norms, 1e-12))

    # One row a sound, one column a frame.
    similarities = units[1] @ units[0].T

    # A sample without a recording of its own stands for itself.
    recordings = [_name_recording(facts[name], name) for name in ids]
    recalls = {
        "sound_to_frame": compute_recalls(similarities, recordings=recordings),
        "frame_to_sound": compute_recalls(similarities.T, recordings=recordings),
    }
    return {
        "n": len(ids),
        "num_recordings": len(set(recordings)),
        **{f"{way}_at_{k}": share for way, found in recalls.items() for k, share in found.items()},
    }


def _name_recording(attributes: Mapping[str, str], sample_id: str) -> str:
    return attributes.get("picture") or attributes.get("recording") or sample_id


def _choose_finite(model_maps: ModelMaps, ids: Sequence[str]) -> list[str]:
    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}
    return [name for name in ids if has_finite_range(model_maps.maps[position_of[name]])]


def _read_probabilities(model_maps: ModelMaps, ids: Sequence[str]) -> tuple[list[np.ndarray], str]:
    """Return the maps on the grid, 0 to 1, and how they became so."""
    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}
    lowres = [np.asarray(model_maps.maps[position_of[name]], np.float32) for name in ids]
    # All or none: values of one model must not be treated in two ways.
    is_probability = all(one.min() >= 0 and one.max() <= 1 for one in lowres)

    grids = [upsample(one, how=_UPSAMPLING) for one in lowres]
    if is_probability:
        return grids, "as it is"
    return [_normalize(one) for one in grids], "each map normalized to 0..1"


def _normalize(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    # A constant map has no range to divide by.
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


Compute = Callable[[ModelMaps, pa.Table, Facts, Sequence[str]], Row | None]
METRICS_OF: dict[str, Compute] = {
    "acl_sweep": _sweep,
    "masks": _score_masks,
    "sources": score_several_sources,
    "retrieval": _retrieve,
}


def describe_unscored(metrics: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each metric of which no test set of any model has a row.

    Args:
        metrics: those of ``evaluate.further_metrics``.
        rows: all rows of the evaluation.
    """
    scored = {row["metric"] for row in rows}
    return [
        f"evaluate.further_metrics: {metric} scored nothing, since no test set and model have what "
        "it needs (docs/protocols.md)"
        for metric in metrics
        if metric not in scored
    ]


def describe_further(row: Mapping[str, Any]) -> str:
    """Return the sentence that is printed of one row."""
    left_out = {"model", "kind", "dataset", "subset", "metric", "n", "num_requested", "note"}
    numbers = [
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name not in left_out and value is not None and not isinstance(value, list)
    ]

    note = f" ({row['note']})" if row.get("note") else ""
    return (
        f"{row['model']} on {row['subset']}, {row['metric']}: n {row['n']} of "
        f"{row['num_requested']}, {', '.join(numbers)}{note}"
    )
