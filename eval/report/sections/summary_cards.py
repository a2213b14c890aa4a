"""The summary: for each test set its best row, and what that row has to be compared with.

``templates/section_summary.html`` shows these views.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.report.data.result_rows import (
    METRIC_TITLES,
    Group,
    best_own_row,
    best_row,
    format_interval,
    interval_of,
    number_of,
)

_BEST_TITLES = {
    "model": "best model",
    "external": "best maps of another system",
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
    best = best_own_row(group.rows, metric)
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


def _make_summary_row(title: str, row: Mapping, metric: str) -> SummaryRow:
    value = number_of(row, metric)
    assert value is not None, "best_row returns rows that have the metric"
    interval = format_interval(interval_of(row, metric)) or "no interval"
    return SummaryRow(title, str(row["model"]), value, interval)
