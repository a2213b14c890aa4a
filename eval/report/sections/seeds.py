"""What seeds do: methods that were trained several times, as mean and range.

``templates/section_results.html`` shows these views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.report.data.result_rows import METRIC_TITLES, format_number, number_of


@dataclass(frozen=True)
class SeedCell:
    """A metric over the seeds of one method."""

    mean: float | None
    range: str  # the least and the largest value


@dataclass(frozen=True)
class SeedRow:
    """A method with several seeds."""

    method: str
    models: str
    num_seeds: int
    cells: tuple[SeedCell, ...]


@dataclass(frozen=True)
class SeedTable:
    """The methods of one test set that have several seeds; ``warnings``: what they overturn."""

    titles: tuple[str, ...] = ()
    rows: tuple[SeedRow, ...] = ()
    warnings: tuple[str, ...] = ()


def view_seeds(
    rows: Sequence[Mapping],
    *,
    protocol: str,
    metrics: Sequence[str],
    notes: Sequence[Mapping] = (),
) -> SeedTable:
    """Return the table of seeds of one test set.

    Args:
        rows: Of the list ``seeds`` of results.json, of the test set.
        protocol: The one that the table shows.
        metrics: Its columns, without those that no row has.
        notes: Of the list ``notes``, of the dataset.
    """
    rows = [row for row in rows if row["protocol"] == protocol]
    metrics = [name for name in metrics if any(number_of(row, name) is not None for row in rows)]
    return SeedTable(
        tuple(METRIC_TITLES[name] for name in metrics),
        tuple(_make_row(row, metrics) for row in rows),
        tuple(str(note["text"]) for note in notes if note.get("problem") == "seeds"),
    )


def _make_row(row: Mapping, metrics: Sequence[str]) -> SeedRow:
    cells = []
    # Runs have few seeds, and of so few the range says more than a standard deviation.
    for name in metrics:
        low, high = number_of(row, f"{name}_min"), number_of(row, f"{name}_max")
        cells.append(
            SeedCell(number_of(row, name), f"{format_number(low)} to {format_number(high)}")
        )
    return SeedRow(str(row["method"]), ", ".join(row["models"]), row["num_seeds"], tuple(cells))
