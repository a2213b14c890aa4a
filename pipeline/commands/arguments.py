"""Options and output formats that commands share: datasets, splits, ids, tables."""

import argparse
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.datasets.dataset import find_own_tables
from pipeline.datasets.dataset import names as dataset_names

ID_OPTIONS = ("--id", "--sample", "--clip")
FORMATS = ("table", "csv", "json")


def protect_ids(words: Sequence[str]) -> list[str]:
    """Rewrite a command line so that argparse accepts ids that begin with ``-``.

    Many of YouTube's ids do. The word after ``--id`` is its value, whatever it looks like.
    Elsewhere ``-abc`` is an id and goes behind a ``--`` at the end, because no command has short
    options of more than one letter.

    Args:
        words: The words after the name of the program.

    Returns:
        The words for argparse.
    """
    options, positionals = [], []
    words = list(words)

    while words:
        word = words.pop(0)
        if word == "--":
            positionals += words
            break
        # Joined by `=`, because argparse takes a separate word that begins with `-` for an option.
        if word in ID_OPTIONS and words:
            options.append(f"{word}={words.pop(0)}")
        elif len(word) > 2 and word[0] == "-" and word[1] != "-":
            positionals.append(word)
        else:
            options.append(word)
    return [*options, "--", *positionals] if positionals else options


def add_dataset_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--dataset NAME``, which can be repeated."""
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        help="only this dataset (can be repeated; default: all there are)",
    )


def add_format_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--format table|csv|json``."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")


def selected_datasets(arguments: argparse.Namespace, project: Project) -> list[str]:
    """Return the datasets that ``--dataset`` names; without it all that there are.

    Those are the datasets of params.yaml and all others that have a list.

    Raises:
        ParameterError: there is no dataset of that name.
    """
    # A dataset without code here is accepted as well, if its tables are there.
    known = (*dataset_names(), *find_own_tables(project.params))
    for name in arguments.dataset or project.datasets:
        if name not in known and not project.manifests_dir(name).is_dir():
            where = "--dataset is" if arguments.dataset else "params: datasets has"
            raise ParameterError(f"{where} {name!r}, expected one of {', '.join(known)}")

    # A name that was given twice counts once.
    if arguments.dataset:
        return list(dict.fromkeys(arguments.dataset))

    # Datasets that params.yaml does not select now can still have a list and clips.
    others = [name for name in known if project.clips_table_path(name).exists()]
    return list(dict.fromkeys([*project.datasets, *others]))


def require_known_splits(
    names: Iterable[str], project: Project, dataset_names: Iterable[str], *, option: str
) -> None:
    """Refuse a split that none of the datasets has.

    A mistyped split selects nothing, and an empty result would look like good news.

    Args:
        names: the splits.
        project: the checkout.
        dataset_names: the datasets; those without a list are ignored.
        option: for the message.

    Raises:
        ParameterError: no dataset has the split.
    """
    import pyarrow.compute as pc  # only commands with such an option need it

    from earshot.tables import CLIPS, read_table

    names = list(names)
    paths = [path for name in dataset_names if (path := project.clips_table_path(name)).exists()]
    if not names or not paths:  # without any list the command itself says so
        return

    # One dataset with the split is enough: commands look at several datasets at once.
    tables = [read_table(path, CLIPS, columns=["splits"]) for path in paths]
    known = {
        split
        for table in tables
        for split in pc.unique(pc.list_flatten(table["splits"])).to_pylist()
    }

    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ParameterError(f"{option} is {unknown!r}, expected one of {', '.join(sorted(known))}")


def render(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], output_format: str) -> str:
    """Return rows as text.

    Args:
        rows: mappings; a column that a row does not have is empty.
        columns: in the order of the output.
        output_format: ``table`` (for people: numbers to the right, a dash for an empty value),
            ``csv`` or ``json``.
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

    # Numbers are aligned to the right. The values decide it, because an id can look like a number.
    cells = [[_format_cell(value) for value in line] for line in lines]
    by_column = list(zip(*lines, strict=True)) if lines else [()] * len(columns)
    aligned = []
    for index, (name, values) in enumerate(zip(columns, by_column, strict=True)):
        texts = [name, *(line[index] for line in cells)]
        width = max(map(len, texts))
        is_number = bool(values) and all(isinstance(value, int | float | None) for value in values)
        aligned.append([text.rjust(width) if is_number else text.ljust(width) for text in texts])

    return "\n".join("  ".join(line).rstrip() for line in zip(*aligned, strict=True))


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


def format_bytes(number: int) -> str:
    """Return a size in decimal units, as disks are sold: ``1.2 GB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return " ".join(str(value).split())  # texts of sites can hold line breaks
