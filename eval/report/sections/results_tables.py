"""The tables of results: ours with intervals, and published numbers in the same table.

``templates/section_results.html`` shows these views.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from eval.report.data.result_rows import (
    ABSENT,
    Group,
    format_count,
    format_interval,
    format_text,
    interval_of,
    is_above_ceiling,
    metrics_in,
    number_of,
    title_of,
)
from eval.report.sections.charts import IntervalBar, draw_interval
from eval.report.sections.comparisons import ComparisonRow, view_comparisons
from eval.report.sections.further import FurtherTable, view_further
from eval.report.sections.protocol_cards import name_protocol
from eval.report.sections.published_table import PublishedRow, view_published
from eval.report.sections.remarks import (
    COMMON_TITLE,
    describe_pictures,
    find_equal_rows,
    find_warnings,
)
from eval.report.sections.seeds import SeedTable, view_seeds
from eval.results.files import format_coverage

_KIND_MARKS = {
    "model": "",
    "external": "external",
    "baseline": "baseline",
    "untrained": "untrained",
    "trivial": "trivial",
    "ceiling": "",  # its name says it
}
# Mean cIoU and AUC are two sums over one curve; so far apart, the table shows both.
_ALIKE = 0.02


@dataclass(frozen=True)
class MetricCell:
    """The value of a metric, if there is one, with its interval as text and as a bar."""

    value: float | None
    interval: str = ""
    bar: IntervalBar | None = None
    is_best: bool = False


@dataclass(frozen=True)
class ResultRow:
    """A line of a table of results, with the published numbers that belong beside it.

    The fields from ``counts`` on are its provenance.
    """

    model: str
    mark: str  # its kind, where that is not a model
    cells: tuple[MetricCell, ...]
    published: tuple[PublishedRow, ...]
    counts: str  # scored / requested
    notes: tuple[str, ...]  # coverage, negatives, missing samples by reason
    trained_on: str
    selection: str
    leakage: str
    leakage_note: str  # why it is not known
    seed: str
    ids: str  # the beginning of the hash of the scored ids


@dataclass(frozen=True)
class ResultTable:
    """A test set under one protocol; ``titles`` are those of the metrics.

    ``published``: numbers of methods or trainings that this run does not have. ``remarks``: what
    the columns leave out.
    """

    caption: str
    protocol: str  # as it is read
    titles: list[str]
    rows: tuple[ResultRow, ...]
    warnings: tuple[str, ...]
    published: tuple[PublishedRow, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def has_published(self) -> bool:
        """Whether the table has the columns of published numbers."""
        return bool(self.published) or any(row.published for row in self.rows)


@dataclass(frozen=True)
class SubsetResults:
    """All tables of one test set: ``main`` is under the main protocol."""

    dataset: str
    subset: str
    main: ResultTable
    others: tuple[ResultTable, ...]
    common_tables: tuple[ResultTable, ...]
    comparisons: tuple[ComparisonRow, ...]
    seeds: SeedTable
    further: tuple[FurtherTable, ...]


@dataclass(frozen=True)
class Results:
    """The section of results, or one sentence that says why there are none."""

    subsets: tuple[SubsetResults, ...] = ()
    why_none: str = ""
    common_title: str = COMMON_TITLE


def view_results(
    groups: Sequence[Group],
    *,
    results: Mapping[str, Sequence[Mapping]],
    metric: str = "adaptive_ciou",
) -> tuple[SubsetResults, ...]:
    """Return the tables of each test set.

    Args:
        groups: The rows of results, as ``group_results`` returns them.
        results: The other lists of results.json by name: ``intersections``, ``comparisons``,
            ``seeds``, ``further`` and ``notes``.
        metric: Stands first in the main tables.
    """

    def place(group: Group) -> tuple[str, str]:
        return group.dataset, group.subset

    return tuple(
        _view_subset(list(members), results, metric) for _, members in groupby(groups, key=place)
    )


def _view_subset(
    members: Sequence[Group], results: Mapping[str, Sequence[Mapping]], metric: str
) -> SubsetResults:
    main = members[0]

    def rows_of(name: str) -> list[Mapping]:
        """Return the rows of another list that belong to this test set."""
        place = (main.dataset, main.subset)
        return [
            row for row in results.get(name, ()) if (row.get("dataset"), row.get("subset")) == place
        ]

    common = rows_of("intersections")
    untrained = {str(row["model"]) for row in main.rows if row["kind"] == "untrained"}
    # A note has no field for the test set. Its sentence names it.
    notes = [
        note
        for note in results.get("notes", ())
        if note.get("dataset") == main.dataset and f" on {main.subset}:" in str(note["text"])
    ]
    return SubsetResults(
        dataset=main.dataset,
        subset=main.subset,
        main=make_main_table(members, metric=metric, has_common_table=bool(common)),
        others=tuple(make_table(group, has_common_table=bool(common)) for group in members[1:]),
        common_tables=_make_common_tables(main, common),
        comparisons=view_comparisons(rows_of("comparisons"), hidden=untrained),
        further=view_further(rows_of("further")),
        seeds=view_seeds(
            rows_of("seeds"),
            protocol=main.protocol,
            metrics=choose_columns(main.rows, metric)[0],
            notes=notes,
        ),
    )


def _make_common_tables(place: Group, rows: Sequence[Mapping]) -> tuple[ResultTable, ...]:
    tables = []
    for protocol in dict.fromkeys(str(row["protocol"]) for row in rows):
        of_protocol = tuple(row for row in rows if str(row["protocol"]) == protocol)
        title = f"{place.subset}, samples that all models have"
        tables.append(make_table(Group(place.dataset, title, protocol, of_protocol)))
    return tuple(tables)


def make_main_table(
    members: Sequence[Group], *, metric: str, has_common_table: bool
) -> ResultTable:
    """Return the table of a test set: results under the main protocol, and published numbers.

    Args:
        members: The results of the test set, a group for each protocol; the main one first.
        metric: Stands first.
        has_common_table: The page has a table of the samples that all rows have.
    """
    rows = members[0].rows
    metrics, remark = choose_columns(rows, metric)
    published = view_published(members)
    own = {str(row["model"]) for row in rows}
    table = make_table(
        members[0], metrics=metrics, published=published, has_common_table=has_common_table
    )
    others = tuple(row for row in published if row.own_model not in own)
    remarks = [*remark, *describe_pictures(rows), *find_equal_rows(rows)]
    return replace(table, published=others, remarks=tuple(remarks))


def choose_columns(rows: Sequence[Mapping], metric: str) -> tuple[list[str], list[str]]:
    """Return the metrics of a main table, the main one first, and what is left out of it.

    Under some protocols the mean cIoU is the adaptive cIoU, and the AUC lies close to both.
    """
    metrics = metrics_in(rows)
    if metric in metrics:
        metrics = [metric, *(name for name in metrics if name != metric)]

    remarks = []
    # Where as many pixels are marked as the ground truth has, both are one number.
    if metric == "adaptive_ciou" and _are_alike(rows, "mean_ciou", metric, 1e-9):
        metrics.remove("mean_ciou")
        remark = "Mean cIoU is the same as adaptive cIoU under this protocol"
        if _are_alike(rows, "auc", metric, _ALIKE):
            metrics.remove("auc")
            remark += f", and AUC lies within {_ALIKE} of it in each row"
        remarks.append(f"{remark}; results.csv has all columns.")
    return metrics, remarks


def _are_alike(rows: Sequence[Mapping], first: str, second: str, tolerance: float) -> bool:
    pairs = [(number_of(row, first), number_of(row, second)) for row in rows]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return bool(known) and all(abs(a - b) <= tolerance for a, b in known)


def make_table(
    group: Group,
    *,
    metrics: Sequence[str] | None = None,
    published: Iterable[PublishedRow] = (),
    has_common_table: bool = True,
) -> ResultTable:
    """Return the table of one test set under one protocol; the best value of a metric is marked.

    Args:
        group: Its rows.
        metrics: The columns; by default those that ``metrics_in`` chooses.
        published: Numbers that stand beside the row of their ``own_model``.
        has_common_table: The page has a table of the samples that all rows have.
    """
    metrics = metrics_in(group.rows) if metrics is None else metrics
    published = tuple(published)
    # Trivial baselines and the ceiling are there to compare with, not to win. What is above the
    # ceiling has marked less of the frame than the others.
    rivals = [row for row in group.rows if not is_above_ceiling(row, group.rows)]
    best = {metric: [rivals[place] for place in _find_best(rivals, metric)] for metric in metrics}

    rows = [
        ResultRow(
            model=str(row["model"]),
            mark=_KIND_MARKS[row["kind"]],
            cells=tuple(
                _make_cell(row, name, is_best=any(row is one for one in best[name]))
                for name in metrics
            ),
            published=tuple(one for one in published if one.own_model == row["model"]),
            counts=f"{format_count(row.get('n'))} of {format_count(row.get('num_requested'))}",
            notes=_describe_samples(row),
            trained_on=_format_training(row),
            selection=_format_selection(row),
            leakage=_format_leakage(row),
            leakage_note=str(row.get("leakage_note") or ""),
            seed=format_text(row.get("seed")),
            ids=format_text(row.get("ids_sha256"))[:8],
        )
        for row in group.rows
    ]

    return ResultTable(
        caption=_write_caption(group),
        protocol=name_protocol(group.protocol),
        titles=[title_of(metric, group.rows) for metric in metrics],
        rows=tuple(rows),
        warnings=find_warnings(group, has_common_table=has_common_table),
    )


def _write_caption(group: Group) -> str:
    """Return the test set, how many samples were scored, and the protocol."""
    counts = sorted({int(row["n"]) for row in group.rows if row.get("n")})
    # One number if all rows have the same n: `fromkeys` drops the second.
    limits = " to ".join(f"{count:,}" for count in dict.fromkeys([*counts[:1], *counts[-1:]]))
    negatives = max((int(row.get("num_negatives") or 0) for row in group.rows), default=0)
    count = f"{limits or 'no'} samples" + (f" ({negatives:,} negatives)" if negatives else "")
    return f"{group.subset}: {count}, protocol {name_protocol(group.protocol)}"


def _find_best(rivals: Sequence[Mapping], metric: str) -> list[int]:
    """Return the places of the rows with the largest value; none if all have the same."""
    kinds = ("model", "external", "baseline", "untrained")
    values = {
        place: value
        for place, row in enumerate(rivals)
        if row["kind"] in kinds and (value := number_of(row, metric)) is not None
    }
    best = [place for place, value in values.items() if value == max(values.values())]
    # Where all are equal, none is better than another.
    return best if len(best) < len(values) or len(values) == 1 else []


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


def _format_training(row: Mapping) -> str:
    """Return what a row was trained on, with the number of samples where it is known."""
    if row.get("trained_on") is None:
        return "not known" if row["kind"] == "external" else ABSENT
    number = row.get("num_trained_on")
    return str(row["trained_on"]) + (f" ({format_count(number)})" if number is not None else "")


def _format_selection(row: Mapping) -> str:
    if row["kind"] == "untrained":
        return "not trained"
    return ABSENT if row.get("selection") == "none" else format_text(row.get("selection"))


def _format_leakage(row: Mapping) -> str:
    if row.get("leakage") is not None:
        return format_count(row["leakage"])
    # what was not trained has no training data that could be unknown
    return "not known" if row["kind"] in ("model", "external", "untrained") else ABSENT
