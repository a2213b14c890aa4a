"""Write params.schema.json: what editors complete, check and explain in params.yaml.

    python -m stages.schema

It is made from the classes that read the parameters: their types, defaults and comments. A test
compares the file with them.
"""

import ast
import dataclasses
import inspect
import json
import textwrap
import typing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from earshot.files import publish_text
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.datasets.dataset import names as dataset_names
from pipeline.features.configure import load_module
from pipeline.features.registry import FEATURES
from stages.check import SECTIONS
from train.models.registry import METHODS, load_method
from train.models.training_parameters import HardwareParameters, MonitoringParameters
from train.runs.settings import RunData
from train.weights.released import ReleasedWeights

SCHEMA_NAME = "params.schema.json"

_Schema = dict[str, Any]


def make_schema() -> _Schema:
    """Return the JSON schema of params.yaml."""
    methods = _describe_methods()
    datasets = {name: _describe_class(load(name).parameters) for name in dataset_names()}
    properties = {
        "datasets": _list_of_names(dataset_names(), "evaluated; trained on what a run names"),
        "models": _list_of_names((), "runs of section train"),
        "released": _list_of_names((), "entries of section weights"),
        "variants": _list_of_names((), "entries of section feature_variants"),
        "feature_variants": _describe_variants(),
        "sources": {
            "description": "Where the clips of each dataset come from.",
            "properties": datasets,
            # Any other name is a table of the user's own.
            "additionalProperties": _describe_class(load("table").parameters),
        },
        **{name: _describe_class(cls) for name, cls in SECTIONS.items()},
        "hardware": _describe_class(HardwareParameters),
        "monitoring": _describe_class(MonitoringParameters),
        "train_presets": {"additionalProperties": _describe_runs(methods, required=())},
        "train": {"additionalProperties": _describe_runs(methods, required=("method",))},
        "weights": {"additionalProperties": _describe_class(ReleasedWeights)},
    }

    for name, feature in FEATURES.items():
        schema = _describe_class(load_module(name).Parameters)
        _put(properties, feature.section, schema)
        if feature.datasets_section is not None:
            names = _list_of_names(dataset_names(), f"datasets that have {name}")
            _put(properties, feature.datasets_section, names)

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of Earshot",
        "type": "object",
        # Sorted, so that a new section changes one place of the committed file.
        "properties": dict(sorted(properties.items())),
        "additionalProperties": False,
        "$defs": methods,
    }


def _describe_class(cls: type) -> _Schema:
    """Return the schema of a section that a dataclass reads; no other key is right there."""
    schema = TypeAdapter(cls).json_schema()
    comments = read_comments(cls)
    hints = typing.get_type_hints(cls)
    # A section within the section stands where it is used, with its own comments.
    schema.pop("$defs", None)

    for name, field in schema["properties"].items():
        # Pydantic derives titles from the names, so they say nothing new.
        field.pop("title", None)
        if dataclasses.is_dataclass(hints[name]):
            field.clear()
            field |= _describe_class(typing.cast(type, hints[name]))
        if name in comments:
            field["description"] = comments[name]
    return {**schema, "additionalProperties": False}


def read_comments(cls: type) -> dict[str, str]:
    """Return the comment of each field: on its line, or on whole lines above it."""
    comments = {}
    # Base classes first, so that a field that is declared again gets its new comment. The
    # last class is `object`, which has no source.
    for base in reversed(inspect.getmro(cls)[:-1]):
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        for node in ast.parse("\n".join(lines)).body[0].body:  # type: ignore[attr-defined]
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue

            above: list[str] = []
            # The line above the field: `lineno` counts from 1. Rules of dashes end a comment.
            first = node.lineno - 2
            while lines[first].lstrip().startswith("# ") and "# ---" not in lines[first]:
                above.insert(0, lines[first].strip(" #"))
                first -= 1

            end = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :]
            text = " ".join([*above, end.strip(" #")]).strip()
            if text:
                comments[node.target.id] = text
    return comments


def _describe_methods() -> dict[str, _Schema]:
    """Return the schema of a run by its method."""
    schemas = {method: _describe_class(load_method(method).Parameters) for method in METHODS}
    for schema in schemas.values():
        schema["properties"] |= {
            "method": {"enum": list(METHODS)},
            "preset": {
                "type": "string",
                "description": "an entry of train_presets, or another run",
            },
            **_describe_class(RunData)["properties"],
        }
    return schemas


def _describe_variants() -> _Schema:
    """Return the schema of variants: their names begin with that of their feature."""
    own: _Schema = {"required": ["code"], "properties": {"code": {"type": "string"}}}
    schemas = {
        f"^{name}-": {"anyOf": [_describe_class(load_module(name).Parameters), own]}
        for name, feature in FEATURES.items()
        if not feature.has_weights
    }
    # A feature of the user's own has any other name.
    return {"type": "object", "patternProperties": schemas, "additionalProperties": own}


def _describe_runs(methods: dict[str, _Schema], *, required: tuple[str, ...]) -> _Schema:
    """Return the schema of a run: which keys are right depends on its method."""
    # `additionalProperties` sees only the `properties` beside it, not those of the cases. So
    # all keys are named here, and the cases check their values.
    known: _Schema = {name: {} for schema in methods.values() for name in schema["properties"]}
    cases = [
        {
            # Without `required`, the condition also holds for a run without a method.
            "if": {"properties": {"method": {"const": method}}, "required": ["method"]},
            "then": {"$ref": f"#/$defs/{method}"},
        }
        for method in methods
    ]
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
        "allOf": cases,
    }


def _list_of_names(names: tuple[str, ...], description: str) -> _Schema:
    # Names of the user's own are right, too.
    item = {"anyOf": [{"enum": list(names)}, {"type": "string"}]} if names else {"type": "string"}
    return {"type": "array", "items": item, "uniqueItems": True, "description": description}


def _put(properties: _Schema, section: str, schema: _Schema) -> None:
    """Add the schema of a section, whose name may have a dot."""
    top, _, key = section.partition(".")
    if key:
        outer = properties.setdefault(top, {"properties": {}, "additionalProperties": False})
        outer["properties"][key] = schema
    else:
        properties[top] = schema


def main(root: Path) -> None:
    """Write the schema into the checkout."""
    publish_text(root / SCHEMA_NAME, json.dumps(make_schema(), indent=1) + "\n")


if __name__ == "__main__":
    main(Project.load().root)
