"""The traps of docs/protocols.md: each row names a function and a test that exist."""

import re

from tests.helpers.paths import ROOT


def read_rows():
    """Return trap, what is done, where, and test of each row."""
    text = (ROOT / "docs" / "protocols.md").read_text()
    section = text.split("## Traps, and the line")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    return rows[1:]


def test_each_trap_names_code_and_a_test_that_exist():
    rows = read_rows()
    assert len(rows) >= 20
    for trap, _, where, test in rows:
        names = re.findall(r"`([^`]+)`", where)
        paths = [name for name in names if name.endswith(".py")]
        assert paths, trap
        text = "".join((ROOT / path).read_text() for path in paths)
        for name in set(names) - set(paths):
            assert re.search(rf"\b{name.split('.')[0]}\b", text), (trap, name)
        tests = re.findall(r"`([^`]+)`", test)
        assert tests, trap
        assert all((ROOT / name).is_file() for name in tests), trap
