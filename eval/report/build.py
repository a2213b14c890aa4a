"""``build_report``: one self-contained page (``index.html``), the tables for papers and the tables behind its plots.

The page asks for nothing from outside (a content security policy in it forbids that), has no time stamp, and the same
inputs give the same bytes.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from earshot.files import publish_bytes, publish_text
from eval.report import (
    availability,
    exports,
    gallery,
    protocol_cards,
    results_section,
    score_charts,
    training_section,
)
from eval.report.inputs import ReportInputs, ReportParameters
from eval.report.markup import (
    Html,
    details,
    element,
    embed_json,
    encode_base64,
    escape,
    join,
    table,
)
from eval.report.rows import ABSENT, KIND_ORDER, Group, group_results, with_ceilings
from eval.results.test_sets import find_test_sets
from pipeline.features import pictures

_UNSAFE = re.compile(r"[^A-Za-z0-9+._-]+")
_HERE = Path(__file__).resolve().parent
_SECTIONS = (
    ("summary", "In short"),
    ("availability", "What is there"),
    ("results", "Results"),
    ("protocols", "Protocols"),
    ("curves", "Success over thresholds"),
    ("breakdowns", "Breakdowns"),
    ("training", "Training"),
    ("gallery", "Gallery"),
    ("run", "This run"),
)


@dataclass(frozen=True)
class ReportPaths:
    """What ``build_report`` wrote."""

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
    """Write ``index.html``, ``results.md``, ``results.csv``, ``results.tex`` and ``plots/*.csv`` below ``output_dir``.

    ``protocol`` is the one that the first tables, the curves, the breakdowns and the gallery show; by ``metric`` models
    and samples are ranked. What is absent becomes a sentence on the page; what is damaged raises ``DataError``.
    """
    output_dir = Path(output_dir)
    groups = group_results(with_ceilings(inputs.results), first_protocol=protocol, metric=metric)
    kinds = _collect_kinds(groups, inputs)
    models = _order_models(groups, inputs, kinds)
    scores = {
        dataset.name: score_charts.collect_scores(
            inputs.scores, dataset=dataset.name, protocol=protocol
        )
        for dataset in inputs.datasets
    }
    ranked = [model for model in models if kinds.get(model) in ("model", "baseline")] or models
    cards = _make_cards(inputs, parameters, groups, scores, models, ranked, metric)
    page = _render_page(inputs, groups, models, scores, cards, protocol=protocol, metric=metric)
    texts = {
        "results.md": exports.write_markdown(groups),
        "results.csv": exports.write_csv(groups),
        "results.tex": exports.write_latex(groups),
        **_plot_tables(inputs, groups, scores, models),
    }
    for path in (output_dir / "plots" / "success_curve").glob("*/*.csv"):
        path.unlink()  # of a model or test set that is no longer evaluated
    for name, text in texts.items():
        publish_text(output_dir / name, text)
    data = page.encode()
    publish_bytes(output_dir / "index.html", data)  # last: where the page is, all of it is
    return ReportPaths(
        output_dir / "index.html", tuple(output_dir / name for name in texts), len(data), len(cards)
    )


def _collect_kinds(groups: Sequence[Group], inputs: ReportInputs) -> dict[str, str]:
    """The kind of each name in the results; a name with a run of its own is a model."""
    kinds = dict.fromkeys(inputs.runs, "model")
    return kinds | {str(row["model"]): row["kind"] for group in groups for row in group.rows}


def _order_models(
    groups: Sequence[Group], inputs: ReportInputs, kinds: Mapping[str, str]
) -> list[str]:
    """Each model once: trained ones first, then as in the tables, then those that have maps or scores only."""
    names = [str(row["model"]) for group in groups for row in group.rows]
    if inputs.scores is not None:
        names += sorted(set(inputs.scores.column("model").to_pylist()))
    for dataset in inputs.datasets:
        names += sorted(dataset.map_paths)
    place = {kind: number for number, kind in enumerate(KIND_ORDER)}
    return sorted(
        dict.fromkeys(names), key=lambda name: place.get(kinds.get(name, ""), len(KIND_ORDER))
    )


def _make_cards(
    inputs: ReportInputs, parameters: ReportParameters, groups, scores, models, ranked, metric
) -> list[dict]:
    """Gallery cards of all datasets, the samples shared out evenly among the datasets that have something to show."""
    chosen: dict[str, dict[str, list[str]]] = {}
    num_left = parameters.num_gallery_samples
    shown = [dataset for dataset in inputs.datasets if dataset.readers]
    # those with few samples first, so that what they leave goes to the others
    for position, dataset in enumerate(sorted(shown, key=lambda dataset: dataset.samples.num_rows)):
        num_wanted = num_left // (len(shown) - position)
        chosen[dataset.name] = gallery.choose_samples(
            dataset, scores[dataset.name], models=ranked, metric=metric, num_wanted=num_wanted
        )
        num_left -= len(chosen[dataset.name])
    cards = []
    for dataset in shown:
        subsets = list(
            dict.fromkeys(group.subset for group in groups if group.dataset == dataset.name)
        )
        cards += gallery.build_cards(
            dataset,
            chosen[dataset.name],
            scores[dataset.name],
            models=models,
            subsets=subsets,
            has_sound=parameters.has_sound,
            num_all_samples=sum(map(len, chosen.values())),
        )
    return cards


def _render_page(inputs, groups, models, scores, cards, *, protocol: str, metric: str) -> str:
    styles = {model: number for number, model in enumerate(models)}
    nothing_scored = element("p", "No sample was scored under this protocol.", class_="note")
    contents = {
        "summary": join(
            [
                results_section.render_summary(groups, protocol=protocol, metric=metric),
                _render_notes(inputs.notes),
            ]
        ),
        "availability": availability.render_availability(inputs.datasets, inputs.audits),
        "results": results_section.render_results(groups, results=inputs.results)
        if groups
        else element("p", _why_no_results(inputs), class_="note"),
        "protocols": protocol_cards.render_cards(
            list(dict.fromkeys(group.protocol for group in groups)) or [protocol]
        ),
        "curves": element(
            "div",
            [
                score_charts.render_success_curves(of_subset, subset, models, styles)
                for subset, of_subset in _scores_by_subset(inputs, groups, scores)
            ]
            or nothing_scored,
            class_="charts",
        ),
        "breakdowns": score_charts.render_breakdowns(
            inputs.results.get("breakdowns", ()), protocol=protocol, metric=metric, models=models
        ),
        "training": training_section.render_training(inputs.training_dirs, inputs.runs),
        "gallery": _render_gallery(cards, models),
        "run": _render_run(inputs),
    }
    sections = [
        element(
            "section",
            element("h2", title, id=f"{name}-title"),
            contents[name],
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, title in _SECTIONS
    ]
    names = ", ".join(dataset.name for dataset in inputs.datasets)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    # Nothing from outside, whatever ends up on the page; scripts stay open to tools that look at it (browser tests).
    policy = (
        "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; form-action 'none'; base-uri 'none'"
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("link", rel="icon", href="data:,"),
            element("title", f"Earshot report: {names}"),
            Html("<style>" + (_HERE / "page.css").read_text(encoding="utf-8") + "</style>"),
        ]
    )
    links = [element("li", element("a", title, href=f"#{name}")) for name, title in _SECTIONS]
    body = join(
        [
            element("a", "Skip to the content", class_="skip", href="#content"),
            element(
                "header",
                element("h1", "Where does the sound come from?"),
                element(
                    "p",
                    f"Visual sound source localization on {names}: data, results and samples of one run of Earshot.",
                ),
                class_="top",
            ),
            element("nav", element("ul", links), class_="contents", aria_label="Contents"),
            element("main", sections, id="content"),
            element(
                "footer",
                "Written by Earshot. This page is one file and asks for nothing from outside.",
            ),
            embed_json({"models": list(models), "samples": cards}, element_id="gallery-data"),
            Html(f"<script>{script}</script>"),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _why_no_results(inputs: ReportInputs) -> str:
    if not inputs.results:
        return "There are no results yet: the stage evaluate has not run."
    names = ", ".join(dataset.name for dataset in inputs.datasets)
    return f"Nothing was scored: evaluate.subsets of params.yaml names no test set of {names}."


def _scores_by_subset(
    inputs: ReportInputs, groups, scores
) -> list[tuple[str, score_charts.SampleScores]]:
    """For each test set of the results its name and its scores under the main protocol."""
    found = []
    for dataset in inputs.datasets:
        rows = dataset.samples.select(["sample_id", "splits"]).to_pylist()
        for subset in dict.fromkeys(
            group.subset for group in groups if group.dataset == dataset.name
        ):
            test_set = find_test_sets().get(subset)
            names = {subset, subset if test_set is None else test_set.split}
            ids = [
                row["sample_id"]
                for row in rows
                if subset == "all" or names & set(row["splits"] or [])
            ]
            of_subset = score_charts.restrict(scores[dataset.name], ids)
            if any(of_subset.values.values()):
                found.append((subset, of_subset))
    return found


def _render_notes(notes: Sequence[str]) -> Html | None:
    return (
        element("ul", [element("li", note) for note in notes], class_="warnings") if notes else None
    )


def _render_gallery(cards: Sequence[Mapping], models: Sequence[str]) -> Html:
    if not cards:
        return element("p", "No scored samples to show.", class_="note")

    def select(name: str, label: str, options: Sequence[tuple[str, str]]) -> Html:
        choices = [element("option", text, value=value) for value, text in options]
        return element(
            "div",
            element("label", label, for_=f"f-{name}"),
            element("select", choices, id=f"f-{name}", name=name),
        )

    def number(name: str, label: str) -> Html:
        field = element("input", type="number", min=0, max=1, step=0.05, id=f"f-{name}", name=name)
        return element("div", element("label", label, for_=f"f-{name}"), field)

    def values(key) -> list[tuple[str, str]]:
        found = sorted({value for card in cards for value in key(card) if value})
        return [("", "all"), *((value, value) for value in found)]

    with_scores = [model for model in models if any(model in card["scores"] for card in cards)]
    with_maps = [model for model in models if any(model in card["maps"] for card in cards)]
    score_names = [("adaptive_ciou", "adaptive cIoU"), ("ciou", "cIoU"), ("pointing", "pointing")]
    score_fields = [
        select("score-model", "Score of", [(model, model) for model in with_scores]),
        select("score-name", "Kind of score", score_names),
        number("low", "Score at least"),
        number("high", "Score at most"),
    ]
    by_score = [("best", "best first"), ("worst", "worst first")] if with_scores else []
    orders = [("picked", "as picked"), *by_score, ("id", "by id")]
    search = element("input", type="search", id="f-search", name="search", autocomplete="off")
    fields = [
        select("dataset", "Dataset", values(lambda card: [card["dataset"]])),
        select("subset", "Subset", values(lambda card: card["subsets"])),
        select("class", "Class", values(lambda card: [card["label"]])),
        *(score_fields if with_scores else ()),
        select("order", "Order", orders),
        element("div", element("label", "Id or class contains", for_="f-search"), search),
    ]
    checks = [
        element(
            "label",
            element("input", type="checkbox", name="model", value=model, checked=True),
            model,
        )
        for model in with_maps
    ]
    form = element(
        "form",
        element("div", fields, class_="fields"),
        element(
            "fieldset",
            element("legend", "Maps side by side"),
            element("div", checks, class_="checks"),
        )
        if checks
        else None,
        element(
            "div",
            element(
                "label",
                element("input", type="checkbox", name="boxes", checked=True),
                "Boxes of what sounds",
            ),
            element("button", "Reset", type="button", id="clear-filters"),
            class_="checks",
        ),
        id="filters",
        class_="filters",
        aria_label="Filter the samples",
    )
    wheel = encode_base64(pictures.encode(pictures.draw_colour_wheel(96), ".png"))
    legend = element(
        "div",
        element(
            "img",
            src=f"data:image/png;base64,{wheel}",
            alt="Colour wheel: hue is direction",
            class_="wheel",
        ),
        element(
            "span",
            "Flow: the colour is the direction of motion, white is still. Maps: blue low, red high, each scaled to ",
            "its own range. Green boxes: what sounds, as annotated.",
        ),
        class_="legend-line",
    )
    return join(
        [
            legend,
            form,
            element("p", id="status", class_="status", role="status", aria_live="polite"),
            element(
                "noscript",
                element(
                    "p", "The gallery needs JavaScript; everything above does not.", class_="note"
                ),
            ),
            element("ul", id="samples", class_="samples"),
            element("button", "Show more", type="button", id="more", class_="more"),
        ]
    )


def _render_run(inputs: ReportInputs) -> Html:
    datasets = [
        [
            dataset.name,
            f"{dataset.clips.num_rows:,}",
            f"{dataset.samples.num_rows:,}",
            ", ".join(dataset.readers) or ABSENT,
        ]
        for dataset in inputs.datasets
    ]
    parts = [
        table(
            ["dataset", "clips", "samples", "features on this machine"],
            datasets,
            caption="Datasets of this run",
        )
    ]
    versions = dict(inputs.versions)
    for dataset in inputs.datasets:
        for feature, reader in dataset.readers.items():
            attributes = reader.attributes
            if attributes:
                rows = [
                    [name, element("code", str(value))]
                    for name, value in sorted(attributes.items())
                ]
                block = table(
                    ["attribute", "value"],
                    rows,
                    caption=f"How {feature} of {dataset.name} were made",
                    class_="words",
                )
                parts.append(details(f"{dataset.name}: {feature}", block))
    if versions:
        rows = [[name, version] for name, version in sorted(versions.items())]
        parts.append(
            details(
                "Versions of the software", table(["package", "version"], rows, caption="Versions")
            )
        )
    if inputs.parameters:
        text = yaml.safe_dump(
            json.loads(json.dumps(inputs.parameters, default=str)),
            sort_keys=False,
            allow_unicode=True,
        )
        parts.append(
            details(
                "All parameters (params.yaml)",
                element("pre", element("code", escape(text)), tabindex="0"),
            )
        )
    return element("div", parts)


def _plot_tables(inputs: ReportInputs, groups, scores, models) -> dict[str, str]:
    """Tables for ``dvc plots``: success over thresholds, a file for each test set and model, and why clips are missing.

    DVC draws a file as one line a revision, so that a model is compared with itself before a change.
    """
    found = {}
    for subset, of_subset in _scores_by_subset(inputs, groups, scores):
        for model, values in score_charts.success_curves(of_subset, models).items():
            names = [_UNSAFE.sub("_", name) for name in (of_subset.dataset, subset, model)]
            rows = list(zip(score_charts.THRESHOLDS, values, strict=True))
            found[f"plots/success_curve/{names[0]}_{names[1]}/{names[2]}.csv"] = _write_csv(
                ["threshold", "success_rate"], rows
            )
    reasons = [
        [dataset.name, row["reason"], row["num_clips"]]
        for dataset in inputs.datasets
        for row in availability.count_reasons(dataset)
    ]
    found["plots/missing_reasons.csv"] = _write_csv(["dataset", "reason", "num_clips"], reasons)
    return found


def _write_csv(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([head, *rows])
    return buffer.getvalue()
