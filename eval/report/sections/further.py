"""Metrics of ``evaluate.further_metrics``, a table for each metric of a test set.

``templates/further.html`` shows these views.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.report.data.result_rows import ABSENT, format_count, format_number, number_of
from eval.report.sections.charts import Line, LineChart, draw_lines
from eval.results.further_metrics import CHOSEN_ON_TEST
from eval.results.source_scores import HEARD_ALONE

# A baseline that looks at nothing is there to compare with, not to win.
_NO_RIVALS = ("trivial",)
_FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class FurtherCell:
    """A number or a word of a table."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Column:
    """A column, and how its value is read from a row of results.json."""

    title: str
    read: Callable[[Mapping], object]
    is_score: bool = True  # the largest is the best


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that stand below one title; ``warning`` says how their numbers are flattered."""

    title: str
    columns: tuple[Column, ...]
    warning: str = ""


@dataclass(frozen=True)
class FurtherRow:
    """One model."""

    model: str
    counts: str  # scored / requested
    cells: tuple[tuple[FurtherCell, ...], ...]  # of each group


@dataclass(frozen=True)
class FurtherTable:
    """The table of one metric; ``explanation`` says what its numbers are."""

    title: str
    explanation: str
    groups: tuple[ColumnGroup, ...]
    rows: tuple[FurtherRow, ...] = ()
    chart: LineChart | None = None


def _get(name: str) -> Callable[[Mapping], object]:
    return lambda row: row.get(name)


def _at_fixed_threshold(name: str) -> Callable[[Mapping], object]:
    """Return a reader of the value at threshold .5 of a list with one value a threshold."""

    def read(row: Mapping) -> object:
        # Thresholds are products such as 0.05 * 10.
        pairs = zip(row.get("thresholds") or (), row.get(name) or (), strict=False)
        return next((value for at, value in pairs if abs(at - _FIXED_THRESHOLD) < 1e-6), None)

    return read


def _name_maps(row: Mapping) -> str:
    if row.get("note") == HEARD_ALONE:
        return "one a source, each heard alone"
    return "one a source" if row.get("has_source_maps") else "one a sample"


_SCALE = ColumnGroup("", (Column("maps", _get("map_scale"), is_score=False),))
# Of each metric, its table without rows.
_TABLES = {
    "acl_sweep": FurtherTable(
        "Fixed thresholds (ACL)",
        "One threshold for all maps marks the pixels; nothing depends on the size of the object. "
        "ACL tries 19 and prints the best.",
        (
            ColumnGroup(
                "marked from 0.5 on",
                (
                    Column("success at 0.5", _at_fixed_threshold("success_rates")),
                    Column("AUC", _at_fixed_threshold("aucs")),
                ),
            ),
            ColumnGroup(
                "best of 19 thresholds",
                (
                    Column("success at 0.5", _get("success_rate")),
                    Column("AUC", _get("auc")),
                    Column("threshold", _get("best_threshold"), is_score=False),
                ),
                CHOSEN_ON_TEST,
            ),
            _SCALE,
        ),
    ),
    "masks": FurtherTable(
        "Masks (AVSBench)",
        "IoU and F with the masks of what sounds; where nothing sounds, the IoU is the share of "
        "the frame that is not marked.",
        (
            ColumnGroup("marked above 0.5", (Column("mIoU", _get("mean_iou")),)),
            ColumnGroup(
                "best threshold",
                (
                    Column("mIoU", _get("best_mean_iou")),
                    Column("threshold", _get("best_threshold"), is_score=False),
                    Column("F", _get("f")),
                ),
                CHOSEN_ON_TEST,
            ),
            _SCALE,
        ),
    ),
    "sources": FurtherTable(
        "Several sources (NoPrior, AVGN)",
        "Each source needs a map of its own. A model with one map a sample finds half of the two "
        "sources of a duet at most. Papers give the mixture of the sounds; hearing each source "
        "alone is easier.",
        (
            ColumnGroup(
                "each source",
                (
                    Column("CAP", _get("cap")),
                    Column("IoU@.3", _get("iou_at_30")),
                    Column("IoU@.5", _get("iou_at_50")),
                    Column("AUC", _get("auc")),
                ),
            ),
            ColumnGroup("all as one", (Column("PIAP", _get("piap")),)),
            ColumnGroup(
                "as AVGN printed it",
                (Column("PIAP", _get("piap_swapped_as_published")),),
                "truth and prediction are swapped",
            ),
            ColumnGroup(
                "",
                (
                    Column("sources", _get("num_sources"), is_score=False),
                    Column("maps", _name_maps, is_score=False),
                ),
            ),
        ),
    ),
    "retrieval": FurtherTable(
        "Retrieval",
        "Share of samples whose own frame (or sound) is among the k most similar ones. Rows of one "
        "picture or recording are no rivals.",
        (
            *(
                ColumnGroup(
                    title, tuple(Column(f"R@{k}", _get(f"{way}_at_{k}")) for k in (1, 5, 10))
                )
                for way, title in (
                    ("sound_to_frame", "sound to frame"),
                    ("frame_to_sound", "frame to sound"),
                )
            ),
            ColumnGroup("", (Column("recordings", _get("num_recordings"), is_score=False),)),
        ),
    ),
}


def view_further(rows: Sequence[Mapping]) -> tuple[FurtherTable, ...]:
    """Return a table for each metric.

    Args:
        rows: Of the list ``further`` of results.json, of one test set.
    """
    rows_of: dict[str, list[Mapping]] = {metric: [] for metric in _TABLES}
    for row in rows:
        rows_of[str(row["metric"])].append(row)
    return tuple(
        _fill_table(_TABLES[metric], members) for metric, members in rows_of.items() if members
    )


def _fill_table(table: FurtherTable, rows: Sequence[Mapping]) -> FurtherTable:
    # A column that no row has would be empty, such as AVGN's of stacked pictures.
    groups = tuple(
        replace(group, columns=columns)
        for group in table.groups
        if (columns := tuple(one for one in group.columns if any(_has(row, one) for row in rows)))
    )

    best_of = {column: _find_best(rows, column) for group in groups for column in group.columns}
    filled = tuple(
        FurtherRow(
            str(row["model"]),
            f"{format_count(row.get('n'))} of {format_count(row.get('num_requested'))}",
            tuple(
                tuple(_make_cell(row, column, best_of[column]) for column in group.columns)
                for group in groups
            ),
        )
        for row in rows
    )
    return replace(table, groups=groups, rows=filled, chart=_draw_sweep(rows))


def _has(row: Mapping, column: Column) -> bool:
    return column.read(row) is not None


def _find_best(rows: Sequence[Mapping], column: Column) -> float | None:
    if not column.is_score:
        return None
    values = [
        value
        for row in rows
        if row.get("kind") not in _NO_RIVALS and (value := _read_number(row, column)) is not None
    ]
    return max(values) if len(set(values)) > 1 else None


def _read_number(row: Mapping, column: Column) -> float | None:
    return number_of({"value": column.read(row)}, "value")


def _make_cell(row: Mapping, column: Column, best: float | None) -> FurtherCell:
    is_rival = row.get("kind") not in _NO_RIVALS
    value = column.read(row)
    if isinstance(value, float):
        digits = 3 if column.is_score else 2
        text = format_number(_read_number(row, column), digits)
        return FurtherCell(text, is_best=is_rival and best is not None and value == best)
    if value is None:
        return FurtherCell(ABSENT)
    return FurtherCell(format_count(value) if isinstance(value, int) else str(value))


def _draw_sweep(rows: Sequence[Mapping]) -> LineChart | None:
    """Draw the AUC of each model by threshold, where there is one value a threshold."""
    lines = [
        Line(str(row["model"]), row["thresholds"], row["aucs"], number)
        for number, row in enumerate(rows)
        if row.get("thresholds") and row.get("aucs") and row.get("kind") not in _NO_RIVALS
    ]
    if not lines:
        return None
    return draw_lines(
        lines, title="AUC by threshold", x_label="threshold of all maps", y_label="AUC"
    )
