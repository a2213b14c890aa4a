"""Metrics of ``evaluate.further_metrics``, a table for each metric of a test set.

``templates/further.html`` shows these views.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

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
class FurtherGroup:
    """Columns that stand below one title; ``warning`` says how their numbers are flattered."""

    title: str
    columns: tuple[str, ...]
    warning: str = ""


@dataclass(frozen=True)
class FurtherRow:
    """One model."""

    model: str
    counts: str  # scored / requested
    cells: tuple[tuple[FurtherCell, ...], ...]  # of each group


@dataclass(frozen=True)
class FurtherTable:
    """The rows of one metric; ``explanation`` says what its numbers are."""

    title: str
    explanation: str
    groups: tuple[FurtherGroup, ...]
    rows: tuple[FurtherRow, ...]
    chart: LineChart | None = None


@dataclass(frozen=True)
class _Column:
    title: str
    read: Callable[[Mapping], object]
    is_score: bool = True  # the largest is the best


@dataclass(frozen=True)
class _Group:
    title: str
    columns: tuple[_Column, ...]
    warning: str = ""


@dataclass(frozen=True)
class _Metric:
    title: str
    explanation: str
    groups: tuple[_Group, ...]


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


_SCALE = _Group("", (_Column("maps", _get("map_scale"), is_score=False),))
_METRICS = {
    "acl_sweep": _Metric(
        "Fixed thresholds (ACL)",
        "One threshold for all maps marks the pixels; nothing depends on the size of the object. "
        "ACL tries 19 and prints the best.",
        (
            _Group(
                "marked from 0.5 on",
                (
                    _Column("success at 0.5", _at_fixed_threshold("success_rates")),
                    _Column("AUC", _at_fixed_threshold("aucs")),
                ),
            ),
            _Group(
                "best of 19 thresholds",
                (
                    _Column("success at 0.5", _get("success_rate")),
                    _Column("AUC", _get("auc")),
                    _Column("threshold", _get("best_threshold"), is_score=False),
                ),
                CHOSEN_ON_TEST,
            ),
            _SCALE,
        ),
    ),
    "masks": _Metric(
        "Masks (AVSBench)",
        "IoU and F with the masks of what sounds; where nothing sounds, the IoU is the share of "
        "the frame that is not marked.",
        (
            _Group("marked above 0.5", (_Column("mIoU", _get("mean_iou")),)),
            _Group(
                "best threshold",
                (
                    _Column("mIoU", _get("best_mean_iou")),
                    _Column("threshold", _get("best_threshold"), is_score=False),
                    _Column("F", _get("f")),
                ),
                CHOSEN_ON_TEST,
            ),
            _SCALE,
        ),
    ),
    "sources": _Metric(
        "Several sources (NoPrior, AVGN)",
        "Each source needs a map of its own. A model with one map a sample finds half of the two "
        "sources of a duet at most. Papers give the mixture of the sounds; hearing each source "
        "alone is easier.",
        (
            _Group(
                "each source",
                (
                    _Column("CAP", _get("cap")),
                    _Column("IoU@.3", _get("iou_at_30")),
                    _Column("IoU@.5", _get("iou_at_50")),
                    _Column("AUC", _get("auc")),
                ),
            ),
            _Group("all as one", (_Column("PIAP", _get("piap")),)),
            _Group(
                "as AVGN printed it",
                (_Column("PIAP", _get("piap_swapped_as_published")),),
                "truth and prediction are swapped",
            ),
            _Group(
                "",
                (
                    _Column("sources", _get("num_sources"), is_score=False),
                    _Column("maps", _name_maps, is_score=False),
                ),
            ),
        ),
    ),
    "retrieval": _Metric(
        "Retrieval",
        "Share of samples whose own frame (or sound) is among the k most similar ones. Rows of one "
        "picture or recording are no rivals.",
        (
            *(
                _Group(title, tuple(_Column(f"R@{k}", _get(f"{way}_at_{k}")) for k in (1, 5, 10)))
                for way, title in (
                    ("sound_to_frame", "sound to frame"),
                    ("frame_to_sound", "frame to sound"),
                )
            ),
            _Group("", (_Column("recordings", _get("num_recordings"), is_score=False),)),
        ),
    ),
}


def view_further(rows: Sequence[Mapping]) -> tuple[FurtherTable, ...]:
    """Return a table for each metric.

    Args:
        rows: Of the list ``further`` of results.json, of one test set.
    """
    order = list(_METRICS)

    def place_of(row: Mapping) -> int:
        return order.index(str(row["metric"]))

    ordered = sorted(rows, key=place_of)
    return tuple(
        _make_table(_METRICS[order[place]], list(members))
        for place, members in groupby(ordered, key=place_of)
    )


def _make_table(metric: _Metric, rows: Sequence[Mapping]) -> FurtherTable:
    # A column that no row has would be empty, such as AVGN's of stacked pictures.
    groups = [
        (group, columns)
        for group in metric.groups
        if (columns := [one for one in group.columns if any(_has(row, one) for row in rows)])
    ]
    best = {
        id(column): _find_best(rows, column)
        for _, columns in groups
        for column in columns
        if column.is_score
    }
    return FurtherTable(
        metric.title,
        metric.explanation,
        tuple(
            FurtherGroup(group.title, tuple(one.title for one in columns), group.warning)
            for group, columns in groups
        ),
        tuple(
            FurtherRow(
                str(row["model"]),
                f"{format_count(row.get('n'))} of {format_count(row.get('num_requested'))}",
                tuple(
                    tuple(_make_cell(row, one, best.get(id(one))) for one in columns)
                    for _, columns in groups
                ),
            )
            for row in rows
        ),
        _draw_sweep(rows),
    )


def _has(row: Mapping, column: _Column) -> bool:
    return column.read(row) is not None


def _find_best(rows: Sequence[Mapping], column: _Column) -> float | None:
    values = [
        value
        for row in rows
        if row.get("kind") not in _NO_RIVALS and (value := _read_number(row, column)) is not None
    ]
    return max(values) if len(set(values)) > 1 else None


def _read_number(row: Mapping, column: _Column) -> float | None:
    return number_of({"value": column.read(row)}, "value")


def _make_cell(row: Mapping, column: _Column, best: float | None) -> FurtherCell:
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
