"""Replace values in the text of a YAML file. All else stays as it is: comments, order, spaces."""

from collections.abc import Iterator, Mapping

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node

from earshot.errors import ParameterError


def read_value_texts(text: str, section: str) -> dict[str, str]:
    """Return the values of a section as they are written, by key.

    Args:
        text: YAML with a mapping at its top.
        section: a key of that mapping; its value is a mapping of keys to values on one line each.

    Raises:
        ParameterError: there is no such section.
    """
    node = dict(_iter_items(_compose(text))).get(section)
    if not isinstance(node, MappingNode):
        raise ParameterError(f"missing section {section}")
    return {
        name: text[value.start_mark.index : value.end_mark.index]
        for name, value in _iter_items(node)
    }


def replace_values(text: str, values: Mapping[str, str]) -> str:
    """Replace the values of some keys.

    Args:
        text: YAML with a mapping at its top.
        values: dotted name, for example ``sources.local.folder`` -> the new value as it is to be
            written. A key that its section does not have becomes the section's first one.

    Raises:
        ParameterError: a section is missing, or is not written over several lines.
    """
    root = _compose(text)
    edits = [_make_edit(root, name, value) for name, value in values.items()]

    # From the end, so that the places of the others stay right.
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _compose(text: str) -> MappingNode:
    # Nodes know their places in the text. Loaded values do not.
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, MappingNode):
        raise ParameterError("expected sections")
    return root


def _iter_items(node: MappingNode) -> Iterator[tuple[str, Node]]:
    return ((key.value, value) for key, value in node.value)


def _make_edit(root: MappingNode, dotted_name: str, value: str) -> tuple[int, int, str]:
    """Return which part of the text is replaced, from and to, and by what."""
    *sections, name = dotted_name.split(".")
    node: Node | None = root
    for section in sections:
        node = dict(_iter_items(node)).get(section) if isinstance(node, MappingNode) else None
    if not isinstance(node, MappingNode) or node.flow_style or not node.value:
        raise ParameterError(f"missing section {'.'.join(sections)}")

    for key, old in node.value:
        if key.value == name:
            # From behind the colon on, because a null value can have no text at all.
            start = key.end_mark.index + len(":")
            return start, _find_end(old, start), f" {value}"

    # A new key goes before the first one. Behind the last one, the comments of the next
    # section could follow.
    first_key = node.value[0][0]
    indent = " " * first_key.start_mark.column
    start = first_key.start_mark.index
    return start, start, f"{name}: {value}\n{indent}"


def _find_end(node: Node, start: int) -> int:
    """Return where a value ends. The end mark of a block lies behind the comments that follow."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return max(node.end_mark.index, start)
    last = node.value[-1]
    return _find_end(last[1] if isinstance(last, tuple) else last, start)
