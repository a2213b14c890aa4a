"""The tables of results: values with intervals, and the paired comparisons.

``templates/section_results.html`` shows these views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.report.data.result_rows import (
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
from eval.report.sections.charts import IntervalBar, draw_interval
from eval.report.sections.published_table import PublishedRow, view_published
from eval.results.files import format_coverage

COMMON_TITLE = "On the samples that all models have"
_KIND_MARKS = {
    "model": "",
    "external": "external",
    "baseline": "baseline",
    "untrained": "untrained",
    "trivial": "trivial",
    "ceiling": "",  # its name says it
}


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
    """The paired difference of two models.

    ``is_clear``: its interval does not hold 0. ``is_best_baseline``: the second is the baseline
    that the first has to beat.
    """

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
    is_best_baseline: bool


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
                tables=tuple(make_table(group, has_common_table=bool(common)) for group in members),
                common_tables=_make_common_tables(dataset, subset, common),
                comparisons=tuple(_make_comparison(row) for row in comparisons),
                published=view_published(members),
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


def make_table(group: Group, *, has_common_table: bool = True) -> ResultTable:
    """Return the table of one test set under one protocol; the best value of a metric is marked.

    Args:
        group: Its rows.
        has_common_table: The page has a table of the samples that all rows have.
    """
    metrics = metrics_in(group.rows)
    # trivial baselines and the ceiling are there to compare with, not to win
    best = {
        metric: best_row(group.rows, metric, ("model", "external", "baseline", "untrained"))
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
        warnings=_find_warnings(group, has_common_table=has_common_table),
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

    # intervals draw the samples of one video together
    num_positives = (row.get("n") or 0) - (row.get("num_negatives") or 0)
    if 0 < (row.get("num_groups") or 0) < num_positives:
        notes.append(f"of {format_count(row['num_groups'])} videos")

    notes += [f"{reason} {number}" for reason, number in (row.get("missing") or {}).items()]
    return tuple(notes)


def _format_leakage(row: Mapping) -> str:
    if row.get("leakage") is not None:
        return format_count(row["leakage"])
    # what was not trained has no training data that could be unknown
    return "not known" if row["kind"] in ("model", "external", "untrained") else ABSENT


def _find_warnings(group: Group, *, has_common_table: bool) -> tuple[str, ...]:
    """Return what a reader of the table could overlook, one sentence each."""
    sentences = []

    # another hash of the ids means other samples
    scored = [row for row in group.rows if row.get("n") != 0]
    hashes = {row.get("ids_sha256") for row in scored if row.get("ids_sha256")}
    if len(hashes) > 1:
        remedy = (
            f"compare them under \u201c{COMMON_TITLE}\u201d."
            if has_common_table
            else "no sample was scored by all of them, so there is no table to compare them in."
        )
        sentences.append(
            "The rows were not computed on the same samples (see n and the hash of the ids): "
            + remedy
        )

    absent = [str(row["model"]) for row in group.rows if row.get("n") == 0]
    if absent:
        sentences.append(f"No sample of these was scored: {', '.join(absent)}.")

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
        is_best_baseline=bool(row.get("is_best_baseline")),
    )
