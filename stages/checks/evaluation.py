"""The part of ``check`` about the evaluation: test sets, baselines, foreign maps."""

from collections.abc import Sequence

from earshot.errors import ParameterError
from eval.entrants.baselines import BASELINES, NETWORK_BASELINES
from eval.entrants.entrant import name_entrants
from eval.entrants.external import check_external
from eval.results.evaluate import EvaluationParameters
from pipeline.base.parameters import suggest
from pipeline.base.project import Project
from pipeline.datasets.dataset import check_test_splits, find_known_splits, find_own_tables
from pipeline.features.flow import Parameters as FlowParameters

_ALL = "all"  # stands for every sample of a dataset
# With fewer, no resample lies beyond an interval of 95 % on either side.
_FEWEST_RESAMPLES, _MOST_RESAMPLES = 40, 10**7


def check_evaluation(project: Project, runs: Sequence[str]) -> None:
    """Check the names and numbers of section ``evaluate``.

    Args:
        project: Whose params.yaml is read; it has the section.
        runs: The evaluated runs; maps of other systems need other names.

    Raises:
        ParameterError: A name is unknown, or a number out of range.
    """
    evaluate = project.parameters(EvaluationParameters, "evaluate")
    own_tables = find_own_tables(project.params)
    check_test_splits(evaluate.subsets, own_tables=own_tables)
    check_test_splits(
        evaluate.negative_audio.subsets,
        own_tables=own_tables,
        parameter="evaluate.negative_audio.subsets",
    )
    _check_test_sets(project, evaluate)

    for name in evaluate.baselines:
        known = (*BASELINES, *NETWORK_BASELINES)
        if name not in known:
            raise ParameterError(
                f"params: unknown baseline in evaluate.baselines: {name!r}{suggest(name, known)}; "
                f"known: {', '.join(sorted(known))}"
            )
    _check_flow(project, evaluate)
    if not _FEWEST_RESAMPLES <= evaluate.num_resamples <= _MOST_RESAMPLES:
        raise ParameterError(
            f"params: evaluate.num_resamples is {evaluate.num_resamples}, expected "
            f"{_FEWEST_RESAMPLES} to {_MOST_RESAMPLES}: fewer make no interval of 95 %"
        )

    # Each entrant has a file of maps by its name, so a foreign one needs a name that is free.
    taken = name_entrants(runs, evaluate.baselines, has_untrained=evaluate.has_untrained)
    check_external(evaluate.external, taken=taken, root=project.root)


def _check_flow(project: Project, evaluate: EvaluationParameters) -> None:
    """Check that baselines of flow can read the feature ``flow``."""
    readers = [name for name in evaluate.baselines if name.startswith("flow")]
    if not readers or "flow" not in project.params:
        return
    flow = project.parameters(FlowParameters, "flow")
    # Two magnitudes would be taken for x and y.
    if flow.aggregation == "stack" and flow.num_pairs > 1:
        raise ParameterError(
            f"params: flow.aggregation is stack, which has {flow.num_pairs} pairs, but the "
            f"baseline {readers[0]} reads one; set it to mean or max, or take a variant for it"
        )
    if flow.components == "magnitude" and "flow_jpeg" in readers:
        raise ParameterError(
            "params: flow.components is magnitude, but the baseline flow_jpeg reads x and y; set "
            "it to xy"
        )


def _check_test_sets(project: Project, evaluate: EvaluationParameters) -> None:
    """Check that the chosen datasets have the splits that are scored.

    The evaluation, at the end of everything, would say so too late.
    """
    negative = evaluate.negative_audio
    for dataset in project.params.get("datasets") or ():
        wanted = {
            "subsets": evaluate.subsets.get(dataset, ()),
            "negative_audio.subsets": negative.subsets.get(dataset, ()),
        }
        # A table of 200,000 rows is read for half a second.
        splits = find_known_splits(project, dataset) if any(wanted.values()) else None
        if splits is None:
            continue
        for key, names in wanted.items():
            for name in names:
                if name not in (*splits, _ALL):
                    raise ParameterError(
                        f"params: evaluate.{key}.{dataset} has {name!r}{suggest(name, splits)}; "
                        f"sources.{dataset} gives the splits {', '.join(sorted(splits))}: change "
                        "one of them"
                    )

        # A threshold is found in the test set's own dataset, or else in the first one.
        split = negative.threshold_split
        if not wanted["negative_audio.subsets"] or split in splits:
            continue
        others = find_known_splits(project, project.first_dataset)
        if others is not None and split not in others:
            raise ParameterError(
                f"params: evaluate.negative_audio.threshold_split is {split!r}"
                f"{suggest(split, splits)}; sources.{dataset} gives the splits "
                f"{', '.join(sorted(splits))}"
            )


def list_left_out(evaluate: EvaluationParameters, datasets: Sequence[str]) -> list[str]:
    """Name the test sets that get no negative audio, because they are not evaluated at all."""
    return [
        f"evaluate.negative_audio.subsets.{dataset} has {name!r}, which evaluate.subsets.{dataset} "
        "lacks, so it is left out"
        for dataset in datasets
        for name in evaluate.negative_audio.subsets.get(dataset, ())
        if name not in evaluate.subsets.get(dataset, ())
    ]
