"""Markdown, CSV and LaTeX: every row with its intervals, and nothing that breaks the format."""

import csv
import io
import json

from eval.report.data import exports
from eval.report.data.result_rows import Group


def test_exports_have_every_row_with_intervals(built):
    project = built[0]
    rows = json.loads((project.reports_dir / "results.json").read_text())["results"]
    table = list(csv.DictReader(io.StringIO((project.reports_dir / "results.csv").read_text())))
    of_csv = {(r["model"], r["subset"], r["protocol"]): r for r in table}
    assert len(table) == len(rows) + 1  # and the ceiling

    markdown = (project.reports_dir / "results.md").read_text()
    latex = (project.reports_dir / "results.tex").read_text()
    for row in rows:
        found = of_csv[row["model"], row["subset"], row["protocol"]]
        for name in ("mean_ciou", "adaptive_ciou_low", "auc_high"):
            assert float(found[name]) == row[name]
        assert int(found["n"]) == row["n"]
        text = f"{row['mean_ciou']:.3f} [{row['mean_ciou_low']:.3f}, {row['mean_ciou_high']:.3f}]"
        assert text in markdown
        assert text.replace(" [", r" {\scriptsize [") + "}" in latex

    assert latex.count(r"\toprule") == latex.count(r"\end{table}") == 4
    assert r"untrained\_htf" in latex
    assert "untrained_htf" not in latex


def test_latex_escapes_special_characters():
    row = {"kind": "model", "model": "a_b&c%#${}~^\\<", "n": 3, "mean_ciou": None}
    latex = exports.write_latex([Group("d", "s", "p", (row,))])
    assert (
        r"a\_b\&c\%\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}" in latex
    )


def test_markdown_cells_cannot_break_the_table():
    row = {"kind": "model", "model": "a|b\n<i>", "n": 3, "mean_ciou": 0.5}
    lines = exports.write_markdown([Group("d", "s", "p", (row,))]).splitlines()
    assert lines[-1].startswith(r"| a\|b \<i\> | 0.500 |")
