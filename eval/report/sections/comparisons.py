"""Paired differences as the page prints them: which of two models is better, and how sure that is.

``templates/section_results.html`` and ``templates/section_summary.html`` show these views.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from eval.report.data.result_rows import (
    METRIC_TITLES,
    format_interval,
    format_number,
    format_signed,
    number_of,
)
from eval.results.comparisons import is_clear

_SMALLEST_P = 0.001  # 10,000 resamples tell no smaller ones apart


@dataclass(frozen=True)
class ComparisonRow:
    """The paired difference of two models.

    ``is_clear``: as ``eval.results.comparisons.is_clear`` says. ``is_best_baseline``: the second is
    the baseline that the first has to beat. ``seed_range``: how far apart runs lie that differ in
    the seed alone.
    """

    first: str
    second: str
    protocol: str
    metric: str
    difference: float | None
    interval: str
    p: str
    n: int | None
    is_clear: bool
    is_best_baseline: bool
    seed_range: float | None

    @property
    def verdict(self) -> str:
        """Who is better, in words."""
        if not self.is_clear or self.difference is None:
            return "no clear difference"
        return f"{self.first if self.difference > 0 else self.second} better"

    @property
    def is_within_seeds(self) -> bool:
        """Whether seeds do more than this difference."""
        if self.seed_range is None or self.difference is None:
            return False
        return abs(self.difference) < self.seed_range

    @property
    def signed(self) -> str:
        """The difference with its sign."""
        return format_signed(self.difference)

    @property
    def text(self) -> str:
        """The difference, its interval and its p value."""
        return f"{self.signed} {self.interval}, p {self.p}"


def view_comparisons(
    rows: Iterable[Mapping], *, hidden: Collection[str] = ()
) -> tuple[ComparisonRow, ...]:
    """Return paired differences, those with the best baseline first.

    Args:
        rows: Of the list ``comparisons`` of results.json.
        hidden: Models whose differences say nothing: networks that nobody has trained.
    """
    views = [_make_row(row) for row in rows if not {row["first"], row["second"]} & set(hidden)]
    # `not`, because False sorts first.
    return tuple(sorted(views, key=lambda view: not view.is_best_baseline))


def _make_row(row: Mapping) -> ComparisonRow:
    low, high = number_of(row, "low"), number_of(row, "high")
    interval = None if low is None or high is None else (low, high)
    return ComparisonRow(
        first=str(row["first"]),
        second=str(row["second"]),
        protocol=str(row["protocol"]),
        metric=METRIC_TITLES.get(row["metric"], row["metric"]),
        difference=number_of(row, "difference"),
        interval=format_interval(interval),
        p=format_p(number_of(row, "p_value")),
        n=row.get("n"),
        is_clear=is_clear(row),
        is_best_baseline=bool(row.get("is_best_baseline")),
        seed_range=number_of(row, "seed_range"),
    )


def format_p(value: float | None) -> str:
    """Return ``= 0.012``, or ``< 0.001`` for what the bootstrap cannot tell from 0."""
    if value is not None and value < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    return f"= {format_number(value)}"
