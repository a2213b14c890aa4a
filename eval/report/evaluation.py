"""Results and scores of all datasets, as all sections of the page need them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from eval.published.test_sets import find_test_sets
from eval.report.data.inputs import DatasetInputs, ReportInputs
from eval.report.data.result_rows import (
    KIND_ORDER,
    Group,
    best_own_row,
    best_row,
    group_results,
    number_of,
    with_ceilings,
)
from eval.report.data.sample_scores import SampleScores, collect_scores, restrict
from eval.report.gallery.opening import OpeningChoice, choose_opening
from eval.results.files import METRICS

_NUM_MAPPED = 6  # maps beside each other at first
# Models that somebody would use: neither untrained nor trivial.
_RANKED_KINDS = ("model", "external", "baseline")


class Opening(NamedTuple):
    """The samples that the page opens with, and where they come from."""

    dataset: str
    subset: str
    choice: OpeningChoice


@dataclass(frozen=True)
class Evaluation:
    """The results and scores of all datasets, as all sections need them."""

    protocol: str  # the one that the sections show, unless they show all
    metric: str  # ranks models and samples
    groups: tuple[Group, ...]
    kinds: Mapping[str, str]  # by model, where known
    models: tuple[str, ...]  # in the order of the page
    scores: Mapping[str, SampleScores]  # by dataset
    opening: Opening | None = None

    def subsets_of(self, dataset: str) -> list[str]:
        """Return the names of the test sets of a dataset that have results."""
        found = (group.subset for group in self.groups if group.dataset == dataset)
        return list(dict.fromkeys(found))

    def opening_ids_of(self, dataset: str) -> tuple[str, ...]:
        """Return the samples of a dataset that the page opens with."""
        if self.opening is None or self.opening.dataset != dataset:
            return ()
        return self.opening.choice.sample_ids

    def shown_models(self) -> list[str]:
        """Return the models that charts and gallery show: those that somebody would use.

        Of baselines with the same numbers under the main protocol one is enough.
        """
        seen: set[tuple] = set()
        shown = []
        for name in self.models:
            if self.kinds.get(name) not in _RANKED_KINDS:
                continue
            rows = [
                row
                for group in self.groups
                for row in group.rows
                if row["model"] == name and group.protocol == self.protocol
            ]

            # Baselines whose numbers are all equal would be one line over the other in a chart.
            numbers = tuple(row.get(metric) for row in rows for metric in METRICS)
            is_repeated = self.kinds[name] == "baseline" and numbers in seen
            if not rows or not is_repeated:
                shown.append(name)
            if self.kinds[name] == "baseline":
                seen.add(numbers)

        # A page of trivial entrants alone shows those.
        return shown or list(self.models)

    def mapped_models(self) -> list[str]:
        """Return the models whose maps the gallery shows at first: a few, with a baseline."""
        shown = self.shown_models()
        baselines = [name for name in shown if self.kinds.get(name) == "baseline"]
        others = [name for name in shown if name not in baselines]
        # One place is kept for a baseline. Baselines also take the places that others leave.
        num_others = _NUM_MAPPED - min(1, len(baselines))
        chosen = {*others[:num_others], *baselines[: _NUM_MAPPED - len(others[:num_others])]}
        return [name for name in shown if name in chosen]

    def ceiling_of(self, dataset: str, subset: str) -> float | None:
        """Return the best AUC that a map can have on a test set under the main protocol."""
        for group in self.groups:
            if (group.dataset, group.subset, group.protocol) == (dataset, subset, self.protocol):
                row = best_row(group.rows, "auc", ("ceiling",))
                return None if row is None else number_of(row, "auc")
        return None


def collect_evaluation(inputs: ReportInputs, protocol: str, metric: str) -> Evaluation:
    """Return the results and scores of all datasets, in the order of the page.

    Args:
        inputs: What the page is made from.
        protocol: The one that sections show, unless they show all.
        metric: Ranks models and samples.
    """
    groups = group_results(with_ceilings(inputs.results), first_protocol=protocol, metric=metric)

    # Single scores are shown under the main protocol alone.
    scores = {
        dataset.name: collect_scores(inputs.scores, dataset=dataset.name, protocol=protocol)
        for dataset in inputs.datasets
    }

    rows = [row for group in groups for row in group.rows]
    # a name that has a run of its own is a model, also where nothing of it was scored
    kinds = dict.fromkeys(inputs.runs, "model")
    kinds |= {str(row["model"]): row["kind"] for row in rows}

    # Some names have only scores or only maps: of a dataset without test sets, for example.
    names = [str(row["model"]) for row in rows]
    if inputs.scores is not None:
        names += sorted(set(inputs.scores.column("model").to_pylist()))
    for dataset in inputs.datasets:
        names += sorted(dataset.map_paths)

    models = _order_models(names, kinds)
    evaluation = Evaluation(protocol, metric, groups, kinds, models, scores)
    return replace(evaluation, opening=_choose_opening(inputs, evaluation))


def _order_models(names: Iterable[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return each name once: by kind, names without a kind last, else in the given order."""
    place_of = {kind: place for place, kind in enumerate(KIND_ORDER)}
    unknown = len(KIND_ORDER)
    return tuple(
        sorted(dict.fromkeys(names), key=lambda name: place_of.get(kinds.get(name, ""), unknown))
    )


def _choose_opening(inputs: ReportInputs, evaluation: Evaluation) -> Opening | None:
    """Choose the samples of the opening: of the first test set, by its best model."""
    main = next((one for one in evaluation.groups if one.protocol == evaluation.protocol), None)
    if main is None:
        return None
    best = best_own_row(main.rows, evaluation.metric)
    dataset = next((one for one in inputs.datasets if one.name == main.dataset), None)
    if best is None or dataset is None:
        return None

    scores = restrict(evaluation.scores[main.dataset], ids_of_subset(dataset, main.subset))
    choice = choose_opening(scores, model=str(best["model"]), metric=evaluation.metric)
    return None if choice is None else Opening(main.dataset, main.subset, choice)


def count_test_samples(inputs: ReportInputs, evaluation: Evaluation) -> int:
    """Count the samples of all test sets; one that several test sets have counts once."""
    return sum(
        len(
            {
                sample_id
                for subset in evaluation.subsets_of(dataset.name)
                for sample_id in ids_of_subset(dataset, subset)
            }
        )
        for dataset in inputs.datasets
    )


def scores_by_subset(
    inputs: ReportInputs, evaluation: Evaluation
) -> list[tuple[str, SampleScores]]:
    """Return each test set that has results, with its scores under the main protocol."""
    found = []
    for dataset in inputs.datasets:
        for subset in evaluation.subsets_of(dataset.name):
            sample_ids = ids_of_subset(dataset, subset)
            scores = restrict(evaluation.scores[dataset.name], sample_ids)
            if any(scores.values.values()):
                found.append((subset, scores))
    return found


def ids_of_subset(dataset: DatasetInputs, subset: str) -> list[str]:
    """Return the samples of a test set, which is named by itself or by its split."""
    test_set = find_test_sets().get(subset)
    # params.yaml names a split, `earshot score` a test set.
    names = {subset, subset if test_set is None else test_set.split}
    rows = dataset.samples.select(["sample_id", "splits"]).to_pylist()
    return [row["sample_id"] for row in rows if subset == "all" or names & set(row["splits"] or [])]
