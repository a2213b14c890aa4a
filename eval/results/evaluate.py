"""Evaluate all entrants on one dataset: maps, scores, and every list of ``results.json``."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.errors import ParameterError
from earshot.reader import FeatureReader
from eval.entrants.baselines import NETWORK_BASELINES
from eval.entrants.ceilings import compute_ceilings
from eval.entrants.entrant import EmbedPairs, Entrant, choose_available
from eval.published.test_sets import find_subset_ids, find_unscored
from eval.results.breakdowns import break_down, group_samples
from eval.results.comparisons import choose_pairs, compare_pairs, summarize_intersection
from eval.results.files import LISTS, METRICS
from eval.results.further_metrics import check_metrics, compute_further
from eval.results.kept_maps import find_problems, keep_maps
from eval.results.model_results import evaluate_model
from eval.results.model_scores import ModelMaps, find_negatives
from eval.results.negative_audio import NegativeAudioParameters
from eval.results.seeds import add_seed_ranges, summarize_seeds
from eval.results.summaries import find_groups
from eval.scoring.ground_truth import GroundTruth, ground_truths_of
from eval.scoring.metrics import auc, success_rate
from eval.scoring.protocols import get_protocol
from pipeline.datasets.dataset import check_test_splits, load

# Rows by the name of their table: ``scores`` and each of ``LISTS``.
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class EvaluationParameters:
    """Section ``evaluate`` of params.yaml."""

    # Dataset -> splits that are test sets. Without any, maps are made and nothing is scored.
    subsets: dict[str, Sequence[str]] = field(default_factory=dict)
    protocols: tuple[str, ...] = ("earshot",)
    # The protocol of the breakdowns and comparisons.
    main_protocol: str = "earshot"
    comparison_metric: str = "adaptive_ciou"
    # Of eval.entrants.baselines: BASELINES and NETWORK_BASELINES.
    baselines: tuple[str, ...] = ("centre", "uniform", "random", "flow")
    # Maps of other systems: name -> .npz file or folder (see eval.entrants.external).
    external: dict[str, str] = field(default_factory=dict)
    # Of the network baselines: imagenet (fetched by hash), or the path of torchvision's file.
    object_guidance_weights: str = "imagenet"
    # Evaluate each model's network before training, too.
    has_untrained: bool = True
    num_resamples: int = 10000
    # Of eval.results.further_metrics: acl_sweep, masks, sources, retrieval.
    further_metrics: tuple[str, ...] = ()
    # Silence, noise and offscreen sound for some test sets.
    negative_audio: NegativeAudioParameters = field(default_factory=NegativeAudioParameters)

    def __post_init__(self) -> None:
        protocols = ", ".join(self.protocols)
        if self.main_protocol not in self.protocols:
            raise ParameterError(
                f"params: evaluate.main_protocol is {self.main_protocol!r}, expected one of "
                f"evaluate.protocols ({protocols})"
            )

        # Results carry the protocol's own name, so an alias is refused as well as a repeated name.
        names = [get_protocol(name).name for name in self.protocols]
        if list(dict.fromkeys(names)) != list(self.protocols):
            raise ParameterError(
                f"params: evaluate.protocols is {protocols}, expected each once, by its name"
            )

        if self.comparison_metric not in METRICS:
            raise ParameterError(
                f"params: evaluate.comparison_metric is {self.comparison_metric!r}, expected one "
                f"of {', '.join(METRICS)}"
            )
        if self.num_resamples < 1:
            raise ParameterError(
                f"params: evaluate.num_resamples is {self.num_resamples}, expected at least 1"
            )

        check_metrics(self.further_metrics, parameter="params: evaluate.further_metrics")
        check_test_splits(self.subsets)

    def list_notes(self) -> list[str]:
        """Return sentences about paths that nothing reads."""
        weights = self.object_guidance_weights
        if weights == "imagenet" or set(self.baselines) & set(NETWORK_BASELINES):
            return []
        names = ", ".join(NETWORK_BASELINES)
        return [f"object_guidance_weights without effect: baselines has none of {names}"]


def evaluate_dataset(
    dataset: str,
    samples: pa.Table,
    readers: Mapping[str, FeatureReader],
    entrants: Sequence[Entrant],
    *,
    parameters: EvaluationParameters,
    maps_dir: Path,
    video_of: Mapping[str, str] | None = None,
) -> Rows:
    """Evaluate all entrants on one dataset.

    A sample without a feature that an entrant reads gets a row with the status ``missing`` and the
    reason. A dataset without test sets gets maps of all its samples and no rows.

    Args:
        dataset: name of the dataset.
        samples: its whole table SAMPLES.
        readers: a reader for each feature that an entrant reads.
        entrants: that take part on this dataset.
        parameters: test sets, protocols and the rest.
        maps_dir: the maps of kept entrants are written to ``<entrant>.npz`` in this folder.
        video_of: clip id -> video id: intervals draw the samples of one video together. None: they
            draw the samples of one clip together.

    Returns:
        Rows for ``eval.results.files.write_results``.
    """
    subsets = parameters.subsets.get(dataset, ())
    test_sets = {subset: find_subset_ids(samples, subset) for subset in subsets}
    wanted = samples["sample_id"].to_pylist()

    # Only samples of test sets need maps. Without test sets, make the maps of all samples.
    if test_sets:
        tested = set().union(*test_sets.values())
        wanted = [name for name in wanted if name in tested]

    rows: Rows = {name: [] for name in ("scores", *LISTS)}
    if not test_sets:
        rows["notes"] += find_unscored(dataset, samples)
    for entrant in entrants:
        # Do not compute maps that are neither scored nor kept.
        if not test_sets and not entrant.is_kept:
            continue

        # A sample that lacks a feature is counted as missing, with the reason.
        available, reasons = choose_available(wanted, entrant.reads, readers)
        # Foreign maps need no feature, but a map can be absent.
        if entrant.own_ids is not None:
            available = [name for name in available if name in entrant.own_ids]
        maps = entrant.predict(available, readers)

        if entrant.is_kept:
            keep_maps(maps_dir / f"{entrant.name}.npz", entrant, available, maps)
            rows["notes"] += find_problems(entrant, dataset, wanted, available, maps)
        if not test_sets:
            continue

        seen = entrant.find_training_clips(dataset, samples)
        own_maps = ModelMaps(
            entrant.name,
            dataset,
            available,
            maps,
            is_absolute=entrant.is_absolute,
            reasons=reasons,
            seed=entrant.seed,
            selection=entrant.selection,
            train_clip_ids=None if seen is None else seen.clip_ids,
            unknown_clip_ids=() if seen is None else seen.unknown_ids,
            kind=entrant.kind,
            method=entrant.method,
            trained_on=entrant.trained_on,
            num_trained_on=entrant.num_trained_on,
            own_settings=entrant.own_settings,
            source_maps=None
            if entrant.predict_sources is None
            else entrant.predict_sources(available, readers),
            embed_pairs=None
            if entrant.embed_pairs is None
            else functools.partial(_embed, entrant.embed_pairs, readers),
        )

        rows["further"] += compute_further(
            own_maps, samples, test_sets=test_sets, metrics=parameters.further_metrics
        )

        for model_maps, protocols in _find_variants(own_maps, entrant, readers, parameters):
            scores, results = evaluate_model(
                model_maps,
                samples,
                test_sets=test_sets,
                protocols=protocols,
                video_of=video_of,
                num_resamples=parameters.num_resamples,
            )
            rows["scores"] += scores
            rows["results"] += results

    # These compare entrants, so they need the rows of all entrants.
    if test_sets:
        group_of = find_groups(samples, video_of)
        groups = group_samples(samples, dataset=dataset)
        _add_intersections(rows, entrants, dataset, samples, test_sets, parameters, group_of)
        _add_comparisons(rows, entrants, test_sets, parameters, group_of)
        # In this order: comparisons get the range of the seeds, which must be known by then.
        rows["seeds"] += summarize_seeds(rows["results"], entrants)
        rows["notes"] += add_seed_ranges(rows["comparisons"], rows["seeds"])
        _add_breakdowns(rows, groups, test_sets, parameters, group_of)
        _add_ceilings(rows, dataset, samples, test_sets, parameters)
    return rows


def _embed(
    embed_pairs: EmbedPairs, readers: Mapping[str, FeatureReader], sample_ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    return embed_pairs(sample_ids, readers)


def _find_variants(
    own_maps: ModelMaps,
    entrant: Entrant,
    readers: Mapping[str, FeatureReader],
    parameters: EvaluationParameters,
) -> Iterator[tuple[ModelMaps, list[str]]]:
    """Yield the maps of an entrant, with the protocols under which they are scored."""
    shared = [protocol for protocol in parameters.protocols if protocol not in entrant.parity]
    if shared:
        yield own_maps, shared

    # Under some protocols, its authors score other maps.
    for protocol, predict in entrant.parity.items():
        if protocol in parameters.protocols:
            maps = predict(own_maps.sample_ids, readers)
            yield dataclasses.replace(own_maps, maps=maps, is_absolute=True), [protocol]


def _add_breakdowns(
    rows: Rows,
    groups: Mapping[str, Mapping[str, Collection[str]]],
    test_sets: Mapping[str, Collection[str]],
    parameters: EvaluationParameters,
    group_of: Mapping[str, str],
) -> None:
    """Add the results of every group, under the main protocol."""
    scores_of = _group_by_model(rows["scores"], protocol=parameters.main_protocol)
    for subset, ids in test_sets.items():
        for scores in scores_of.values():
            rows["breakdowns"] += break_down(
                scores,
                groups,
                subset=subset,
                ids=ids,
                group_of=group_of,
                num_resamples=parameters.num_resamples,
            )


def _add_intersections(
    rows: Rows,
    entrants: Sequence[Entrant],
    dataset: str,
    samples: pa.Table,
    test_sets: Mapping[str, Collection[str]],
    parameters: EvaluationParameters,
    group_of: Mapping[str, str],
) -> None:
    """Add the results on the samples that all entrants have, under the main protocol."""
    scores_of = _group_by_model(rows["scores"], protocol=parameters.main_protocol)
    # All entrants together, because the common samples are those of all.
    all_scores = [row for scores in scores_of.values() for row in scores]
    ids_of_samples = (samples[name].to_pylist() for name in ("sample_id", "clip_id"))
    clip_of = dict(zip(*ids_of_samples, strict=True))
    seen_clips = {one.name: one.find_training_clips(dataset, samples) for one in entrants}

    for subset, ids in test_sets.items():
        wanted = set(ids)
        scored_ids = [
            frozenset(row["sample_id"] for row in scores if row["status"] == "ok") & wanted
            for scores in scores_of.values()
        ]
        # An entrant without any score has nothing in common with the others.
        scored_ids = [names for names in scored_ids if names]

        # If all entrants have the same samples, the intersection would repeat the results.
        if len(set(scored_ids)) > 1 and frozenset.intersection(*scored_ids):
            rows["intersections"] += summarize_intersection(
                all_scores,
                ids,
                subset=subset,
                entrants=entrants,
                clip_of=clip_of,
                seen_clips=seen_clips,
                group_of=group_of,
                num_resamples=parameters.num_resamples,
            )


def _add_comparisons(
    rows: Rows,
    entrants: Sequence[Entrant],
    test_sets: Mapping[str, Collection[str]],
    parameters: EvaluationParameters,
    group_of: Mapping[str, str],
) -> None:
    """Add paired comparisons: each model with the best baseline, and networks with each other."""
    scores_of = _group_by_model(rows["scores"], protocol=parameters.main_protocol)
    all_scores = [row for scores in scores_of.values() for row in scores]
    metric = parameters.comparison_metric

    for subset, ids in test_sets.items():
        pairs = choose_pairs(scores_of, ids, entrants=entrants, metric=metric)
        # All pairs in one call, because pairs of the same samples share their resamples.
        found = compare_pairs(
            all_scores,
            ids,
            pairs=list(pairs),
            metric=metric,
            group_of=group_of,
            num_resamples=parameters.num_resamples,
        )
        for comparison, is_best_baseline in zip(found, pairs.values(), strict=True):
            facts = {"subset": subset, "is_best_baseline": is_best_baseline}
            rows["comparisons"].append(comparison | facts)


def _add_ceilings(
    rows: Rows,
    dataset: str,
    samples: pa.Table,
    test_sets: Mapping[str, Collection[str]],
    parameters: EvaluationParameters,
) -> None:
    """Add the best that any map can score on the positives, under each protocol."""
    truths = ground_truths_of(samples, box_rule=load(dataset).box_rule)
    negatives = find_negatives(samples)
    for subset, ids in test_sets.items():
        # Boxes of a negative belong to the frame's own sound (see ``find_negatives``).
        positives = [truths[name] for name in ids if name in truths and name not in negatives]

        for protocol in parameters.protocols if positives else ():
            row = {"dataset": dataset, "subset": subset}
            rows["ceilings"].append(row | _summarize_ceilings(positives, protocol))


def _summarize_ceilings(truths: Sequence[GroundTruth], protocol_name: str) -> dict[str, Any]:
    protocol = get_protocol(protocol_name)
    best = compute_ceilings(truths, protocol=protocol)
    return {
        "protocol": protocol.name,
        "n": len(best),
        "success_at": protocol.published_at,
        "mean_ciou": float(best.mean()),
        "success_rate": success_rate(best),
        # Where FlowGrad's code counts a success.
        "success_rate_at_30": success_rate(best, at=0.3),
        "auc": auc(best),
    }


def _group_by_model(
    scores: Sequence[dict[str, Any]], *, protocol: str
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one protocol by model, in the order of the models."""
    scores_of: dict[str, list[dict[str, Any]]] = {}
    for row in scores:
        if row["protocol"] == protocol:
            scores_of.setdefault(row["model"], []).append(row)
    return scores_of
