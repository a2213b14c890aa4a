"""What the samples table knows of a sample beyond its columns, in words."""

from collections.abc import Collection, Mapping

from pipeline.datasets.dataset import Attribute, load

_YES_NO = {"true": "yes", "false": "no"}


def describe_facts(
    attributes: Mapping[str, object], *, dataset: str, shown: Collection[str] = ()
) -> list[str]:
    """One short phrase an attribute; of one that the dataset has no words for, its name without underscores and the
    value (true: yes).

    Attributes without a value are left out, and ``subset`` where its value is among ``shown``.
    """
    known, phrases = load(dataset).attributes, []
    for name, value in attributes.items():
        text = "" if value is None else str(value)
        if not text or (name == "subset" and text in shown):
            continue
        words = known.get(name, Attribute()).phrases
        pattern = words.get(text.lower(), words.get(None))
        if pattern is None:
            title = name.replace("_", " ")
            title = f"number of {title[4:]}" if title.startswith("num ") else title
            phrases.append(f"{title}: {_YES_NO.get(text.lower(), text)}")
        else:
            phrases.append(pattern.replace("{}", text))
    return phrases
