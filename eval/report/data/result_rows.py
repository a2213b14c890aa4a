"""Group the rows of results.json into tables, order them, and format their numbers.

A row is a mapping as ``eval.results.files`` describes it. Numbers may be absent.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from eval.entrants.entrant import KINDS

KIND_ORDER = (*KINDS, "ceiling")  # a ceiling is a row of the report alone
ABSENT = "\N{EN DASH}"  # stands for a number that is not there

# In the order of the columns: eval.results.files.METRICS, then those of test sets with negatives.
METRIC_TITLES = {
    "mean_ciou": "mean cIoU",
    "success_rate": "success at 0.5",
    "success_rate_at_30": "success at 0.3",
    "auc": "AUC",
    "adaptive_ciou": "adaptive cIoU",
    "pointing_accuracy": "pointing accuracy",
    "median_ciou": "median cIoU",
    "average_precision": "AP",
    "max_f1": "max F1",
    "max_f1_as_published": "max F1 (as published)",
    "localization_accuracy": "LocAcc",
    "iiou": "IIoU",
    "iauc": "IAUC",
}


@dataclass(frozen=True)
class Group:
    """The rows of one table: a subset of a dataset under one protocol."""

    dataset: str
    subset: str
    protocol: str
    rows: tuple[Mapping, ...]


def with_ceilings(results: Mapping[str, Sequence[Mapping]]) -> list[Mapping]:
    """Return the rows of results.json, and each of its ceilings as a row named ``ceiling``."""
    ceilings = [
        {**row, "model": "ceiling", "kind": "ceiling", "num_requested": row.get("n")}
        for row in results.get("ceilings", ())
    ]
    return [*results.get("results", ()), *ceilings]


def group_results(
    results: Sequence[Mapping], *, first_protocol: str, metric: str
) -> tuple[Group, ...]:
    """Group rows by dataset, subset and protocol.

    Args:
        results: Rows of results.json.
        first_protocol: Comes first within a subset; the others follow by name.
        metric: Orders the rows of one kind, best first.

    Returns:
        Groups by the first appearance of their subset. Within a group, models come before
        baselines, untrained networks, trivial baselines and the ceiling.
    """
    groups: dict[tuple[str, str, str], list[Mapping]] = {}
    for row in results:
        key = (str(row["dataset"]), str(row["subset"]), str(row["protocol"]))
        groups.setdefault(key, []).append(row)

    subsets = list(dict.fromkeys(key[:2] for key in groups))
    # Subsets keep their order in results.json; of its protocols the main one comes first.
    keys = sorted(
        groups, key=lambda key: (subsets.index(key[:2]), key[2] != first_protocol, key[2])
    )
    return tuple(
        Group(*key, tuple(sorted(groups[key], key=lambda row: _row_order(row, metric))))
        for key in keys
    )


def _row_order(row: Mapping, metric: str) -> tuple[int, float, str]:
    value = number_of(row, metric)
    # A row without a value goes last, because no cIoU is below 0.
    return KIND_ORDER.index(row["kind"]), -(-1.0 if value is None else value), str(row["model"])


def number_of(row: Mapping, name: str) -> float | None:
    """Return a finite number of a row, or None.

    Args:
        row: A row of results.json.
        name: The key. The result is None if its value is absent, text, a bool, infinite or NaN.
    """
    value = row.get(name)
    # To Python, True is an int, too. NaN stands for "could not be computed".
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def metrics_in(rows: Sequence[Mapping], *, is_full: bool = False) -> list[str]:
    """Return the metrics that a table of ``rows`` shows, in the order of its columns.

    Args:
        rows: Rows of one table; a metric that none of them has is left out.
        is_full: Return all other metrics. By default the median cIoU is left out, and the success
            rate at 0.3 as well, unless the authors of the protocol count successes there: then it
            comes first, because it is the number to compare with theirs.
    """
    present = [
        name for name in METRIC_TITLES if any(number_of(row, name) is not None for row in rows)
    ]
    if is_full:
        return present

    published = published_success(rows)

    # The success rate that the authors print is never hidden.
    hidden = {"median_ciou", "success_rate_at_30"} - {published}
    kept = [name for name in present if name not in hidden]
    if published == "success_rate_at_30":
        # False sorts first. The other metrics keep their order.
        kept.sort(key=lambda name: name != published)
    return kept


def published_success(rows: Sequence[Mapping]) -> str:
    """Return the success rate that the authors of these rows' protocol print."""
    is_at_30 = any(number_of(row, "success_at") == 0.3 for row in rows)
    return "success_rate_at_30" if is_at_30 else "success_rate"


def title_of(metric: str, rows: Sequence[Mapping]) -> str:
    """Return a column's title; of two success rates it says which one was published.

    Args:
        metric: A key of ``METRIC_TITLES``.
        rows: The rows of the same table, all under one protocol.
    """
    is_marked = metric == published_success(rows) == "success_rate_at_30"
    return METRIC_TITLES[metric] + (" (as published)" if is_marked else "")


def best_row(rows: Sequence[Mapping], metric: str, kinds: Collection[str]) -> Mapping | None:
    """Return the row with the highest value of a metric, or None.

    Args:
        rows: Rows of one table. Those without the metric do not count; of equals the first wins.
        metric: A key of the rows; larger is better.
        kinds: The kinds of entrants that count, such as ``model`` or ``baseline``.
    """
    best, best_value = None, -math.inf
    for row in rows:
        value = number_of(row, metric)
        # Of equal rows, the first one stays.
        if row["kind"] in kinds and value is not None and value > best_value:
            best, best_value = row, value
    return best


def best_own_row(rows: Sequence[Mapping], metric: str) -> Mapping | None:
    """Return the best model, or without a model the best baseline or untrained network.

    Args:
        rows: Rows of one table. Models are ours or those of other systems.
        metric: As for ``best_row``.

    Returns:
        The row, or None where no row has the metric.
    """
    best = best_row(rows, metric, ("model", "external"))
    return best or best_row(rows, metric, ("baseline", "untrained"))


def is_above_ceiling(row: Mapping, rows: Sequence[Mapping]) -> bool:
    """Return whether a row scores more than the ceiling of its table.

    The ceiling assumes that a map's values all differ; those of some baselines do not.
    """
    value = number_of(row, "mean_ciou")
    limits = [number_of(other, "mean_ciou") for other in rows if other["kind"] == "ceiling"]
    # A map that reaches the ceiling can be above it by rounding.
    return value is not None and any(limit is not None and value > limit + 1e-9 for limit in limits)


def interval_of(row: Mapping, metric: str) -> tuple[float, float] | None:
    """Return the two ends of a metric's 95 % interval, or None where there is none.

    Args:
        row: A row of results.json.
        metric: A key of the row; its ends are the keys ``<metric>_low`` and ``<metric>_high``.
    """
    low, high = number_of(row, f"{metric}_low"), number_of(row, f"{metric}_high")
    return None if low is None or high is None else (low, high)


def format_interval(interval: tuple[float, float] | None, digits: int = 3) -> str:
    """Return ``[0.100, 0.200]``, or an empty text where there is no interval.

    Args:
        interval: From ``interval_of``.
        digits: The number of decimals.
    """
    if interval is None:
        return ""
    return f"[{format_number(interval[0], digits)}, {format_number(interval[1], digits)}]"


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number with ``digits`` decimals; None is an en dash."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def format_signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign; None is an en dash."""
    # A hyphen is narrower than a plus sign, so numbers below each other would not line up.
    return ABSENT if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def format_count(value: object) -> str:
    """Return a whole number with commas between thousands; None is an en dash."""
    if value is None:
        return ABSENT
    if isinstance(value, int | float) and not math.isnan(value):
        return f"{int(value):,}"
    return str(value)


def format_counts(counts: Mapping[str, int]) -> str:
    """Return ``train 2, test 1``; no counts are an en dash."""
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or ABSENT


def format_text(value: object) -> str:
    """Return a field as text; one that is absent or empty is an en dash."""
    return ABSENT if value is None or value == "" else str(value)
