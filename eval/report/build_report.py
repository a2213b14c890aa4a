"""Write the report: ``index.html``, the tables for papers, and the tables behind its plots.

The page is one file that loads nothing from outside and has no time stamp: the same inputs give the
same bytes.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from earshot.files import publish_bytes, publish_text
from eval.published.test_sets import find_test_sets
from eval.report.data import exports
from eval.report.data.inputs import DatasetInputs, ReportInputs, ReportParameters
from eval.report.data.result_rows import ABSENT, KIND_ORDER, Group, group_results, with_ceilings
from eval.report.data.sample_scores import SampleScores, collect_scores, restrict
from eval.report.gallery.cards import Card, CardMaker, view_form
from eval.report.gallery.choice import choose_samples
from eval.report.page import render_page
from eval.report.sections.availability import count_reasons, find_absent_clips, view_availability
from eval.report.sections.protocol_cards import view_protocols
from eval.report.sections.results_tables import Results, view_results
from eval.report.sections.score_charts import (
    THRESHOLD_LABELS,
    success_curves,
    view_breakdowns,
    view_curves,
)
from eval.report.sections.summary_cards import view_summary
from eval.report.sections.training_curves import view_training

# Whose best and worst samples the gallery shows.
_RANKED_KINDS = ("model", "external", "baseline")
_UNSAFE_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9+._-]+")


@dataclass(frozen=True)
class ReportPaths:
    """The files that ``build_report`` wrote, and the size of the page."""

    page: Path
    tables: tuple[Path, ...]
    num_page_bytes: int
    num_gallery_samples: int


@dataclass(frozen=True)
class FeatureAttributes:
    """How one feature of a dataset was computed: pairs of a name and a value."""

    dataset: str
    name: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    """The last section: datasets, features, versions and parameters of this run."""

    datasets: tuple[tuple[str, ...], ...]  # name, clips, samples, features
    features: tuple[FeatureAttributes, ...]
    versions: tuple[tuple[str, str], ...]
    parameters: str  # YAML, or nothing


@dataclass(frozen=True)
class _Evaluation:
    """The results and scores of all datasets, as all sections need them."""

    protocol: str  # the one that the sections show, unless they show all
    metric: str  # ranks models and samples
    groups: tuple[Group, ...]
    kinds: Mapping[str, str]  # by model, where known
    models: tuple[str, ...]  # in the order of the page
    scores: Mapping[str, SampleScores]  # by dataset

    def subsets_of(self, dataset: str) -> list[str]:
        """Return the names of the test sets of a dataset that have results."""
        found = (group.subset for group in self.groups if group.dataset == dataset)
        return list(dict.fromkeys(found))

    def ranked_models(self) -> list[str]:
        """Return the models whose best and worst samples the gallery shows."""
        ranked = [name for name in self.models if self.kinds.get(name) in _RANKED_KINDS]
        return ranked or list(self.models)


def build_report(
    inputs: ReportInputs,
    parameters: ReportParameters,
    output_dir: Path,
    *,
    protocol: str = "earshot",
    metric: str = "adaptive_ciou",
) -> ReportPaths:
    """Write the page and its tables below ``output_dir``.

    Args:
        inputs: What the page shows; an absent part becomes a sentence on the page.
        parameters: Size of the gallery.
        output_dir: Gets ``index.html``, ``results.md``, ``results.csv``, ``results.tex`` and
            ``plots/*.csv``.
        protocol: Protocol of the first tables, the curves, the breakdowns and the gallery.
        metric: Ranks models and samples.

    Returns:
        The paths of all files.

    Raises:
        DataError: An input is damaged; then no page is written.
    """
    output_dir = Path(output_dir)
    # Make everything before the first file is written: an error leaves the old report as it was.
    evaluation = _collect_evaluation(inputs, protocol, metric)
    cards = _make_cards(inputs, parameters, evaluation)
    page = render_page(_view_sections(inputs, evaluation, cards)).encode()

    texts = {
        "results.md": exports.write_markdown(evaluation.groups),
        "results.csv": exports.write_csv(evaluation.groups),
        "results.tex": exports.write_latex(evaluation.groups),
        **_make_plot_tables(inputs, evaluation),
    }

    # DVC would go on drawing the curve of a model or test set that is no longer evaluated
    for path in (output_dir / "plots" / "success_curve").glob("*/*.csv"):
        path.unlink()
    for name, text in texts.items():
        publish_text(output_dir / name, text)
    publish_bytes(output_dir / "index.html", page)  # last: where the page is, everything is

    return ReportPaths(
        page=output_dir / "index.html",
        tables=tuple(output_dir / name for name in texts),
        num_page_bytes=len(page),
        num_gallery_samples=len(cards),
    )


def _collect_evaluation(inputs: ReportInputs, protocol: str, metric: str) -> _Evaluation:
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
    return _Evaluation(protocol, metric, groups, kinds, models, scores)


def _order_models(names: Iterable[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return each name once: by kind, names without a kind last, else in the given order."""
    place_of = {kind: place for place, kind in enumerate(KIND_ORDER)}
    unknown = len(KIND_ORDER)
    return tuple(
        sorted(dict.fromkeys(names), key=lambda name: place_of.get(kinds.get(name, ""), unknown))
    )


def _make_cards(
    inputs: ReportInputs, parameters: ReportParameters, evaluation: _Evaluation
) -> list[Card]:
    """Return the gallery's cards; datasets that have something to show share them evenly."""
    # A dataset without features on this machine has nothing to show.
    showable = [dataset for dataset in inputs.datasets if dataset.readers]

    chosen: dict[str, dict[str, list[str]]] = {}
    num_left = parameters.num_gallery_samples
    # Small datasets come first, so that the others get what these leave.
    by_size = sorted(showable, key=lambda dataset: dataset.samples.num_rows)
    for position, dataset in enumerate(by_size):
        chosen[dataset.name] = choose_samples(
            dataset,
            evaluation.scores[dataset.name],
            models=evaluation.ranked_models(),
            metric=evaluation.metric,
            num_wanted=num_left // (len(by_size) - position),
        )
        num_left -= len(chosen[dataset.name])

    # The cards are made once it is known how many share the bytes of the page.
    cards = []
    num_all_samples = sum(map(len, chosen.values()))
    for dataset in showable:
        maker = CardMaker(
            dataset,
            evaluation.scores[dataset.name],
            models=evaluation.models,
            subsets=evaluation.subsets_of(dataset.name),
            has_sound=parameters.has_sound,
            num_all_samples=num_all_samples,
        )
        cards += [maker.make_card(name, roles) for name, roles in chosen[dataset.name].items()]
    return cards


def _view_sections(
    inputs: ReportInputs, evaluation: _Evaluation, cards: Sequence[Card]
) -> dict[str, object]:
    """Return what the templates show, by the names that they use."""
    groups, models = evaluation.groups, evaluation.models
    protocol, metric = evaluation.protocol, evaluation.metric
    # A model has the same colour in each chart.
    styles = {model: number for number, model in enumerate(models)}

    if groups:
        results = Results(view_results(groups, results=inputs.results))
    else:
        results = Results(why_none=_explain_no_results(inputs))

    curves = [
        view_curves(scores, subset, models, styles)
        for subset, scores in _scores_by_subset(inputs, evaluation)
    ]

    return {
        "dataset_names": ", ".join(dataset.name for dataset in inputs.datasets),
        "summary": view_summary(
            groups, protocol=protocol, metric=metric, notes=_collect_notes(inputs)
        ),
        "availability": view_availability(inputs.datasets, inputs.audits),
        "results": results,
        "protocols": view_protocols(
            dict.fromkeys(group.protocol for group in groups) or [protocol]
        ),
        "curves": curves,
        "breakdowns": view_breakdowns(
            inputs.results.get("breakdowns", ()), protocol=protocol, metric=metric, models=models
        ),
        "training": view_training(inputs.training_dirs, inputs.runs),
        "gallery": view_form(cards, models),
        "gallery_data": {"models": models, "samples": cards},
        "run": _view_run(inputs),
    }


def _collect_notes(inputs: ReportInputs) -> list[str]:
    """Return what was absent, then what the evaluation found odd."""
    return [*inputs.notes, *(str(note["text"]) for note in inputs.results.get("notes", ()))]


def _explain_no_results(inputs: ReportInputs) -> str:
    if not inputs.results:
        return "There are no results yet: the stage evaluate has not run."
    names = ", ".join(dataset.name for dataset in inputs.datasets)
    return f"Nothing was scored: evaluate.subsets of params.yaml names no test set of {names}."


def _scores_by_subset(
    inputs: ReportInputs, evaluation: _Evaluation
) -> list[tuple[str, SampleScores]]:
    """Return each test set that has results, with its scores under the main protocol."""
    found = []
    for dataset in inputs.datasets:
        for subset in evaluation.subsets_of(dataset.name):
            sample_ids = _ids_of_subset(dataset, subset)
            scores = restrict(evaluation.scores[dataset.name], sample_ids)
            if any(scores.values.values()):
                found.append((subset, scores))
    return found


def _ids_of_subset(dataset: DatasetInputs, subset: str) -> list[str]:
    """Return the samples of a test set, which is named by itself or by its split."""
    test_set = find_test_sets().get(subset)
    names = {subset, subset if test_set is None else test_set.split}
    rows = dataset.samples.select(["sample_id", "splits"]).to_pylist()
    return [row["sample_id"] for row in rows if subset == "all" or names & set(row["splits"] or [])]


def _view_run(inputs: ReportInputs) -> Run:
    datasets = [
        (
            dataset.name,
            f"{dataset.clips.num_rows:,}",
            f"{dataset.samples.num_rows:,}",
            ", ".join(dataset.readers) or ABSENT,
        )
        for dataset in inputs.datasets
    ]
    # Attributes stand in the shards, so there are none where no sample is ok.
    features = [
        FeatureAttributes(
            dataset.name,
            feature,
            tuple((name, str(value)) for name, value in sorted(reader.attributes.items())),
        )
        for dataset in inputs.datasets
        for feature, reader in dataset.readers.items()
        if reader.attributes
    ]

    parameters = ""
    if inputs.parameters:
        plain = json.loads(json.dumps(inputs.parameters, default=str))  # YAML has no tuples
        parameters = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    versions = tuple(sorted(inputs.versions.items()))
    return Run(tuple(datasets), tuple(features), versions, parameters)


def _make_plot_tables(inputs: ReportInputs, evaluation: _Evaluation) -> dict[str, str]:
    """Return tables for ``dvc plots`` by file name: success curves, and why clips are missing.

    DVC draws a file as one line a revision, so there is one file for each test set and model: a
    model is then compared with itself before a change.
    """
    tables = {}
    for subset, scores in _scores_by_subset(inputs, evaluation):
        for model, values in success_curves(scores, evaluation.models).items():
            # Names come from params.yaml and may hold what a file name cannot.
            dataset, subset_name, model_name = (
                _UNSAFE_IN_FILE_NAME.sub("_", name) for name in (scores.dataset, subset, model)
            )
            path = f"plots/success_curve/{dataset}_{subset_name}/{model_name}.csv"
            points = zip(THRESHOLD_LABELS, values, strict=True)
            tables[path] = _write_csv(["threshold", "success_rate"], points)

    # Pending clips that have a reason are counted too, as on the page.
    reasons = [
        (dataset.name, row.reason, row.num_clips)
        for dataset in inputs.datasets
        for row in count_reasons(find_absent_clips(dataset))
    ]
    tables["plots/missing_reasons.csv"] = _write_csv(["dataset", "reason", "num_clips"], reasons)
    return tables


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
