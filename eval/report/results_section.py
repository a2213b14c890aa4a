"""The tables of results: models and baselines as rows, values with intervals, and published numbers beside them."""

from collections.abc import Mapping, Sequence

from eval.report.charts import draw_interval
from eval.report.markup import Html, breakable, details, element, table
from eval.report.rows import (
    ABSENT,
    METRIC_TITLES,
    Group,
    best_row,
    format_count,
    format_number,
    metrics_in,
    number_of,
    title_of,
)
from eval.results.files import format_coverage
from eval.results.published import PUBLISHED, why_not_comparable
from eval.results.test_sets import find_test_sets

_KIND_TITLES = {
    "model": "",
    "baseline": "baseline",
    "untrained": "untrained",
    "trivial": "trivial",
    "ceiling": "",  # that is its name
}
_COMMON_TITLE = "On the samples that all models have"
_BEST_TITLES = {
    "model": "best model",
    "baseline": "no model is trained; best baseline",
    "untrained": "no model is trained; best untrained network",
}


def render_summary(groups: Sequence[Group], *, protocol: str, metric: str) -> Html:
    """A card for each subset: the best trained model beside the best of what was not trained on the task."""
    cards = []
    for group in groups:
        if group.protocol != protocol:
            continue
        best = best_row(group.rows, metric, ("model",)) or best_row(
            group.rows, metric, ("baseline", "untrained")
        )
        references = [
            (title, row)
            for title, kind in (
                ("best baseline without training", "baseline"),
                ("best trivial baseline", "trivial"),
            )
            if (row := best_row(group.rows, metric, (kind,))) is not None and row is not best
        ]
        if best is None:
            continue
        cards.append(
            element(
                "article",
                element("h3", f"{group.dataset} · {group.subset}"),
                element(
                    "p",
                    element("span", format_number(number_of(best, metric)), class_="big"),
                    " ",
                    METRIC_TITLES.get(metric, metric),
                ),
                element(
                    "p",
                    f"{_BEST_TITLES[best['kind']]}: {best['model']}, 95\N{NO-BREAK SPACE}% interval ",
                    element("span", _interval_text(best, metric), class_="whole"),
                ),
                [
                    element(
                        "p",
                        f"{title}: {row['model']} {format_number(number_of(row, metric))}, ",
                        element("span", _interval_text(row, metric), class_="whole"),
                        "; it is above the model"
                        if number_of(row, metric) > number_of(best, metric)
                        else None,
                        class_="muted",
                    )
                    for title, row in references
                ],
                element(
                    "p",
                    f"n = {format_count(best.get('n'))} of {format_count(best.get('num_requested'))}",
                    class_="muted",
                ),
                class_="card",
            )
        )
    return (
        element("div", cards, class_="cards")
        if cards
        else element("p", "There are no results; the section Results says why.", class_="note")
    )


def render_results(groups: Sequence[Group], *, results: Mapping[str, Sequence[Mapping]]) -> Html:
    """For each subset: its tables (all protocols but the first folded), comparisons, what was published."""
    parts = []
    for dataset, subset in dict.fromkeys((group.dataset, group.subset) for group in groups):
        members = [group for group in groups if (group.dataset, group.subset) == (dataset, subset)]
        parts.append(element("h3", f"{dataset} \N{MIDDLE DOT} {subset}"))
        for number, group in enumerate(members):
            block = render_group(group)
            parts.append(block if number == 0 else details(f"Protocol {group.protocol}", block))

        def rows_of(name: str, place=(dataset, subset)) -> list[Mapping]:
            return [
                row
                for row in results.get(name, ())
                if (row.get("dataset"), row.get("subset")) == place
            ]

        common = rows_of("intersections")
        if common:
            tables = []
            for protocol in dict.fromkeys(str(row["protocol"]) for row in common):
                rows = tuple(row for row in common if str(row["protocol"]) == protocol)
                tables.append(
                    render_group(
                        Group(dataset, f"{subset}, samples that all models have", protocol, rows)
                    )
                )
            parts.append(details(_COMMON_TITLE, tables))
        if rows_of("comparisons"):
            parts.append(_render_comparisons(rows_of("comparisons"), f"{dataset}, {subset}"))
        parts.append(_render_published(members))
    return element("div", parts)


def _render_comparisons(rows: Sequence[Mapping], caption: str) -> Html:
    lines = []
    for row in rows:
        low, high = number_of(row, "low"), number_of(row, "high")
        is_clear = low is not None and high is not None and (low > 0 or high < 0)
        lines.append(
            [
                breakable(f"{row['first']} minus {row['second']}"),
                str(row["protocol"]),
                METRIC_TITLES.get(row["metric"], row["metric"]),
                format_number(number_of(row, "difference")),
                f"[{format_number(low)}, {format_number(high)}]",
                format_number(number_of(row, "p_value"), 4),
                format_count(row.get("n")),
                "differ" if is_clear else "cannot be told apart",
            ]
        )
    head = [
        "models",
        "protocol",
        "metric",
        "difference",
        "95\N{NO-BREAK SPACE}% interval",
        "p",
        "n",
        "verdict",
    ]
    return details(
        "Two models on the same samples", table(head, lines, caption=f"Paired bootstrap, {caption}")
    )


def render_group(group: Group) -> Html:
    """One table."""
    metrics = metrics_in(group.rows)
    best = {
        metric: best_row(group.rows, metric, ("model", "baseline", "untrained"))
        for metric in metrics
    }
    head = [
        "model",
        *(title_of(metric, group.rows) for metric in metrics),
        "n, coverage",
        "chosen by",
        "in training",
        "seed",
        "ids",
    ]
    rows = []
    for row in group.rows:
        mark = _KIND_TITLES[row["kind"]]
        name = [
            element("span", breakable(str(row["model"])), class_="name"),
            element("span", mark, class_="mark") if mark else None,
        ]
        cells = [_value_cell(row, metric, is_best=row is best[metric]) for metric in metrics]
        rows.append(
            [
                element("span", name),
                *cells,
                _count_cell(row),
                _text(row.get("selection")),
                _leakage_text(row),
                _text(row.get("seed")),
                element("code", _text(row.get("ids_sha256"))[:8]),
            ]
        )
    caption = f"{group.dataset}, {group.subset}, protocol {group.protocol}"
    return element("div", table(head, rows, caption=caption, class_="results"), _explain(group))


def _count_cell(row: Mapping) -> Html:
    counts = f"{format_count(row.get('n'))} / {format_count(row.get('num_requested'))}"
    coverage = number_of(row, "coverage_percent")
    notes = [] if coverage is None else [f"{format_coverage(coverage)}\N{NO-BREAK SPACE}%"]
    if row.get("num_negatives") is not None:
        notes.append(f"negatives {row['num_negatives']}")
    notes += [f"{reason} {number}" for reason, number in (row.get("missing") or {}).items()]
    return element("span", counts, [element("span", note, class_="bounds") for note in notes])


def _leakage_text(row: Mapping) -> str:
    if row["kind"] not in ("model", "untrained") and row.get("leakage") is None:
        return ABSENT
    return "not known" if row.get("leakage") is None else format_count(row["leakage"])


def _explain(group: Group) -> Html | None:
    sentences = []
    hashes = {row.get("ids_sha256") for row in group.rows if row.get("ids_sha256")}
    if len(hashes) > 1:
        sentences.append(
            "The rows were not computed on the same samples (see n and the hash of the ids): "
            f"compare them under \u201c{_COMMON_TITLE}\u201d."
        )
    bounds = [row for row in group.rows if row["kind"] == "ceiling"]
    above = [str(row["model"]) for row in group.rows for bound in bounds if _is_above(row, bound)]
    if above:
        sentences.append(
            f"Above the ceiling: {', '.join(above)}. It holds for maps whose values all differ; where many are equal, "
            "this protocol marks another share of the frame than half."
        )
    leaking = [row for row in group.rows if (number_of(row, "leakage") or 0) > 0]
    for row in leaking:
        sentences.append(
            f"{row['model']} was trained on {format_count(row['leakage'])} of these test samples."
        )
    if not sentences:
        return None
    return element("ul", [element("li", sentence) for sentence in sentences], class_="warnings")


def _is_above(row: Mapping, bound: Mapping) -> bool:
    """Whether a row scores more than the ceiling of its protocol."""
    value, limit = number_of(row, "mean_ciou"), number_of(bound, "mean_ciou")
    return value is not None and limit is not None and value > limit + 1e-9


def _value_cell(row: Mapping, metric: str, *, is_best: bool) -> Html:
    value = number_of(row, metric)
    if value is None:
        return element("span", ABSENT)
    low, high = number_of(row, f"{metric}_low"), number_of(row, f"{metric}_high")
    text = element("strong" if is_best else "span", format_number(value), class_="value")
    interval = (
        element("span", _interval_text(row, metric), class_="bounds") if low is not None else None
    )
    return element(
        "span", text, interval, draw_interval(value, low, high, is_marked=is_best), class_="cell"
    )


def _interval_text(row: Mapping, metric: str) -> str:
    low, high = number_of(row, f"{metric}_low"), number_of(row, f"{metric}_high")
    return (
        "no interval"
        if low is None or high is None
        else f"[{format_number(low)}, {format_number(high)}]"
    )


def _render_published(members: Sequence[Group]) -> Html | None:
    """Published numbers on the test set of ``members``, each beside our best model under its protocol."""
    lines = []
    for published in PUBLISHED:
        test_set = find_test_sets()[published.test_set]
        if members[0].dataset != test_set.dataset or members[0].subset not in (
            test_set.name,
            test_set.split,
        ):
            continue
        group = next(
            (group for group in members if group.protocol == published.protocol), members[0]
        )
        metric = "success_rate_at_30" if published.success_at == 0.3 else "success_rate"
        ours = best_row(group.rows, metric, ("model",)) or best_row(
            group.rows, metric, ("baseline", "untrained")
        )
        if ours is None:
            continue
        why_not = why_not_comparable(ours, published)
        verdict = f"not comparable: {why_not}" if why_not else "comparable"
        lines.append(
            [
                element(
                    "span", published.method, element("span", published.trained_on, class_="bounds")
                ),
                f"{format_number(published.success_rate)} at {published.success_at:g}",
                format_number(published.auc),
                element(
                    "span",
                    str(ours["model"]),
                    element("span", f"protocol {group.protocol}", class_="bounds"),
                ),
                f"{format_number(number_of(ours, metric))} at {published.success_at:g}",
                format_number(number_of(ours, "auc")),
                element("span", verdict, class_="no" if why_not else "yes"),
            ]
        )
    if not lines:
        return None
    head = [
        "published method, trained on",
        "success rate",
        "AUC",
        "beside it, of this run",
        "success rate",
        "AUC",
    ]
    caption = f"Published numbers for {members[0].dataset}, {members[0].subset}"
    return table([*head, "may they be compared?"], lines, caption=caption, class_="words")


def _text(value: object) -> str:
    return ABSENT if value is None or value == "" else str(value)
