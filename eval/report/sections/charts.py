"""Compute the shapes of small SVG charts; ``templates/charts.html`` draws them.

There are two: lines over an axis, and the bar of a value with its interval. All numbers are rounded
here, so that the same values give the same bytes. A chart can be read without JavaScript: lines
have names, and points have the browser's own tooltips.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# page.css has the colours --series-0 to --series-7; further lines repeat them with other dashes
NUM_COLOURS = 8
_DASHES = ("", "6 3", "2 3")

_WIDTH, _HEIGHT = 480, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 42  # margins around the lines, for the labels
_NUM_TIPS = 40  # points of a line that have a tooltip
_LABEL_HEIGHT, _LETTER_WIDTH = 15, 7  # pixels


@dataclass(frozen=True)
class Line:
    """The values of one line of a chart.

    ``has_steps``: the line is a histogram; ``xs`` are the edges of its bins, one more than ``ys``.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: int = 0  # place of the name in the report's list of names: gives colour and dash
    has_steps: bool = False

    def points(self) -> list[tuple[float, float]]:
        """Return the points that the line goes through."""
        if not self.has_steps:
            return list(zip(self.xs, self.ys, strict=True))
        edges = itertools.pairwise(self.xs)
        return [(x, y) for ends, y in zip(edges, self.ys, strict=True) for x in ends]

    def values(self) -> list[tuple[float, float]]:
        """Return the points that have a value of their own: of a step its middle."""
        if not self.has_steps:
            return self.points()
        middles = [(low + high) / 2 for low, high in itertools.pairwise(self.xs)]
        return list(zip(middles, self.ys, strict=True))


@dataclass(frozen=True)
class Tick:
    """A number on an axis: ``place`` in pixels from the left or from the top."""

    text: str
    place: float


@dataclass(frozen=True)
class Stroke:
    """A piece of a line that has no gap: ``points`` in pixels (a single one is drawn as a dot)."""

    points: tuple[tuple[float, float], ...]
    colour: str
    dash: str


@dataclass(frozen=True)
class LegendEntry:
    """A line's name, colour and dash."""

    name: str
    colour: str
    dash: str


@dataclass(frozen=True)
class Tip:
    """A point that says its value when a pointer is on it."""

    x: float
    y: float
    text: str
    colour: str


@dataclass(frozen=True)
class Label:
    """A text in the chart: the name of a line or of a mark."""

    text: str
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Mark:
    """A value of the horizontal axis that a chart marks with an upright line."""

    name: str
    x: float


@dataclass(frozen=True)
class LineChart:
    """A figure with a line chart, its legend and a description for those who do not see it."""

    title: str
    description: str = ""
    x_label: str = ""
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    tips: tuple[Tip, ...] = ()
    labels: tuple[Label, ...] = ()  # names of lines, where there is room beside each
    marks: tuple[Label, ...] = ()  # upright lines with their names
    legend: tuple[LegendEntry, ...] = ()
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    top: int = _TOP
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM

    @property
    def is_empty(self) -> bool:
        """Whether there is no finite value to draw."""
        return not self.strokes


@dataclass(frozen=True)
class IntervalBar:
    """A bar from 0 to 1 with a value and, where it is known, its interval; in a box of 100 x 10."""

    value: float
    low: float | None
    high: float | None


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    is_labelled: bool = True,
) -> LineChart:
    """Turn lines into a chart.

    Args:
        lines: Points that are not finite are left out and break their line.
        title: Stands above the chart.
        x_label: Stands below the horizontal axis.
        y_label: Is said in the description alone.
        y_range: Lowest and highest value of the vertical axis; by default the axis fits the values.
        marks: Values of the horizontal axis that get an upright line.
        is_labelled: Write names beside the lines, where there is room, instead of a legend.

    Returns:
        The chart; it is empty where no line has a finite value.
    """
    xs = [x for line in lines for x in line.xs if math.isfinite(x)]
    # A mark can lie outside of the values. It must be in the picture all the same.
    xs += [mark.x for mark in marks]
    ys = [y for line in lines for y in line.ys if math.isfinite(y)]
    if not xs or not ys:
        return LineChart(title)

    x_low, x_high = min(xs), max(xs)
    # Without a range, the axis ends at round numbers.
    y_low, y_high = y_range or _widen(min(ys), max(ys))

    # A single x has no span; dividing by 1 puts it at the left end.
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def place_x(x: float) -> float:
        """Return pixels from the left."""
        return round(_LEFT + (x - x_low) / x_span * (_WIDTH - _LEFT - _RIGHT), 1)

    def place_y(y: float) -> float:
        """Return pixels from the top."""
        # Pixels count from the top, values from the bottom.
        return round(_HEIGHT - _BOTTOM - (y - y_low) / y_span * (_HEIGHT - _TOP - _BOTTOM), 1)

    # A value that is not finite ends a stroke, so that a gap stays a gap.
    strokes = [
        Stroke(
            tuple((place_x(x), place_y(y)) for x, y in piece),
            colour_of(line.style),
            _dash_of(line.style),
        )
        for line in lines
        for piece in _split_at_gaps(line)
    ]

    # The points of each line in pixels, for its tooltips and its name.
    placed = {
        line.name: [
            (place_x(x), place_y(y), f"{line.name}: {_format_value(y)} at {format_tick(x)}")
            for x, y in line.values()
            if math.isfinite(x) and math.isfinite(y)
        ]
        for line in lines
    }
    tips = [
        Tip(x, y, text, colour_of(line.style))
        for line in lines
        for x, y, text in _thin(placed[line.name])
    ]
    marked = [Label(mark.name, place_x(mark.x), _TOP, "var(--ink)") for mark in marks]

    # Epochs and steps are whole numbers: half an epoch would be no tick.
    x_ticks = pick_ticks(x_low, x_high, is_whole=all(float(x).is_integer() for x in xs))
    sentences = " ".join(_describe(line) for line in lines)

    return LineChart(
        title,
        description=f"{title}: {y_label} over {x_label}. {sentences}",
        x_label=x_label,
        x_ticks=tuple(Tick(format_tick(tick), place_x(tick)) for tick in x_ticks),
        y_ticks=tuple(Tick(format_tick(tick), place_y(tick)) for tick in pick_ticks(y_low, y_high)),
        strokes=tuple(strokes),
        tips=tuple(tips),
        labels=_place_labels(lines, placed) if is_labelled else (),
        marks=tuple(marked),
        legend=tuple(
            LegendEntry(line.name, colour_of(line.style), _dash_of(line.style)) for line in lines
        ),
    )


def _thin(points: Sequence[tuple[float, float, str]]) -> Sequence[tuple[float, float, str]]:
    """Return at most ``_NUM_TIPS`` points, evenly spaced."""
    # -(-a // b) rounds up.
    return points[:: max(1, -(-len(points) // _NUM_TIPS))]


def _place_labels(
    lines: Sequence[Line], placed: Mapping[str, Sequence[tuple[float, float, str]]]
) -> tuple[Label, ...]:
    """Name the lines where they are farthest apart; without room for that, the legend does."""
    ys_of = {name: {x: y for x, y, _ in points} for name, points in placed.items()}
    # Only where all lines have a value can their distances be compared.
    common = set.intersection(*(set(points) for points in ys_of.values()))
    longest = max(len(line.name) for line in lines) * _LETTER_WIDTH

    best_gap, best_x = 0.0, None
    for x in sorted(common):
        # The name would leave the chart at the right, here and at all later places.
        if x + longest + 8 > _WIDTH:
            break
        heights = sorted(points[x] for points in ys_of.values())
        # a name stands above its line; one line alone has room all over
        has_room_above = heights[0] - _TOP >= _LABEL_HEIGHT
        gaps = [high - low for low, high in itertools.pairwise(heights)]
        gap = min(gaps, default=_LABEL_HEIGHT)
        if has_room_above and gap > best_gap:
            best_gap, best_x = gap, x

    if best_x is None or best_gap < _LABEL_HEIGHT:
        return ()
    return tuple(
        Label(
            line.name,
            best_x + 6,
            round(_place_beside(ys_of[line.name], best_x), 1),
            colour_of(line.style),
        )
        for line in lines
    )


def _place_beside(points: Mapping[float, float], x: float) -> float:
    """Return where the name of a line stands: above it, or below it where the line rises."""
    later = [y for place, y in sorted(points.items()) if place > x]
    is_rising = bool(later) and later[0] < points[x]
    place = points[x] + (_LABEL_HEIGHT if is_rising else -4)
    # Not over the numbers of the axis.
    return min(place, _HEIGHT - _BOTTOM - 4)


def draw_interval(value: float, low: float | None, high: float | None) -> IntervalBar:
    """Return the bar of a value and its 95 % interval, all between 0 and 1."""
    if low is None or high is None:
        return IntervalBar(_place_on_bar(value), None, None)
    return IntervalBar(_place_on_bar(value), _place_on_bar(low), _place_on_bar(high))


def _place_on_bar(value: float) -> float:
    # 2 units are left free at both ends for the dot
    return round(2 + 96 * min(max(value, 0.0), 1.0), 1)


def pick_ticks(
    low: float, high: float, *, num_wanted: int = 5, is_whole: bool = False
) -> list[float]:
    """Return about ``num_wanted`` round numbers in [low, high], at least one.

    Args:
        low: Lowest value of the axis.
        high: Highest value of the axis.
        num_wanted: How many numbers the axis has room for.
        is_whole: Take no fractions.
    """
    if high <= low:
        return [low]

    # the smallest round step that is about as long as wanted
    rough = (high - low) / num_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    # With a tolerance, because rounding can make a step that fits a bit too short.
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    if is_whole:
        step = max(1.0, math.ceil(step))

    # the tolerance keeps a tick that rounding has put just outside of the axis
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)] or [low]


def _widen(low: float, high: float) -> tuple[float, float]:
    """Return the tick below the values and the tick above; a constant lies in the middle."""
    if high <= low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin

    # round numbers at both ends
    ticks = pick_ticks(low, high)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def format_tick(value: float) -> str:
    """Return a tick's text with as few digits as it needs."""
    value = 0.0 if abs(value) < 1e-12 else value  # 3 * .1 - .3
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.1e}"


def _format_value(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def colour_of(style: int) -> str:
    """Return the CSS colour of a line."""
    return f"var(--series-{style % NUM_COLOURS})"


def _dash_of(style: int) -> str:
    return _DASHES[style // NUM_COLOURS % len(_DASHES)]


def _split_at_gaps(line: Line) -> list[list[tuple[float, float]]]:
    """Return the runs of finite points of a line."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in line.points():
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            # Many gaps in a row end one piece only.
            pieces.append([])
    return [piece for piece in pieces if piece]


def _describe(line: Line) -> str:
    # For those who do not see the chart.
    finite = [y for y in line.ys if math.isfinite(y)]
    if not finite:
        return f"{line.name}: no values."
    return (
        f"{line.name}: from {finite[0]:.3g} to {finite[-1]:.3g}, "
        f"lowest {min(finite):.3g}, highest {max(finite):.3g}."
    )
