"""Each test that docs/reliability.md names is there, so that a reader can try a fault again."""

import ast
import re
from functools import cache

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.compile(r"`((?:tests|benchmarks)/[\w/.]+)(?:::(\w+))?`")


def read_section(title: str) -> list[str]:
    """Return the rows of the table of a section, without its head."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


@cache
def list_tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("test_")}


def test_every_fault_names_a_test_that_is_there():
    rows = read_section("Faults on purpose")
    assert len(rows) >= 30
    for row in rows:
        ((path, name),) = NAMED.findall(row)
        assert name in list_tests(path), f"{path} has no {name}"
    assert len({NAMED.search(row).group() for row in rows}) == len(rows)


def test_every_silent_fault_names_files_that_are_there():
    rows = read_section("Silent faults")
    assert len(rows) > 80
    for row in rows:
        names = NAMED.findall(row)
        assert names, f"no test: {row[:80]}"
        for path, _ in names:
            assert (ROOT / path).exists(), f"no {path}"
