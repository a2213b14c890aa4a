"""The summary and the tables of results: values with intervals, comparisons, published numbers.

``templates/section_summary.html`` and ``templates/section_results.html`` show these views.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.report.charts import IntervalBar, draw_interval
from eval.report.result_rows import (
    ABSENT,
    METRIC_TITLES,
    Group,
    best_row,
    format_count,
    format_interval,
    format_text,
    interval_of,
    metrics_in,
    number_of,
    title_of,
)
from eval.results.files import format_coverage
from eval.results.published import PUBLISHED, Published, explain_incomparability
from eval.results.test_sets import find_test_sets

COMMON_TITLE = "On the samples that all models have"
_KIND_MARKS = {
    "model": "",
    "baseline": "baseline",
    "untrained": "untrained",
    "trivial": "trivial",
    "ceiling": "",  # its name says it
}
_BEST_TITLES = {
    "model": "best model",
    "baseline": "no model is trained; best baseline",
    "untrained": "no model is trained; best untrained network",
}


@dataclass(frozen=True)
class SummaryRow:
    """A row that the summary names, with its value of the main metric."""

    title: str
    model: str
    value: float
    interval: str


@dataclass(frozen=True)
class SummaryCard:
    """The best row of a test set, and the best ones that were not trained on the task."""

    dataset: str
    subset: str
    metric: str
    best: SummaryRow
    references: tuple[SummaryRow, ...]
    n: int | None
    num_requested: int | None


@dataclass(frozen=True)
class Summary:
    """The first section: a card a test set, and one sentence for each input that was absent."""

    cards: tuple[SummaryCard, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricCell:
    """The value of a metric, if there is one, with its interval as text and as a bar."""

    value: float | None
    interval: str = ""
    bar: IntervalBar | None = None
    is_best: bool = False


@dataclass(frozen=True)
class ResultRow:
    """A line of a table of results."""

    model: str
    mark: str  # its kind, where that is not a model
    cells: tuple[MetricCell, ...]
    counts: str  # scored / requested
    notes: tuple[str, ...]  # coverage, negatives, missing samples by reason
    selection: str
    leakage: str
    seed: str
    ids: str  # the beginning of the hash of the scored ids


@dataclass(frozen=True)
class ResultTable:
    """A test set under one protocol; ``titles`` are those of the metrics."""

    caption: str
    protocol: str
    titles: list[str]
    rows: tuple[ResultRow, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonRow:
    """The paired difference of two models; ``is_clear``: its interval does not hold 0."""

    first: str
    second: str
    protocol: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int | None
    is_clear: bool


@dataclass(frozen=True)
class PublishedRow:
    """A published number and this run's beside it; ``why_not`` is empty where both compare."""

    method: str
    trained_on: str
    success_rate: float | None
    success_at: str
    auc: float | None
    own_model: str
    own_protocol: str
    own_success_rate: float | None
    own_auc: float | None
    why_not: str


@dataclass(frozen=True)
class SubsetResults:
    """All tables of one test set; ``tables`` has one a protocol, the main one first."""

    dataset: str
    subset: str
    tables: tuple[ResultTable, ...]
    common_tables: tuple[ResultTable, ...]
    comparisons: tuple[ComparisonRow, ...]
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Results:
    """The section of results, or one sentence that says why there are none."""

    subsets: tuple[SubsetResults, ...] = ()
    why_none: str = ""
    common_title: str = COMMON_TITLE


def view_summary(
    groups: Iterable[Group], *, protocol: str, metric: str, notes: Sequence[str] = ()
) -> Summary:
    """Return a card for each test set that has a row under ``protocol``.

    Args:
        groups: All tables of results.
        protocol: The protocol that the cards show.
        metric: The metric that the cards show, one of ``METRIC_TITLES``.
        notes: Sentences that stand below the cards.
    """
    cards = [_make_card(group, metric) for group in groups if group.protocol == protocol]
    return Summary(tuple(card for card in cards if card is not None), tuple(notes))


def _make_card(group: Group, metric: str) -> SummaryCard | None:
    best = _best_own_row(group.rows, metric)
    if best is None:
        return None

    # What the best row has to be compared with.
    references = []
    for title, kind in (
        ("best baseline without training", "baseline"),
        ("best trivial baseline", "trivial"),
    ):
        row = best_row(group.rows, metric, (kind,))
        if row is not None and row is not best:
            references.append(_make_summary_row(title, row, metric))

    return SummaryCard(
        dataset=group.dataset,
        subset=group.subset,
        metric=METRIC_TITLES.get(metric, metric),
        best=_make_summary_row(_BEST_TITLES[best["kind"]], best, metric),
        references=tuple(references),
        n=best.get("n"),
        num_requested=best.get("num_requested"),
    )


def _best_own_row(rows: Sequence[Mapping], metric: str) -> Mapping | None:
    """Return the best trained model; without one, the best baseline or untrained network."""
    return best_row(rows, metric, ("model",)) or best_row(rows, metric, ("baseline", "untrained"))


def _make_summary_row(title: str, row: Mapping, metric: str) -> SummaryRow:
    value = number_of(row, metric)
    assert value is not None, "best_row returns rows that have the metric"
    interval = format_interval(interval_of(row, metric)) or "no interval"
    return SummaryRow(title, str(row["model"]), value, interval)


def view_results(
    groups: Sequence[Group], *, results: Mapping[str, Sequence[Mapping]]
) -> tuple[SubsetResults, ...]:
    """Return the tables of each test set.

    Args:
        groups: The rows of results, as ``group_results`` returns them.
        results: The other lists of results.json by name: ``intersections`` and ``comparisons``.
    """
    subsets = []
    for dataset, subset in dict.fromkeys((group.dataset, group.subset) for group in groups):
        members = [group for group in groups if (group.dataset, group.subset) == (dataset, subset)]

        # the rows of the other two lists that belong to this test set
        common, comparisons = (
            [
                row
                for row in results.get(name, ())
                if (row.get("dataset"), row.get("subset")) == (dataset, subset)
            ]
            for name in ("intersections", "comparisons")
        )

        subsets.append(
            SubsetResults(
                dataset=dataset,
                subset=subset,
                tables=tuple(make_table(group) for group in members),
                common_tables=_make_common_tables(dataset, subset, common),
                comparisons=tuple(_make_comparison(row) for row in comparisons),
                published=_find_published(members),
            )
        )
    return tuple(subsets)


def _make_common_tables(
    dataset: str, subset: str, rows: Sequence[Mapping]
) -> tuple[ResultTable, ...]:
    tables = []
    for protocol in dict.fromkeys(str(row["protocol"]) for row in rows):
        of_protocol = tuple(row for row in rows if str(row["protocol"]) == protocol)
        title = f"{subset}, samples that all models have"
        tables.append(make_table(Group(dataset, title, protocol, of_protocol)))
    return tuple(tables)


def make_table(group: Group) -> ResultTable:
    """Return the table of one test set under one protocol; the best value of a metric is marked."""
    metrics = metrics_in(group.rows)
    # trivial baselines and the ceiling are there to compare with, not to win
    best = {
        metric: best_row(group.rows, metric, ("model", "baseline", "untrained"))
        for metric in metrics
    }

    rows = [
        ResultRow(
            model=str(row["model"]),
            mark=_KIND_MARKS[row["kind"]],
            cells=tuple(_make_cell(row, name, is_best=row is best[name]) for name in metrics),
            counts=f"{format_count(row.get('n'))} / {format_count(row.get('num_requested'))}",
            notes=_describe_samples(row),
            selection=format_text(row.get("selection")),
            leakage=_format_leakage(row),
            seed=format_text(row.get("seed")),
            ids=format_text(row.get("ids_sha256"))[:8],
        )
        for row in group.rows
    ]

    return ResultTable(
        caption=f"{group.dataset}, {group.subset}, protocol {group.protocol}",
        protocol=group.protocol,
        titles=[title_of(metric, group.rows) for metric in metrics],
        rows=tuple(rows),
        warnings=_find_warnings(group),
    )


def _make_cell(row: Mapping, metric: str, *, is_best: bool) -> MetricCell:
    value = number_of(row, metric)
    if value is None:
        return MetricCell(None)

    interval = interval_of(row, metric)
    low, high = interval or (None, None)
    return MetricCell(value, format_interval(interval), draw_interval(value, low, high), is_best)


def _describe_samples(row: Mapping) -> tuple[str, ...]:
    """Return coverage, number of negatives and the reasons of missing samples, where known."""
    notes = []

    coverage = number_of(row, "coverage_percent")
    if coverage is not None:
        notes.append(f"{format_coverage(coverage)}\N{NO-BREAK SPACE}%")
    if row.get("num_negatives") is not None:
        notes.append(f"negatives {row['num_negatives']}")

    notes += [f"{reason} {number}" for reason, number in (row.get("missing") or {}).items()]
    return tuple(notes)


def _format_leakage(row: Mapping) -> str:
    if row.get("leakage") is not None:
        return format_count(row["leakage"])
    # what was not trained has no training data that could be unknown
    return "not known" if row["kind"] in ("model", "untrained") else ABSENT


def _find_warnings(group: Group) -> tuple[str, ...]:
    """Return what a reader of the table could overlook, one sentence each."""
    sentences = []

    # another hash of the ids means other samples
    hashes = {row.get("ids_sha256") for row in group.rows if row.get("ids_sha256")}
    if len(hashes) > 1:
        sentences.append(
            "The rows were not computed on the same samples (see n and the hash of the ids): "
            f"compare them under \u201c{COMMON_TITLE}\u201d."
        )

    # the ceiling assumes that a map's values all differ; those of some baselines do not
    ceilings = [row for row in group.rows if row["kind"] == "ceiling"]
    above = [
        str(row["model"]) for row in group.rows for ceiling in ceilings if _is_above(row, ceiling)
    ]
    if above:
        sentences.append(
            f"Above the ceiling: {', '.join(above)}. It holds for maps whose values all differ; "
            "where many are equal, this protocol marks another share of the frame than half."
        )

    # Results on clips that the model has seen look better than they are.
    sentences += [
        f"{row['model']} was trained on {format_count(row['leakage'])} of these test samples."
        for row in group.rows
        if (number_of(row, "leakage") or 0) > 0
    ]
    return tuple(sentences)


def _is_above(row: Mapping, ceiling: Mapping) -> bool:
    """Return whether a row scores more than the ceiling of its protocol."""
    value, limit = number_of(row, "mean_ciou"), number_of(ceiling, "mean_ciou")
    return value is not None and limit is not None and value > limit + 1e-9


def _make_comparison(row: Mapping) -> ComparisonRow:
    low, high = number_of(row, "low"), number_of(row, "high")
    return ComparisonRow(
        first=str(row["first"]),
        second=str(row["second"]),
        protocol=str(row["protocol"]),
        metric=METRIC_TITLES.get(row["metric"], row["metric"]),
        difference=number_of(row, "difference"),
        low=low,
        high=high,
        p_value=number_of(row, "p_value"),
        n=row.get("n"),
        is_clear=low is not None and high is not None and (low > 0 or high < 0),
    )


def _find_published(members: Sequence[Group]) -> tuple[PublishedRow, ...]:
    """Return the published numbers on the test set of ``members`` that have a row to compare."""
    place = members[0]
    rows = []
    for published in PUBLISHED:
        test_set = find_test_sets()[published.test_set]
        # Results name a test set by its own name or by its split.
        names = (test_set.name, test_set.split)
        if place.dataset != test_set.dataset or place.subset not in names:
            continue

        # There may be no model and no baseline to set beside it.
        row = _set_beside(published, members)
        if row is not None:
            rows.append(row)
    return tuple(rows)


def _set_beside(published: Published, members: Sequence[Group]) -> PublishedRow | None:
    """Put our best row under the paper's protocol (else under the main one) beside its number."""
    group = next((group for group in members if group.protocol == published.protocol), members[0])
    # FlowGrad's table counts a success from 0.3 on.
    metric = "success_rate_at_30" if published.success_at == 0.3 else "success_rate"
    own = _best_own_row(group.rows, metric)
    if own is None:
        return None

    return PublishedRow(
        method=published.method,
        trained_on=published.trained_on,
        success_rate=published.success_rate,
        success_at=f"{published.success_at:g}",
        auc=published.auc,
        own_model=str(own["model"]),
        own_protocol=group.protocol,
        own_success_rate=number_of(own, metric),
        own_auc=number_of(own, "auc"),
        why_not=explain_incomparability(own, published),
    )
