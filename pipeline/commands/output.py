"""Print rows: as a table for people, or as csv or json for programs."""

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot.errors import ParameterError
from earshot.files import publish_bytes

if TYPE_CHECKING:
    from rich.table import Table

# Words of a table that a terminal shows in colour.
_STYLES = {
    "ok": "green",
    "missing": "red",
    "permanent": "red",
    "retry": "yellow",
    "confirm": "yellow",
    "failed": "red",
}

# Rich takes about a millisecond a row, and nobody reads more than this.
_MAX_TERMINAL_ROWS = 1000


def render(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], output_format: str) -> str:
    """Return rows as text.

    Args:
        rows: mappings; a column that a row does not have is empty.
        columns: in the order of the output.
        output_format: ``table`` (for people: numbers to the right, a dash for an empty value; as
            wide as the terminal, if the output is one), ``csv`` or ``json``.
    """
    columns = list(columns)
    lines = [[row.get(name) for name in columns] for row in rows]
    return render_lines(lines, columns, output_format)


def render_lines(lines: Sequence[Sequence[Any]], columns: Sequence[str], output_format: str) -> str:
    """Return lists of values, in the order of ``columns``, as text (see ``render``)."""
    if output_format == "json":
        return _render_json(lines, columns)
    if output_format == "csv":
        return _render_csv(lines, columns)
    return _render_table(lines, columns)


def _render_json(lines: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    # One object a line: readable, and quick for a hundred thousand.
    objects = [json.dumps(dict(zip(columns, line, strict=True)), default=str) for line in lines]
    return "[\n" + ",\n".join(objects) + "\n]" if objects else "[]"


def _render_csv(lines: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [" ".join(map(str, value)) if isinstance(value, list | tuple) else value for value in line]
        for line in lines
    )
    return buffer.getvalue().rstrip("\n")


def _render_table(lines: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    # Numbers are aligned to the right. The values decide it, because an id can look like a number.
    by_column = list(zip(*lines, strict=True)) if lines else [()] * len(columns)
    are_numbers = [
        bool(values) and all(isinstance(value, int | float | None) for value in values)
        for values in by_column
    ]
    if sys.stdout is not None and sys.stdout.isatty():  # None: the shell has closed it
        return _render_for_terminal(lines, columns, are_numbers)

    # What reads a pipe or a file wants whole lines, however long, and there can be 100,000.
    padded = []
    for name, values, is_number in zip(columns, by_column, are_numbers, strict=True):
        texts = [name, *map(_format_cell, values)]
        width = max(map(len, texts))
        padded.append([text.rjust(width) if is_number else text.ljust(width) for text in texts])
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _render_for_terminal(
    lines: Sequence[Sequence[Any]], columns: Sequence[str], are_numbers: Sequence[bool]
) -> str:
    from rich.console import Console  # only a terminal needs it

    # Rich takes a width of 0, which some programs set, for a terminal without room.
    is_unknown = os.environ.get("COLUMNS") == "0"
    width = shutil.get_terminal_size().columns if is_unknown else None
    console = Console(highlight=False, width=width)
    texts = [[_format_cell(value) for value in line] for line in lines[:_MAX_TERMINAL_ROWS]]
    places = list(range(len(columns)))
    table, are_words = _make_table(texts, columns, are_numbers, places)

    # Where even words would be broken, columns are left out, from the right; the first two name
    # what a row is about, and sentences can become narrow.
    hidden: list[str] = []
    unlimited = console.options.update(max_width=100_000)
    while console.measure(table, options=unlimited).minimum > console.width:
        place = next((place for place in reversed(places[2:]) if are_words[place]), None)
        if place is None:
            break
        places.remove(place)
        hidden.insert(0, columns[place])
        table, are_words = _make_table(texts, columns, are_numbers, places)

    # A terminal can be too narrow even for those. It breaks lines; here, ids would be cut.
    console.width = max(console.width, console.measure(table, options=unlimited).minimum)
    with console.capture() as captured:
        console.print(table)
    notes = []
    if hidden:
        notes.append(f"no room for {', '.join(hidden)}: --format csv has all columns")
    if len(lines) > _MAX_TERMINAL_ROWS:
        num_more = len(lines) - _MAX_TERMINAL_ROWS
        notes.append(f"... and {num_more} more rows: --format csv has all")
    return "\n".join([captured.get().rstrip("\n"), *notes])


def _make_table(
    texts: Sequence[Sequence[str]],
    columns: Sequence[str],
    are_numbers: Sequence[bool],
    places: Sequence[int],
) -> "tuple[Table, list[bool]]":
    """Return a table of the columns at ``places``, and which columns hold single words only."""
    from rich.table import Table
    from rich.text import Text

    # Single words stay whole. Sentences can be broken into lines.
    are_words = [all(" " not in line[place] for line in texts) for place in range(len(columns))]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place in places:
        table.add_column(
            columns[place],
            justify="right" if are_numbers[place] else "left",
            no_wrap=are_words[place],
            overflow="fold",
        )
    for line in texts:
        table.add_row(*(Text(line[place], _STYLES.get(line[place], "")) for place in places))
    return table, are_words


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return " ".join(str(value).split())  # texts of sites can hold line breaks


def choose_output(output: Path | None, default_name: str) -> Path:
    """Return the path of the file that a command writes.

    Args:
        output: Of ``--output``: the file, or a folder that is there. None: the working folder.
        default_name: What the file is called in a folder.
    """
    if output is None:
        return Path(default_name)
    return output / default_name if output.is_dir() else output


def write_output(path: Path, content: bytes) -> None:
    """Write the file that ``--output`` names.

    Raises:
        ParameterError: No file can be made there.
    """
    try:
        publish_bytes(path, content)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ParameterError(
            f"--output {path}: no file can be made there: {error.strerror}"
        ) from None
