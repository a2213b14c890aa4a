"""What the command lines share: which datasets, ids that begin with a dash, and output formats."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.datasets.dataset import names as dataset_names

ID_OPTIONS = ("--id", "--sample", "--clip")
FORMATS = ("table", "csv", "json")


def protect_ids(words: Sequence[str]) -> list[str]:
    """Rewrite a command line so that argparse takes ids that begin with ``-`` (many of YouTube's do) for what they are.

    The word after ``--id`` is its value whatever it looks like; ``-abc`` elsewhere is an id and goes behind a ``--`` at
    the end, since no command has short options of more than one letter.
    """
    options, positionals = [], []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            positionals += words
            break
        if word in ID_OPTIONS and words:
            options.append(f"{word}={words.pop(0)}")
        elif len(word) > 2 and word[0] == "-" and word[1] != "-":
            positionals.append(word)
        else:
            options.append(word)
    return [*options, "--", *positionals] if positionals else options


def add_dataset_argument(parser) -> None:
    """``--dataset NAME``, any number of times."""
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        help="only this dataset (can be repeated; default: all there are)",
    )


def add_format_argument(parser) -> None:
    """``--format table|csv|json``."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")


def selected_datasets(arguments, project: Project) -> list[str]:
    """The datasets that a command line names, or those of params.yaml and all others that have a manifest."""
    for name in arguments.dataset or project.datasets:
        if name not in dataset_names() and not project.manifests_dir(name).is_dir():
            where = "--dataset is" if arguments.dataset else "params: datasets has"
            raise ParameterError(f"{where} {name!r}, expected one of {', '.join(dataset_names())}")
    if arguments.dataset:
        return list(dict.fromkeys(arguments.dataset))
    others = [name for name in dataset_names() if project.clips_table_path(name).exists()]
    return list(dict.fromkeys([*project.datasets, *others]))


def require_known_splits(
    names: Iterable[str], project: Project, dataset_names: Iterable[str], *, option: str
) -> None:
    """Refuse a split that none of the datasets has: a mistyped one selects nothing, which reads like good news."""
    import pyarrow.compute as pc

    from earshot.tables import CLIPS, read_table

    names = list(names)
    paths = [path for name in dataset_names if (path := project.clips_table_path(name)).exists()]
    if not names or not paths:  # where no list was made yet, the command says so itself
        return
    tables = [read_table(path, CLIPS, columns=["splits"]) for path in paths]
    known = {
        split
        for table in tables
        for split in pc.unique(pc.list_flatten(table["splits"])).to_pylist()
    }
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ParameterError(f"{option} is {unknown!r}, expected one of {', '.join(sorted(known))}")


def render(rows: Iterable[Mapping], columns: Iterable[str], output_format: str) -> str:
    """Rows as a table for people, csv or json; numbers stand to the right, an absent value is a dash (csv: empty)."""
    columns = list(columns)
    return render_lines(
        [[row.get(name) for name in columns] for row in rows], columns, output_format
    )


def render_lines(lines: Sequence[Sequence], columns: Sequence[str], output_format: str) -> str:
    """Like ``render``, of lists of values in the order of ``columns``."""
    if output_format == "json":  # an object a line: readable, and quick for a hundred thousand
        objects = [json.dumps(dict(zip(columns, line, strict=True)), default=str) for line in lines]
        return "[\n" + ",\n".join(objects) + "\n]" if objects else "[]"
    if output_format == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [" ".join(map(str, v)) if isinstance(v, list | tuple) else v for v in line]
            for line in lines
        )
        return buffer.getvalue().rstrip("\n")
    cells = [[_shown(value) for value in line] for line in lines]
    by_column = list(zip(*lines, strict=True)) if lines else [()] * len(columns)
    shown = []
    for index, (name, values) in enumerate(zip(columns, by_column, strict=True)):
        texts = [name, *(line[index] for line in cells)]
        width = max(map(len, texts))
        is_number = bool(values) and all(isinstance(value, int | float | None) for value in values)
        shown.append([text.rjust(width) if is_number else text.ljust(width) for text in texts])
    return "\n".join("  ".join(line).rstrip() for line in zip(*shown, strict=True))


def format_bytes(number: int) -> str:
    """``1.2 GB``: decimal, as disks are sold."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _shown(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return " ".join(str(value).split())  # what sites say can hold line breaks
