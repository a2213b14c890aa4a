"""The rows of results.json as the report uses them: their order, what kind of thing each is, and their numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.entrants.entrant import KINDS

METRIC_TITLES = {  # in the order of the columns; those of eval.results.files.METRICS and of negatives
    "mean_ciou": "mean cIoU",
    "success_rate": "success at 0.5",
    "success_rate_at_30": "success at 0.3",
    "auc": "AUC",
    "adaptive_ciou": "adaptive cIoU",
    "pointing_accuracy": "pointing accuracy",
    "median_ciou": "median cIoU",
    "average_precision": "AP",
    "max_f1": "max F1",
    "localization_accuracy": "LocAcc",
}
KIND_ORDER = (*KINDS, "ceiling")  # a ceiling is a row of this page alone
ABSENT = "\N{EN DASH}"  # a number that is not there


@dataclass(frozen=True)
class Group:
    """What one table shows: a subset of a dataset under one protocol, and its rows."""

    dataset: str
    subset: str
    protocol: str
    rows: tuple[Mapping, ...]


def with_ceilings(results: Mapping[str, Sequence[Mapping]]) -> list[Mapping]:
    """The rows of results, and each ceiling as a row named ``ceiling``."""
    ceilings = [
        {**row, "model": "ceiling", "kind": "ceiling", "num_requested": row.get("n")}
        for row in results.get("ceilings", ())
    ]
    return [*results.get("results", ()), *ceilings]


def group_results(results: Sequence[Mapping], *, first_protocol: str, metric: str) -> list[Group]:
    """Rows by (dataset, subset, protocol) in their order of appearance, ``first_protocol`` first within a subset.

    Within a group: models, then baselines, untrained networks, trivial baselines and the ceiling, best first.
    """
    groups: dict[tuple, list] = {}
    for row in results:
        groups.setdefault(
            (str(row["dataset"]), str(row["subset"]), str(row["protocol"])), []
        ).append(row)
    subsets = list(dict.fromkeys(key[:2] for key in groups))
    keys = sorted(
        groups, key=lambda key: (subsets.index(key[:2]), key[2] != first_protocol, key[2])
    )
    return [
        Group(*key, tuple(sorted(groups[key], key=lambda row: _row_order(row, metric))))
        for key in keys
    ]


def _row_order(row: Mapping, metric: str) -> tuple:
    value = number_of(row, metric)
    return (
        KIND_ORDER.index(row["kind"]),
        -(value if value is not None else -1.0),
        str(row["model"]),
    )


def number_of(row: Mapping, name: str) -> float | None:
    """A finite number of a row, else None."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def metrics_in(rows: Sequence[Mapping], *, is_full: bool = False) -> list[str]:
    """The metrics that any of ``rows`` has, in the report's order.

    Unless ``is_full``: without ``median_ciou`` (of use between protocols), and with the success rate at 0.3 only where
    the protocol's authors count successes there, and then first: it is the one to compare with theirs.
    """
    found = [
        name for name in METRIC_TITLES if any(number_of(row, name) is not None for row in rows)
    ]
    if is_full:
        return found
    published = published_success(rows)
    hidden = {"median_ciou", "success_rate_at_30"} - {published}
    shown = [name for name in found if name not in hidden]
    return (
        sorted(shown, key=lambda name: name != published)
        if published == "success_rate_at_30"
        else shown
    )


def published_success(rows: Sequence[Mapping]) -> str:
    """The success rate that the authors of these rows' protocol print."""
    return (
        "success_rate_at_30"
        if any(number_of(row, "success_at") == 0.3 for row in rows)
        else "success_rate"
    )


def title_of(metric: str, rows: Sequence[Mapping]) -> str:
    """A column's title; where two success rates stand side by side it says which one was published."""
    is_marked = metric == published_success(rows) == "success_rate_at_30"
    return METRIC_TITLES[metric] + (" (as published)" if is_marked else "")


def best_row(rows: Sequence[Mapping], metric: str, kinds: Sequence[str]) -> Mapping | None:
    """The row of one of ``kinds`` with the highest ``metric``, or None."""
    scored = [row for row in rows if row["kind"] in kinds and number_of(row, metric) is not None]
    return max(scored, key=lambda row: number_of(row, metric), default=None)


def format_number(value: float | None, digits: int = 3) -> str:
    """``.346`` is written ``0.346``; None is an en dash."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def format_count(value: object) -> str:
    """A whole number with thin separators; None is an en dash."""
    return (
        ABSENT
        if value is None
        else f"{int(value):,}"
        if isinstance(value, int | float) and value == value
        else str(value)
    )
