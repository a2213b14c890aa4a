"""The results for papers: Markdown, CSV and LaTeX (booktabs) from the same rows as the page."""

import csv
import io
from collections.abc import Mapping, Sequence

from eval.report.rows import ABSENT, Group, format_number, metrics_in, number_of, title_of
from eval.results.files import format_coverage

_FACTS = (
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
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def write_markdown(groups: Sequence[Group]) -> str:
    """A table for each subset and protocol."""
    parts = ["# Results", "", "Values with 95 % bootstrap intervals over samples."]
    for group in groups:
        metrics = metrics_in(group.rows)
        parts += [
            "",
            f"## {_markdown(group.dataset)}, {_markdown(group.subset)}, protocol {_markdown(group.protocol)}",
            "",
        ]
        head = [
            "model",
            *(title_of(metric, group.rows) for metric in metrics),
            "n",
            "coverage",
            "chosen by",
            "leakage",
            "ids",
        ]
        parts.append("| " + " | ".join(head) + " |")
        parts.append("|---|" + "---:|" * len(metrics) + "---:|---:|---|---:|---|")
        for row in group.rows:
            coverage = number_of(row, "coverage_percent")
            cells = [
                str(row["model"]),
                *(_value_text(row, metric) for metric in metrics),
                _text(row.get("n")),
                "" if coverage is None else f"{format_coverage(coverage)} %",
                _text(row.get("selection")),
                _text(row.get("leakage")),
                _text(row.get("ids_sha256"))[:8],
            ]
            parts.append("| " + " | ".join(_markdown(cell) for cell in cells) + " |")
    return "\n".join(parts) + "\n"


def write_csv(groups: Sequence[Group]) -> str:
    """A line for each row, full precision; a column ``kind`` tells models from baselines."""
    metrics = metrics_in([row for group in groups for row in group.rows], is_full=True)
    columns = [name for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["dataset", "subset", "protocol", "model", "kind", *columns, *_FACTS])
    for group in groups:
        for row in group.rows:
            numbers = [number_of(row, name) for name in columns]
            writer.writerow(
                [
                    group.dataset,
                    group.subset,
                    group.protocol,
                    row["model"],
                    row["kind"],
                    *("" if number is None else repr(number) for number in numbers),
                    *(_text(row.get(name)) for name in _FACTS),
                ]
            )
    return buffer.getvalue()


def write_latex(groups: Sequence[Group]) -> str:
    """A ``table`` for each subset and protocol; needs the package booktabs."""
    parts = [r"% \usepackage{booktabs}"]
    for group in groups:
        metrics = metrics_in(group.rows)
        title = f"{group.dataset}, {group.subset}, protocol {group.protocol}"
        num_samples = sorted({_text(row.get("n")) for row in group.rows})
        head = ["model", *(title_of(metric, group.rows) for metric in metrics), "$n$"]
        parts += [
            "",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_latex(title)} ($n$ = {_latex(', '.join(num_samples))}); 95\,\% bootstrap intervals.}}",
            rf"  \begin{{tabular}}{{l{'c' * len(metrics)}r}}",
            r"    \toprule",
            "    " + " & ".join(head) + r" \\",
            r"    \midrule",
        ]
        last_kind = None
        for row in group.rows:
            kind = row["kind"]
            if last_kind == "model" and kind != "model":
                parts.append(r"    \midrule")
            last_kind = kind
            cells = [
                _latex(str(row["model"])),
                *(_latex_value(row, metric) for metric in metrics),
                _latex(_text(row.get("n"))),
            ]
            parts.append("    " + " & ".join(cells) + r" \\")
        parts += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(parts) + "\n"


def _value_text(row: Mapping, metric: str) -> str:
    value = number_of(row, metric)
    if value is None:
        return ABSENT
    low, high = number_of(row, f"{metric}_low"), number_of(row, f"{metric}_high")
    interval = (
        "" if low is None or high is None else f" [{format_number(low)}, {format_number(high)}]"
    )
    return f"{format_number(value)}{interval}"


def _latex_value(row: Mapping, metric: str) -> str:
    value = number_of(row, metric)
    if value is None:
        return "--"
    low, high = number_of(row, f"{metric}_low"), number_of(row, f"{metric}_high")
    interval = (
        ""
        if low is None or high is None
        else rf" {{\scriptsize [{format_number(low)}, {format_number(high)}]}}"
    )
    return f"{format_number(value)}{interval}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _markdown(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character) if character not in "[]" else text
    return " ".join(text.split())


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
