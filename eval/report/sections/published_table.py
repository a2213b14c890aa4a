"""Published numbers of a test set, with our results of the same method and training data.

``results_tables`` puts them into the table of the test set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.published.comparability import (
    PUBLISHED,
    Published,
    explain_incomparability,
    find_counterparts,
)
from eval.published.test_sets import find_test_sets
from eval.report.data.result_rows import Group, number_of


@dataclass(frozen=True)
class PublishedRow:
    """A published number and ours beside it.

    ``why_not`` is empty where the two may be compared. ``own_model`` is None where this run has no
    result of the method with the same training data; ``why_not`` then holds what is known against
    the published number.
    """

    method: str
    trained_on: str
    success_rate: float | None
    success_at: str
    auc: float | None
    own_model: str | None = None
    own_protocol: str = ""
    own_success_rate: float | None = None
    own_auc: float | None = None
    why_not: str = ""


def view_published(members: Sequence[Group]) -> tuple[PublishedRow, ...]:
    """Return the published numbers of a test set, the highest first.

    Args:
        members: The results of the test set, a group for each protocol; the main one first.
    """
    place = members[0]
    rows: list[PublishedRow] = []
    for published in PUBLISHED:
        test_set = find_test_sets()[published.test_set]
        # Results name a test set by its own name or by its split.
        if place.dataset == test_set.dataset and place.subset in (test_set.name, test_set.split):
            rows += _set_beside(published, members)
    return tuple(sorted(rows, key=lambda row: -(row.success_rate or 0.0)))


def _set_beside(published: Published, members: Sequence[Group]) -> list[PublishedRow]:
    """Put each of our results under the paper's protocol (else the main one) beside its number."""
    group = next((group for group in members if group.protocol == published.protocol), members[0])
    counterparts = find_counterparts(group.rows, published)
    if counterparts:
        return [_make_row(published, own, group.protocol) for own in counterparts]
    return [_make_row(published, None, "")]


def _make_row(published: Published, own: Mapping | None, protocol: str) -> PublishedRow:
    # FlowGrad's table counts a success from 0.3 on.
    metric = "success_rate_at_30" if published.success_at == 0.3 else "success_rate"
    if own is None:
        # Without a result of ours, only what is known against theirs.
        own, why_not = {}, "; ".join(published.caveats)
    else:
        why_not = explain_incomparability(own, published)

    return PublishedRow(
        method=published.method,
        trained_on=published.trained_on,
        success_rate=published.success_rate,
        success_at=f"{published.success_at:g}",
        auc=published.auc,
        own_model=str(own["model"]) if own else None,
        own_protocol=protocol,
        own_success_rate=number_of(own, metric),
        own_auc=number_of(own, "auc"),
        why_not=why_not,
    )
