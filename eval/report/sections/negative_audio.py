"""Negative audio: is a model silent when nothing in the frame sounds?

``templates/section_silence.html`` shows these views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from eval.report.data.result_rows import format_interval, format_number, interval_of, number_of
from eval.report.sections.charts import Line, LineChart, Mark, draw_lines
from eval.scoring.negative_audio import NEGATIVES

_KINDS = ("own", *NEGATIVES)
_TITLES = {"own": "its own sound", "offscreen": "offscreen sound"}
# Colour and dash of each kind: its own sound stands out.
_STYLES = {"own": 0, "silence": 6, "noise": 1, "offscreen": 3}


@dataclass(frozen=True)
class SilenceCell:
    """A number, and its interval where there is one."""

    value: float | None
    interval: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class SilenceRow:
    """One model: its threshold, and a cell for each column."""

    model: str
    threshold: str
    cells: tuple[SilenceCell, ...]
    more_cells: tuple[SilenceCell, ...]
    third_quartiles: str


@dataclass(frozen=True)
class SilenceTable:
    """One test set: ``titles`` are those of the cells, ``charts`` has one a model.

    ``more_titles`` are those of the cells that are folded.
    """

    dataset: str
    subset: str
    facts: str
    titles: tuple[str, ...]
    more_titles: tuple[str, ...]
    rows: tuple[SilenceRow, ...]
    charts: tuple[LineChart, ...]


@dataclass(frozen=True)
class _Column:
    name: str
    title: str
    is_low_best: bool = False


def view_negative_audio(rows: Sequence[Mapping]) -> tuple[SilenceTable, ...]:
    """Return the tables and charts of negative audio.

    Args:
        rows: The list ``negative_audio`` of results.json.
    """

    def place(row: Mapping) -> tuple[str, str]:
        return str(row["dataset"]), str(row["subset"])

    return tuple(
        _make_table(dataset, subset, list(members))
        for (dataset, subset), members in groupby(rows, key=place)
    )


def _make_table(dataset: str, subset: str, rows: Sequence[Mapping]) -> SilenceTable:
    kinds = [kind for kind in NEGATIVES if any(f"pia_{kind}" in row for row in rows)]
    # Low is best where nothing should be marked.
    columns = [
        _Column("f_loc", "F_LOC"),
        _Column("f_auc", "F_AUC"),
        _Column("ciou_u", "cIoU_U"),
        _Column("auc_u", "AUC_U"),
        *(_Column(f"pia_{kind}", f"marked, {kind}", is_low_best=True) for kind in kinds),
    ]
    more_columns = [
        *(_Column(f"auc_n_{kind}", f"AUC_N, {kind}") for kind in kinds),
        *(_Column(f"agreement_{kind}", f"agreement, {kind}", is_low_best=True) for kind in kinds),
    ]
    best = {column.name: _find_best(rows, column) for column in (*columns, *more_columns)}

    return SilenceTable(
        dataset,
        subset,
        facts=_describe(rows[0]),
        titles=tuple(column.title for column in columns),
        more_titles=tuple(column.title for column in more_columns),
        rows=tuple(
            SilenceRow(
                str(row["model"]),
                format_number(number_of(row, "threshold")),
                tuple(_make_cell(row, column, best[column.name]) for column in columns),
                tuple(_make_cell(row, column, best[column.name]) for column in more_columns),
                ", ".join(
                    f"{kind} {format_number(number_of(row, f'third_quartile_{kind}'))}"
                    for kind in kinds
                ),
            )
            for row in rows
        ),
        charts=tuple(_draw_maxima(row) for row in rows),
    )


def _find_best(rows: Sequence[Mapping], column: _Column) -> float | None:
    values = [value for row in rows if (value := number_of(row, column.name)) is not None]
    if len(set(values)) < 2:
        return None  # nothing to be better than
    return min(values) if column.is_low_best else max(values)


def _make_cell(row: Mapping, column: _Column, best: float | None) -> SilenceCell:
    value = number_of(row, column.name)
    interval = format_interval(interval_of(row, column.name))
    return SilenceCell(value, interval, is_best=value is not None and value == best)


def _describe(row: Mapping) -> str:
    """Return how many samples and seeds the numbers come from, and the threshold as well."""
    return (
        f"{row['n']:,} of {row['num_requested']:,} samples, {row['num_seeds']} seeds of noise and "
        f"offscreen sound; thresholds from {row['num_threshold_samples']} samples of "
        f"{row['threshold_on']}"
    )


def _draw_maxima(row: Mapping) -> LineChart:
    """Draw the distributions of the maps' maxima, and the threshold between them."""
    edges = row.get("maxima_edges") or ()
    lines = [
        # A histogram: each value lies between two edges.
        Line(
            _TITLES.get(kind, kind),
            edges,
            row[f"maxima_{kind}"],
            _STYLES[kind],
            has_steps=True,
        )
        for kind in _KINDS
        if row.get(f"maxima_{kind}")
    ]
    threshold = number_of(row, "threshold")
    marks = [] if threshold is None else [Mark(f"threshold {threshold:.3f}", threshold)]
    return draw_lines(
        lines,
        title=f"{row['model']}: the largest similarity of each map",
        x_label="largest similarity in the map",
        y_label="share of maps",
        marks=marks,
        is_labelled=False,
    )
