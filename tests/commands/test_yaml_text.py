"""Values are replaced in the text of a YAML file, and nothing else changes."""

import pytest
import yaml

from earshot.errors import ParameterError
from pipeline.commands.yaml_text import read_value_texts, replace_values

TEXT = """\
# a comment
datasets: [sample]   # more of it
sources:
  vggsound:
    splits:
      - a
      - b # the second
    # before limit
    limit: null
  local: {folder: x}
models: []
"""


def test_only_the_value_changes():
    new = replace_values(TEXT, {"datasets": "[flickr, vggsound]", "sources.vggsound.limit": "10"})
    assert new == TEXT.replace("[sample]", "[flickr, vggsound]").replace("null", "10")
    assert replace_values(new, {"datasets": "[sample]", "sources.vggsound.limit": "null"}) == TEXT


def test_a_block_becomes_one_line():
    new = replace_values(TEXT, {"sources.vggsound.splits": "[c]"})
    assert "    splits: [c] # the second\n    # before limit\n    limit: null\n" in new
    assert yaml.safe_load(new)["sources"]["vggsound"]["splits"] == ["c"]


def test_a_new_key_comes_first_in_its_section():
    new = replace_values(TEXT, {"sources.vggsound.lists_dir": "lists", "released": "[a]"})
    assert new.startswith("# a comment\nreleased: [a]\ndatasets: [sample]   # more of it\n")
    assert "  vggsound:\n    lists_dir: lists\n    splits:\n" in new


@pytest.mark.parametrize("name", ["absent.key", "sources.absent.key", "datasets.key"])
def test_a_missing_section_is_named(name):
    with pytest.raises(ParameterError, match=f"missing section {name.rsplit('.', 1)[0]}"):
        replace_values(TEXT, {name: "1"})


def test_values_are_read_as_they_are_written():
    text = "params:\n  a.b: [x, y] # why\n  c: null\n"
    assert read_value_texts(text, "params") == {"a.b": "[x, y]", "c": "null"}
    with pytest.raises(ParameterError, match="missing section params"):
        read_value_texts("about: x\n", "params")
