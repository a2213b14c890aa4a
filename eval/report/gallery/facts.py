"""Say in words what the samples table knows of a sample beyond its columns."""

from collections.abc import Collection, Mapping

from pipeline.datasets.dataset import Attribute, load
from pipeline.lists.masks import ATTRIBUTE

_YES_NO = {"true": "yes", "false": "no"}


def describe_facts(
    attributes: Mapping[str, object], *, dataset: str, shown: Collection[str] = ()
) -> list[str]:
    """Return one short phrase for each attribute of a sample.

    Args:
        attributes: The sample's attributes by name; those without a value are left out.
        dataset: The dataset, which knows the phrases of its attributes.
        shown: Names that the card shows already; a ``subset`` among them is left out.
    """
    known = load(dataset).attributes
    phrases = []
    for name, value in attributes.items():
        text = "" if value is None else str(value)
        # a mask is drawn: its run lengths tell nobody anything
        if not text or name == ATTRIBUTE or (name == "subset" and text in shown):
            continue

        # the phrase of this value, else the one of any value, else name and value
        patterns = known.get(name, Attribute()).phrases
        pattern = patterns.get(text.lower(), patterns.get(None))
        if pattern is None:
            phrases.append(f"{_title_of(name)}: {_YES_NO.get(text.lower(), text)}")
        else:
            phrases.append(pattern.replace("{}", text))
    return phrases


def _title_of(name: str) -> str:
    """Return ``number of dogs`` for ``num_dogs``, and other names without underscores."""
    title = name.replace("_", " ")
    return f"number of {title[4:]}" if title.startswith("num ") else title
