"""What the samples table knows of a sample beyond its columns, in words."""

from collections.abc import Collection, Mapping

_YES_NO = {"true": "yes", "false": "no"}
_IN_WORDS = {  # attribute: what is said of it, by value where that changes the words; {} is the value
    "source_is_moving": {"true": "the source moves", "false": "the source stands still"},
    "num_objects": {"1": "1 object", None: "{} objects"},
    "num_sounding": {None: "{} sounding"},
    "object_size": {None: "{} source by the dataset's measure"},
    "night": {"1": "night", "true": "night", "0": "day", "false": "day"},
    "location_id": {None: "location {}"},
    "path": {None: "file {}"},
    "frame_at_30_fps": {None: "frame {} at 30 fps"},
    "frame_at_8_fps": {None: "frame {} at 8 fps"},
    "annotated_size": {None: "annotated at {} px"},
}


def describe_facts(attributes: Mapping[str, object], *, shown: Collection[str] = ()) -> list[str]:
    """One short phrase an attribute; of an unknown one the name without underscores and the value (true: yes).

    Attributes without a value are left out, and ``subset`` where its value is among ``shown``.
    """
    phrases = []
    for name, value in attributes.items():
        text = "" if value is None else str(value)
        if not text or (name == "subset" and text in shown):
            continue
        words = _IN_WORDS.get(name, {})
        pattern = words.get(text.lower(), words.get(None))
        if pattern is None:
            title = name.replace("_", " ")
            title = f"number of {title[4:]}" if title.startswith("num ") else title
            phrases.append(f"{title}: {_YES_NO.get(text.lower(), text)}")
        else:
            phrases.append(pattern.replace("{}", text))
    return phrases
