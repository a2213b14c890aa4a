"""Small charts as inline SVG: lines over an axis, and the bar of a value with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.markup import Html, element

NUM_COLOURS = (
    8  # custom properties --series-0 .. --series-7 of page.css; lines repeat them with other dashes
)
_DASHES = ("", "6 3", "2 3")
_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 40


@dataclass(frozen=True)
class Line:
    """One line of a chart; ``style`` (its place in the whole report's list of names) gives colour and dash."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: int = 0


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> Html:
    """A figure with a line chart, its legend and a sentence for those who do not see it.

    Points that are not finite are left out and break the line.
    """
    xs = [x for line in lines for x in line.xs if math.isfinite(x)]
    ys = [y for line in lines for y in line.ys if math.isfinite(y)]
    if not xs or not ys:
        return element("p", f"{title}: there is no finite value to draw.", class_="note")
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = y_range or (min(ys), max(ys))
    x_ticks = pick_ticks(x_low, x_high, is_whole=all(float(x).is_integer() for x in xs))
    if y_range is None:
        y_low, y_high = _widen(y_low, y_high)
    y_ticks = pick_ticks(y_low, y_high)
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        left = _LEFT + (x - x_low) / x_span * (_WIDTH - _LEFT - _RIGHT)
        top = _HEIGHT - _BOTTOM - (y - y_low) / y_span * (_HEIGHT - _TOP - _BOTTOM)
        return round(left, 1), round(top, 1)

    parts = []
    for tick in y_ticks:
        _, top = place(x_low, tick)
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=top, y2=top, class_="grid"))
        parts.append(element("text", format_tick(tick), x=_LEFT - 6, y=top + 4, text_anchor="end"))
    for tick in x_ticks:
        left, _ = place(tick, y_low)
        bottom = _HEIGHT - _BOTTOM
        parts.append(element("line", x1=left, x2=left, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(
            element("text", format_tick(tick), x=left, y=bottom + 17, text_anchor="middle")
        )
    bottom = _HEIGHT - _BOTTOM
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        element("text", x_label, x=middle, y=_HEIGHT - 5, text_anchor="middle", class_="label")
    )
    for line in lines:
        for piece in _finite_pieces(line):
            points = [place(x, y) for x, y in piece]
            if len(points) == 1:
                (x, y) = points[0]
                parts.append(element("circle", cx=x, cy=y, r=3, fill=colour_of(line.style)))
            else:
                parts.append(
                    element(
                        "polyline",
                        points=" ".join(f"{x},{y}" for x, y in points),
                        stroke=colour_of(line.style),
                        stroke_dasharray=_dash_of(line.style) or None,
                        class_="series",
                    )
                )
    svg = element(
        "svg",
        parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}: {y_label} over {x_label}. "
        + " ".join(_describe(line) for line in lines),
    )
    legend = element(
        "ul", [element("li", _swatch(line.style), line.name) for line in lines], class_="legend"
    )
    return element("figure", element("figcaption", title), svg, legend, class_="chart")


def draw_interval(
    value: float, low: float | None, high: float | None, *, is_marked: bool = False
) -> Html:
    """A bar 0..1 with the 95 % interval as a thick line and the value as a point; the numbers stand beside it."""
    place = lambda x: round(2 + 96 * min(max(x, 0.0), 1.0), 1)  # noqa: E731
    parts = [element("line", x1=2, x2=98, y1=5, y2=5, class_="track")]
    if low is not None and high is not None:
        parts.append(element("line", x1=place(low), x2=place(high), y1=5, y2=5, class_="range"))
    parts.append(element("circle", cx=place(value), cy=5, r=3))
    class_ = "interval marked" if is_marked else "interval"
    return element(
        "svg", parts, viewBox="0 0 100 10", class_=class_, aria_hidden="true", focusable="false"
    )


def pick_ticks(
    low: float, high: float, *, num_wanted: int = 5, is_whole: bool = False
) -> list[float]:
    """About ``num_wanted`` round numbers in [low, high] (at least one); ``is_whole``: no fractions."""
    if high <= low:
        return [low]
    rough = (high - low) / num_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    if is_whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)] or [low]


def _widen(low: float, high: float) -> tuple[float, float]:
    """The range from the tick below the values to the tick above; a constant lies in the middle."""
    if high <= low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    ticks = pick_ticks(low, high)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def format_tick(value: float) -> str:
    """A tick's text: as few digits as it needs."""
    value = 0.0 if abs(value) < 1e-12 else value  # 3 * .1 - .3
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.1e}"


def colour_of(style: int) -> str:
    """The CSS colour of a line."""
    return f"var(--series-{style % NUM_COLOURS})"


def _dash_of(style: int) -> str:
    return _DASHES[style // NUM_COLOURS % len(_DASHES)]


def _swatch(style: int) -> Html:
    line = element(
        "line",
        x1=0,
        x2=22,
        y1=5,
        y2=5,
        stroke=colour_of(style),
        stroke_dasharray=_dash_of(style) or None,
        class_="series",
    )
    return element(
        "svg", line, viewBox="0 0 22 10", class_="swatch", aria_hidden="true", focusable="false"
    )


def _finite_pieces(line: Line) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _describe(line: Line) -> str:
    finite = [y for y in line.ys if math.isfinite(y)]
    if not finite:
        return f"{line.name}: no values."
    return f"{line.name}: from {finite[0]:.3g} to {finite[-1]:.3g}, lowest {min(finite):.3g}, highest {max(finite):.3g}."
