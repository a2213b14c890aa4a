"""Compose pictures of a sample into one sheet with titles and text (``earshot show``).

Pictures are uint8 RGB ``(height, width, 3)``.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.features.pictures import fit

_INK, _MUTED, _PAPER = (24, 28, 36), (96, 104, 118), (255, 255, 255)
_MARGIN, _GAP, _TITLE_SIZE, _TEXT_SIZE = 20, 14, 15, 13
_LINE_HEIGHT = 20


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet with its title and caption."""

    title: str
    picture: np.ndarray | None  # None: the caption stands on an empty field
    caption: str = ""


def compose_sheet(
    title: str,
    lines: Sequence[str],
    panels: Sequence[Panel],
    *,
    panel_width: int = 400,
    panel_height: int = 300,
) -> np.ndarray:
    """Draw a sheet: a title, lines of text, and the panels in rows of up to three.

    Text is wrapped to the width of the sheet. Characters that the built-in font lacks become
    question marks.

    Args:
        title: In large letters at the top.
        lines: Below the title.
        panels: In reading order.
        panel_width: In pixels.
        panel_height: In pixels, without title and caption.

    Returns:
        uint8 RGB ``(height, width, 3)``, as high as its content needs.
    """
    num_columns = max(1, min(3, len(panels)))
    num_rows = -(-len(panels) // num_columns)
    width = 2 * _MARGIN + num_columns * panel_width + (num_columns - 1) * _GAP

    # The header grows with the wrapped text.
    wrapped = [
        part
        for line in lines
        for part in wrap_text(line, size=_TEXT_SIZE, max_width=width - 2 * _MARGIN)
    ]
    titles = wrap_text(title, size=_TITLE_SIZE + 5, max_width=width - 2 * _MARGIN)
    header_height = _MARGIN + len(titles) * (_LINE_HEIGHT + 8) + len(wrapped) * _LINE_HEIGHT + _GAP

    # A cell is the panel with a line for its title above and one for its caption below.
    cell_height = _LINE_HEIGHT * 2 + panel_height + _GAP
    sheet = np.full((header_height + num_rows * cell_height + _MARGIN, width, 3), _PAPER, np.uint8)

    # `_write` takes the baseline of a line, which lies below its top `y`.
    y = _MARGIN
    for line in titles:
        sheet = _write(
            sheet, line, (_MARGIN, y + 20), size=_TITLE_SIZE + 5, colour=_INK, weight=700
        )
        y += _LINE_HEIGHT + 8
    for line in wrapped:
        sheet = _write(sheet, line, (_MARGIN, y + 12), size=_TEXT_SIZE, colour=_MUTED)
        y += _LINE_HEIGHT

    for position, panel in enumerate(panels):
        row, column = divmod(position, num_columns)
        left, top = _MARGIN + column * (panel_width + _GAP), header_height + row * cell_height
        sheet = _draw_panel(sheet, panel, (left, top), panel_width, panel_height)
    return sheet


def _draw_panel(
    sheet: np.ndarray, panel: Panel, origin: tuple[int, int], panel_width: int, panel_height: int
) -> np.ndarray:
    left, top = origin
    sheet = _write(sheet, panel.title, (left, top + 14), size=_TITLE_SIZE, colour=_INK, weight=600)
    top += _LINE_HEIGHT

    # A view of the sheet, taken after the title: `_write` may return a new array.
    field = sheet[top : top + panel_height, left : left + panel_width]

    if panel.picture is None:
        # The empty field says why there is no picture, in as many lines as fit.
        field[:] = (236, 239, 243)
        reason = wrap_text(panel.caption, size=_TEXT_SIZE, max_width=panel_width - 24)[:8]
        for number, line in enumerate(reason):
            place = (left + 12, top + 28 + number * _LINE_HEIGHT)
            sheet = _write(sheet, line, place, size=_TEXT_SIZE, colour=_INK)
        return sheet

    picture = fit(panel.picture, max_width=panel_width, max_height=panel_height)
    field[: picture.shape[0], : picture.shape[1]] = picture

    # A caption has one line, close below its picture, which may be lower than the field.
    for line in wrap_text(panel.caption, size=_TEXT_SIZE, max_width=panel_width)[:1]:
        place = (left, top + picture.shape[0] + 15)
        sheet = _write(sheet, line, place, size=_TEXT_SIZE, colour=_MUTED)
    return sheet


def wrap_text(text: str, *, size: int, max_width: int) -> list[str]:
    """Break text into lines of at most ``max_width`` pixels, at spaces where there are any.

    Args:
        text: Characters that cannot be printed become spaces.
        size: Of the letters, as OpenCV's font counts it.
        max_width: Of a line, in pixels.

    Returns:
        The lines; an empty text has one empty line.
    """
    text = "".join(character if character.isprintable() else " " for character in text)

    lines, line = [], ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if _text_width(candidate, size) <= max_width:
            line = candidate
            continue

        if line:
            lines.append(line)

        # An id that is longer than a line is broken anywhere.
        while _text_width(word, size) > max_width:
            # The width grows with each letter, so the last one that fits is found by halving.
            fits = range(2, len(word) + 1)
            cut = 1 + bisect.bisect_right(
                fits, max_width, key=lambda n: _text_width(word[:n], size)
            )
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    # An empty text still has one line.
    return [*lines, line] if line or not lines else lines


def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _text_width(text: str, size: int) -> int:
    _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _font(), size)
    return width


def _write(
    picture: np.ndarray,
    text: str,
    origin: tuple[int, int],
    *,
    size: int,
    colour: tuple[int, int, int],
    weight: int = 400,
) -> np.ndarray:
    _, picture = cv2.putText(picture, text, origin, colour, _font(), size, weight)
    return picture
