"""All entrants on one dataset: maps, scores, results of each test set, breakdowns, comparisons and ceilings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.errors import ParameterError
from eval.entrants.baselines import ceiling
from eval.entrants.entrant import Entrant, choose_available
from eval.entrants.maps import write_maps
from eval.results.breakdowns import break_down, group_samples
from eval.results.files import METRICS
from eval.results.model_results import compare_models, evaluate_maps, intersect, negative_ids
from eval.results.test_sets import subset_ids
from eval.scoring.ground_truth import GroundTruth, ground_truths_of
from eval.scoring.metrics import auc, success_rate
from eval.scoring.protocols import get_protocol
from pipeline.datasets.dataset import load
from pipeline.datasets.dataset import names as dataset_names


@dataclass(frozen=True)
class EvaluationParameters:
    """Section ``evaluate`` of params.yaml.

    ``subsets``: dataset -> splits that are test sets (none: maps are made, nothing is scored). ``main_protocol``: of
    the breakdowns and comparisons. ``baselines``: of ``entrants.BASELINES``, ``ogl_l1`` and ``ogl_cls``.
    ``object_guidance_weights``: of the last two: ``imagenet`` (fetched by hash) or the path of torchvision's file.
    ``has_untrained``: evaluate each model's own network before training, too.
    """

    subsets: dict = field(default_factory=dict)
    protocols: tuple[str, ...] = ("earshot",)
    main_protocol: str = "earshot"
    comparison_metric: str = "adaptive_ciou"
    baselines: tuple[str, ...] = ("centre", "uniform", "random", "flow")
    object_guidance_weights: str = "imagenet"
    has_untrained: bool = True
    num_resamples: int = 10000

    def __post_init__(self):
        protocols = ", ".join(self.protocols)
        if self.main_protocol not in self.protocols:
            raise ParameterError(
                f"params: evaluate.main_protocol is {self.main_protocol!r}, expected one of evaluate.protocols "
                f"({protocols})"
            )
        if list(dict.fromkeys(get_protocol(name).name for name in self.protocols)) != list(
            self.protocols
        ):
            raise ParameterError(
                f"params: evaluate.protocols is {protocols}, expected each once, by its name"
            )
        if self.comparison_metric not in METRICS:
            raise ParameterError(
                f"params: evaluate.comparison_metric is {self.comparison_metric!r}, expected one of "
                f"{', '.join(METRICS)}"
            )
        if self.num_resamples < 1:
            raise ParameterError(
                f"params: evaluate.num_resamples is {self.num_resamples}, expected at least 1"
            )
        for dataset, subsets in self.subsets.items():
            if dataset not in dataset_names():
                raise ParameterError(
                    f"params: evaluate.subsets names the dataset {dataset!r}, expected some of {', '.join(dataset_names())}"
                )
            if not isinstance(subsets, list | tuple):
                raise ParameterError(
                    f"params: evaluate.subsets.{dataset} is {subsets!r}, expected a list of splits"
                )


def evaluate_dataset(
    dataset: str,
    samples: pa.Table,
    readers: Mapping,
    entrants: Sequence[Entrant],
    *,
    parameters: EvaluationParameters,
    maps_dir: Path,
) -> dict[str, list[dict]]:
    """Rows by name: ``scores`` and the lists of ``eval.results.files.LISTS``.

    Maps of kept entrants are written to ``maps_dir/<entrant>.npz``. A dataset without test sets gets maps of all its
    samples and no rows. A sample that lacks a feature which an entrant reads is a row with status missing and why.
    """
    subsets = tuple(parameters.subsets.get(dataset, ()))
    ids_of = {subset: subset_ids(samples, subset) for subset in subsets}
    tested = set().union(*ids_of.values())
    all_ids = samples["sample_id"].to_pylist()
    wanted = [name for name in all_ids if name in tested] if subsets else all_ids
    rows: dict[str, list[dict]] = {
        name: []
        for name in ("scores", "results", "intersections", "breakdowns", "comparisons", "ceilings")
    }
    for entrant in entrants:
        if not subsets and not entrant.is_kept:
            continue
        available, reasons = choose_available(wanted, entrant.reads, readers)
        maps = entrant.predict(available, readers)
        if entrant.is_kept:
            write_maps(maps_dir / f"{entrant.name}.npz", sample_ids=available, maps=maps)
        if not subsets:
            continue
        scores, results = evaluate_maps(
            maps,
            available,
            samples,
            dataset=dataset,
            model=entrant.name,
            kind=entrant.kind,
            subsets=subsets,
            protocols=parameters.protocols,
            num_resamples=parameters.num_resamples,
            is_absolute=entrant.is_absolute,
            reasons=reasons,
            seed=entrant.seed,
            selection=entrant.selection,
            train_clip_ids=entrant.train_clips_in(dataset),
        )
        rows["scores"] += scores
        rows["results"] += results
    if subsets:
        _add_comparisons(rows, dataset, samples, ids_of, entrants, parameters)
    return rows


def _add_comparisons(rows, dataset: str, samples: pa.Table, ids_of, entrants, parameters) -> None:
    """What needs the scores of all entrants: breakdowns, common samples, paired differences; and the ceilings."""
    groups = group_samples(samples, dataset=dataset)
    truths, negatives = (
        ground_truths_of(samples, box_rule=load(dataset).box_rule),
        negative_ids(samples),
    )
    main_scores: dict[str, list[dict]] = {entrant.name: [] for entrant in entrants}
    for row in rows["scores"]:
        if row["protocol"] == parameters.main_protocol:
            main_scores[row["model"]].append(row)
    models = [entrant.name for entrant in entrants if entrant.is_kept]
    for subset, ids in ids_of.items():
        for model_rows in main_scores.values():
            rows["breakdowns"] += break_down(
                model_rows, groups, subset=subset, ids=ids, num_resamples=parameters.num_resamples
            )
        scored = {
            name: {row["sample_id"] for row in model_rows if row["status"] == "ok"} & set(ids)
            for name, model_rows in main_scores.items()
        }
        together = [row for model_rows in main_scores.values() for row in model_rows]
        if len({frozenset(names) for names in scored.values()}) > 1 and set.intersection(
            *scored.values()
        ):
            rows["intersections"] += intersect(
                together,
                ids,
                subset=subset,
                kinds={entrant.name: entrant.kind for entrant in entrants},
                num_resamples=parameters.num_resamples,
            )
        for i, first in enumerate(models):
            for second in models[i + 1 :]:
                if scored[first] & scored[second]:
                    rows["comparisons"].append(
                        compare_models(
                            together,
                            ids,
                            first=first,
                            second=second,
                            metric=parameters.comparison_metric,
                            num_resamples=parameters.num_resamples,
                        )
                        | {"subset": subset}
                    )
        rows["ceilings"] += _ceilings(
            [truths[name] for name in ids if name in truths and name not in negatives],
            parameters.protocols,
            about={"dataset": dataset, "subset": subset},
        )


def _ceilings(
    truths: Sequence[GroundTruth], protocols: Sequence[str], *, about: Mapping
) -> list[dict]:
    """The best that any map can score on these samples, a row a protocol; none without samples."""
    rows = []
    for name in protocols if truths else ():
        protocol = get_protocol(name)
        best = ceiling(truths, protocol=protocol)
        rows.append(
            {
                **about,
                "protocol": protocol.name,
                "n": len(best),
                "success_at": protocol.published_at,
                "mean_ciou": float(best.mean()),
                "success_rate": success_rate(best),
                "success_rate_at_30": success_rate(best, at=0.3),
                "auc": auc(best),
            }
        )
    return rows
