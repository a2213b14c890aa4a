"""Each method says what of it is published, recalled or ours, in the report as in the manual."""

import re

from eval.published.method_forms import METHOD_FORMS
from tests.helpers.paths import ROOT
from train.models.registry import METHODS, load_method

_VARIANTS = {"marginnce": "ezvsl"}


def read_manual_table() -> dict[str, tuple[str, str]]:
    """Return form, and what is not theirs, of each row of docs/training.md."""
    text = (ROOT / "docs" / "training.md").read_text()
    section = text.split("### Published form or ours")[1].split("\n\n**")[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].startswith("`") and cells[0] != "`method`":
            rows[cells[0]] = tuple(cell.replace("`", "") for cell in cells[1:3])
    return rows


def test_every_method_has_a_form_with_its_inputs():
    assert set(METHOD_FORMS) == {*METHODS, *_VARIANTS}
    for name, form in METHOD_FORMS.items():
        assert form.reads == load_method(_VARIANTS.get(name, name)).Model.reads, name
        assert form.form and form.title, name
        # What is nobody's reading but ours, or simplified, says what of it is not theirs.
        if form.form != "published":
            assert form.not_theirs or form.form.startswith("published;"), name


def test_the_manual_has_the_same_words():
    found = {}
    for name, row in read_manual_table().items():
        names = re.findall(r"`([a-z0-9_*]+)`", name)
        if "margin" in names:
            names = ["marginnce"]
        for method in METHOD_FORMS:
            if any(re.fullmatch(pattern.replace("*", ".*"), method) for pattern in names):
                found[method] = row
    expected = {name: (form.form, form.not_theirs) for name, form in METHOD_FORMS.items()}
    assert found == expected
