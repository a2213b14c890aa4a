"""Write the report: ``index.html``, the tables for papers, and the tables behind its plots.

The page is one file that loads nothing from outside and has no time stamp: the same inputs give the
same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earshot.files import publish_bytes, publish_text
from eval.report.data import exports
from eval.report.data.inputs import ReportInputs, ReportParameters
from eval.report.evaluation import (
    Evaluation,
    collect_evaluation,
    count_test_samples,
    scores_by_subset,
)
from eval.report.gallery.cards import Card, CardMaker, encode_base64
from eval.report.gallery.choice import choose_samples
from eval.report.gallery.form import view_form, view_gallery_data
from eval.report.gallery.opening import view_opening
from eval.report.page import OF_RESULTS, SECTIONS, render_page
from eval.report.plot_tables import make_plot_tables
from eval.report.sections.availability import count_retryable, view_availability
from eval.report.sections.negative_audio import view_negative_audio
from eval.report.sections.protocol_cards import view_protocols
from eval.report.sections.results_tables import Results, view_results
from eval.report.sections.run_facts import describe_hardware, describe_scope, view_run
from eval.report.sections.score_charts import view_breakdowns, view_curves
from eval.report.sections.summary import suggest_next_steps, view_summary
from eval.report.sections.training_curves import view_training


@dataclass(frozen=True)
class ReportPaths:
    """The files that ``build_report`` wrote, and the size of the page."""

    page: Path
    tables: tuple[Path, ...]
    num_page_bytes: int
    num_gallery_samples: int


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
    evaluation = collect_evaluation(inputs, protocol, metric)
    cards = _make_cards(inputs, parameters, evaluation)
    tables = {
        "results.md": exports.write_markdown(evaluation.groups),
        "results.csv": exports.write_csv(evaluation.groups),
        "results.tex": exports.write_latex(evaluation.groups),
    }
    page = render_page(_view_sections(inputs, evaluation, cards, tables)).encode()
    texts = tables | make_plot_tables(inputs, evaluation)

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


def _make_cards(
    inputs: ReportInputs, parameters: ReportParameters, evaluation: Evaluation
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
            models=evaluation.shown_models(),
            metric=evaluation.metric,
            # An even share of the places that are still free.
            num_wanted=num_left // (len(by_size) - position),
            first=evaluation.opening_ids_of(dataset.name),
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
    inputs: ReportInputs, evaluation: Evaluation, cards: Sequence[Card], files: Mapping[str, str]
) -> dict[str, object]:
    """Return what the templates show, by the names that they use."""
    groups, models = evaluation.groups, evaluation.models
    protocol, metric = evaluation.protocol, evaluation.metric
    shown = evaluation.shown_models()
    # A model has the same colour in each chart; those that are shown have colours of their own.
    styles = {model: number for number, model in enumerate(dict.fromkeys([*shown, *models]))}

    if groups:
        results = Results(view_results(groups, results=inputs.results, metric=metric))
    else:
        results = Results(why_none=_explain_no_results(inputs))

    opening = None
    if evaluation.opening is not None:
        dataset, subset, choice = evaluation.opening
        opening = view_opening(choice, cards, dataset=dataset, subset=subset, metric=metric)

    # What is there has a section of its own. The summary also says what another attempt may bring.
    availability = view_availability(inputs.datasets, inputs.audits)
    seeds = inputs.results.get("seeds", ())
    summary = view_summary(
        groups,
        protocol=protocol,
        metric=metric,
        comparisons=inputs.results.get("comparisons", ()),
        seeds=seeds,
        next_steps=suggest_next_steps(
            groups,
            seeds=seeds,
            num_retryable=count_retryable(availability),
        ),
        notes=_collect_notes(inputs),
    )

    curves = [
        view_curves(
            scores,
            subset,
            models,
            styles,
            shown=shown,
            ceiling=evaluation.ceiling_of(scores.dataset, subset),
        )
        for subset, scores in scores_by_subset(inputs, evaluation)
    ]

    return {
        # Without results, the sections about them would only say so once more.
        "sections": [one for one in SECTIONS if groups or one[0] not in OF_RESULTS],
        "dataset_names": ", ".join(dataset.name for dataset in inputs.datasets),
        "scope": describe_scope(
            groups, inputs.datasets, num_test_samples=count_test_samples(inputs, evaluation)
        ),
        "hardware": describe_hardware(inputs.runs),
        "summary": summary,
        "opening": opening,
        "num_cards": len(cards),
        "availability": availability,
        "results": results,
        # The tables are in the page itself, so that it can be sent as one file.
        "files": {name: encode_base64(text.encode()) for name, text in files.items()},
        "silence": view_negative_audio(inputs.results.get("negative_audio", ())),
        "silence_notes": _collect_notes_of(inputs, "negative_audio"),
        # Without results: the protocol that they will have.
        "protocols": view_protocols(
            dict.fromkeys(group.protocol for group in groups) or [protocol]
        ),
        "curves": curves,
        "breakdowns": view_breakdowns(
            inputs.results.get("breakdowns", ()), protocol=protocol, metric=metric, models=shown
        ),
        "training": view_training(inputs.training_dirs, inputs.runs, inputs.parameters),
        "gallery": view_form(cards, models, shown=evaluation.mapped_models(), protocol=protocol),
        "gallery_data": view_gallery_data(cards, models, protocol=protocol),
        "run": view_run(inputs),
    }


def _collect_notes(inputs: ReportInputs) -> list[str]:
    """Return what was absent, then what the evaluation found odd.

    Notes on seeds stand beside the table of seeds, those on negative audio in its section.
    """
    # These have sections of their own, which print their notes.
    elsewhere = ("seeds", "negative_audio")
    notes = [
        str(note["text"])
        for note in inputs.results.get("notes", ())
        if note.get("problem") not in elsewhere
    ]
    return [*inputs.notes, *notes]


def _collect_notes_of(inputs: ReportInputs, problem: str) -> list[str]:
    notes = inputs.results.get("notes", ())
    return [str(note["text"]) for note in notes if note.get("problem") == problem]


def _explain_no_results(inputs: ReportInputs) -> str:
    if not inputs.results:
        return "There are no results yet: the stage evaluate has not run."
    names = ", ".join(dataset.name for dataset in inputs.datasets)
    return f"Nothing was scored: evaluate.subsets of params.yaml names no test set of {names}."
