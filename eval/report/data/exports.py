"""Write the results for papers: Markdown, CSV and LaTeX (booktabs) from the rows of the page."""

import csv
import io
from collections.abc import Mapping, Sequence

from eval.report.data.result_rows import (
    ABSENT,
    Group,
    format_interval,
    format_number,
    interval_of,
    metrics_in,
    number_of,
    title_of,
)
from eval.results.files import format_coverage

_CSV_FACTS = (
    "success_at",
    "n",
    "num_requested",
    "coverage_percent",
    "selection",
    "leakage",
    "seed",
    "ids_sha256",
)
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_MARKDOWN = {character: f"\\{character}" for character in "\\`*_<>|"}


def write_markdown(groups: Sequence[Group]) -> str:
    """Return a Markdown table for each subset and protocol."""
    lines = [
        "# Results",
        "",
        "Values with 95 % bootstrap intervals; samples of one video are drawn together.",
    ]
    for group in groups:
        metrics = metrics_in(group.rows)
        # names come from lists of the user and may hold what Markdown takes for markup
        dataset, subset, protocol = map(
            _escape_markdown, (group.dataset, group.subset, group.protocol)
        )

        titles = [title_of(metric, group.rows) for metric in metrics]
        head = ["model", *titles, "n", "coverage", "chosen by", "leakage", "ids"]
        lines += [
            "",
            f"## {dataset}, {subset}, protocol {protocol}",
            "",
            "| " + " | ".join(head) + " |",
            # A colon behind the dashes aligns a column to the right.
            "|---|" + "---:|" * len(metrics) + "---:|---:|---|---:|---|",
        ]

        for row in group.rows:
            cells = _markdown_cells(row, metrics)
            lines.append("| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _markdown_cells(row: Mapping, metrics: Sequence[str]) -> list[str]:
    coverage = number_of(row, "coverage_percent")
    return [
        str(row["model"]),
        *(_format_value(row, metric) for metric in metrics),
        _format_field(row, "n"),
        "" if coverage is None else f"{format_coverage(coverage)} %",
        _format_field(row, "selection"),
        _format_field(row, "leakage"),
        # Enough of the hash to see which rows are of the same samples.
        _format_field(row, "ids_sha256")[:8],
    ]


def write_csv(groups: Sequence[Group]) -> str:
    """Return a CSV line for each row, with all metrics at full precision."""
    # All tables are in one file, so it has the columns of all of them.
    metrics = metrics_in([row for group in groups for row in group.rows], is_full=True)
    columns = [name for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")]

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["dataset", "subset", "protocol", "model", "kind", *columns, *_CSV_FACTS])

    for group in groups:
        for row in group.rows:
            place = [group.dataset, group.subset, group.protocol]
            numbers = [number_of(row, name) for name in columns]
            # `repr` gives all digits of a number.
            values = ["" if number is None else repr(number) for number in numbers]
            facts = [_format_field(row, name) for name in _CSV_FACTS]
            writer.writerow([*place, row["model"], row["kind"], *values, *facts])
    return buffer.getvalue()


def write_latex(groups: Sequence[Group]) -> str:
    """Return a LaTeX ``table`` for each subset and protocol; it needs the package booktabs."""
    # A comment of LaTeX, for whoever pastes the table.
    lines = [r"% \usepackage{booktabs}"]
    for group in groups:
        metrics = metrics_in(group.rows)
        title = _escape_latex(f"{group.dataset}, {group.subset}, protocol {group.protocol}")
        # Rows can differ in n; then the caption names each.
        counts = _escape_latex(", ".join(sorted({_format_field(row, "n") for row in group.rows})))
        head = ["model", *(title_of(metric, group.rows) for metric in metrics), "$n$"]

        lines += [
            "",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{title} ($n$ = {counts}); 95\,\% bootstrap intervals.}}",
            rf"  \begin{{tabular}}{{l{'c' * len(metrics)}r}}",
            r"    \toprule",
            "    " + " & ".join(head) + r" \\",
            r"    \midrule",
        ]

        models = ("model", "external")
        last_kind = None
        for row in group.rows:
            # a line between the models and everything else
            if last_kind in models and row["kind"] not in models:
                lines.append(r"    \midrule")
            last_kind = row["kind"]
            lines.append("    " + " & ".join(_latex_cells(row, metrics)) + r" \\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_cells(row: Mapping, metrics: Sequence[str]) -> list[str]:
    return [
        _escape_latex(str(row["model"])),
        *(_format_latex_value(row, metric) for metric in metrics),
        _escape_latex(_format_field(row, "n")),
    ]


def _format_value(row: Mapping, metric: str) -> str:
    value = number_of(row, metric)
    if value is None:
        return ABSENT
    return f"{format_number(value)} {format_interval(interval_of(row, metric))}".rstrip()


def _format_latex_value(row: Mapping, metric: str) -> str:
    value = number_of(row, metric)
    if value is None:
        # In LaTeX, two hyphens are an en dash.
        return "--"
    interval = format_interval(interval_of(row, metric))
    return format_number(value) + (rf" {{\scriptsize {interval}}}" if interval else "")


def _format_field(row: Mapping, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _escape_markdown(text: str) -> str:
    escaped = "".join(_MARKDOWN.get(character, character) for character in text)
    # A line break would end the row.
    return " ".join(escaped.split())


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
