"""Build frozen parameter dataclasses from the mappings of params.yaml; errors name the key."""

import collections.abc
import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from earshot.errors import ParameterError

_NUMBERS = (int, float)
# Keys whose values no message shows: a password, and where the cookies are.
_SECRET_KEYS = ("proxy", "cookies_path")
_Parameters = TypeVar("_Parameters")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML would take the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node."""
        seen = set()
        for key, _ in node.value:
            # Other keys may stand twice, such as `<<`, which merges another mapping.
            if key.value in seen and key.tag == "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value} appears twice", problem_mark=key.start_mark
                )
            if key.tag == "tag:yaml.org,2002:str":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ParameterError: It is a folder, is not YAML, or has a key twice. The message names the line
            but does not quote it, as it may hold a secret.
        FileNotFoundError: There is no such file.
    """
    try:
        # UTF-8 on every machine: in another locale, names of folders would be other names.
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except IsADirectoryError:
        raise ParameterError(f"{path}: a folder, expected a file") from None
    except yaml.MarkedYAMLError as error:
        parts = ((error.context, error.context_mark), (error.problem, error.problem_mark))

        words = ", ".join(
            # Names of tags and aliases stand in quotes: they are words of the file.
            re.sub(r"'[^'<]{2,}'", "...", text)
            + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")
            for text, mark in parts
            if text
        )
        raise ParameterError(f"{path}: not valid YAML: {words}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:  # characters that no text has
        raise ParameterError(f"{path}: not valid YAML ({type(error).__name__})") from None


# Metadata of a dataclass field that holds a path; a relative one begins at the checkout.
IS_PATH = {"is_path": True}
# Of a field that was added later: its default is what all results before were made with. So a
# mapping leaves it out then, and their keys stay as they are.
IS_NEW = {"is_new": True}


def build(
    cls: type[_Parameters], values: Mapping | None, where: str, *, folder: Path | None = None
) -> _Parameters:
    """Make the dataclass ``cls`` from ``values``.

    Types must fit; an int is also a float, and a list becomes a tuple. Nested dataclasses are built
    in the same way.

    Args:
        cls: A dataclass. Its ``__post_init__`` may raise ValueError for values out of range.
        values: A value for each field; a field with a default may be absent. None means no values.
        where: Name of the section for messages, for example ``spectrogram``.
        folder: Where relative paths begin, in fields with the metadata ``IS_PATH``; None leaves
            them as they are.

    Returns:
        An instance of ``cls``.

    Raises:
        ParameterError: A key is unknown or missing, or a value does not fit its field.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise ParameterError(f"params: {where} is {_show(values, where)}, expected a mapping")
    _require_keys(cls, values, where)

    # Annotations can be texts; this turns them into types.
    hints = typing.get_type_hints(cls)
    arguments = {
        name: _convert(value, hints[name], f"{where}.{name}") for name, value in values.items()
    }

    for field in dataclasses.fields(typing.cast(Any, cls)):
        path = arguments.get(field.name)
        # An empty path would become the checkout itself. The dataclass refuses it.
        if folder is not None and field.metadata.get("is_path") and path and path.strip():
            # Not by `Path`, which has no path for a `~name` of nobody.
            arguments[field.name] = str(folder / os.path.expanduser(path))

    try:
        return cls(**arguments)
    except ValueError as error:  # from __post_init__: the dataclass knows its own ranges
        raise ParameterError(f"params: {where}: {error}") from None


def require_distinct(names: Sequence[str], where: str) -> None:
    """Refuse a name that a list has twice: what it stands for would count double.

    Args:
        names: The list.
        where: What the list is, for example ``datasets``.

    Raises:
        ParameterError: Names the value.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise ParameterError(f"params: {where} has {name!r} twice, expected each name once")


def suggest(name: Any, known: Iterable[str]) -> str:
    """Return ", did you mean ...?" for a name that is not known, or nothing.

    Args:
        name: What was found, of any type.
        known: The names that are right.
    """
    if isinstance(name, bool):
        return " (YAML reads on, off, yes and no as true or false: write it in quotes)"

    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else ""


def as_mapping(parameters: Any) -> dict[str, Any]:
    """Return a parameter dataclass as a plain mapping for JSON, with its fields in order.

    Fields with the metadata ``IS_NEW`` are left out where they have their default.
    """
    mapping = dataclasses.asdict(parameters)
    _leave_out_new(parameters, mapping)
    return mapping


def _leave_out_new(parameters: Any, mapping: dict[str, Any]) -> None:
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if field.metadata.get("is_new") and value == field.default:
            del mapping[field.name]
        elif dataclasses.is_dataclass(value):
            _leave_out_new(value, mapping[field.name])


def find_section(params: Mapping[str, Any], *names: str | None) -> Mapping[str, Any]:
    """Return a section; empty where it is absent or no mapping, which its own stage refuses.

    Args:
        params: Sections of params.yaml.
        names: Of the section and of those that hold it, the outermost first.
    """
    value: Any = params
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) and isinstance(name, str) else None
    return value if isinstance(value, Mapping) else {}


def complete_run(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the section of a run, with the keys of its preset or of the run that it takes over.

    A key is taken from the section itself, else from the preset or the run that it names as
    ``preset``. That run may name another one in the same way.

    Args:
        params: Sections of params.yaml.
        name: Of a run of section ``train``.

    Returns:
        The keys without ``preset``; none if there is no such section.

    Raises:
        ParameterError: There is no such preset, or runs take over each other.
    """
    presets, runs = find_section(params, "train_presets"), find_section(params, "train")
    values = dict(find_section(runs, name))
    readers = [name]  # runs that take over the one behind them

    while "preset" in values:
        preset, where = values.pop("preset"), f"params: train.{readers[-1]}.preset"
        if not isinstance(preset, str) or preset not in {*presets, *runs}:
            raise ParameterError(
                f"{where} is {preset!r}, expected one of {', '.join(presets)} "
                f"(section train_presets), or another run{suggest(preset, runs)}"
            )
        if preset in presets:
            return {**find_section(presets, preset), **values}

        # A circle would never come to an end.
        if preset in readers:
            raise ParameterError(
                f"{where} is {preset!r}, which takes over {readers[-1]} itself; expected one of "
                f"{', '.join(presets)} (section train_presets), or a run that stands alone"
            )
        values = {**find_section(runs, preset), **values}
        readers.append(preset)
    return values


def _require_keys(cls: type, values: Mapping, where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    # A misspelt key would leave the default in force, and nobody would notice.
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise ParameterError(
            f"params: unknown key {where}.{unknown[0]}{suggest(unknown[0], fields)}; "
            f"known: {', '.join(sorted(fields))}"
        )

    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ParameterError(f"params: missing key {where}.{name}")


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` as the type ``hint`` of a field wants it."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_to_any(value, typing.get_args(hint), where)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)

    if origin is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            names = ", ".join(map(repr, allowed))
            raise ParameterError(
                f"params: {where} is {_show(value, where)}, expected one of {names}"
                f"{suggest(value, map(str, allowed))}"
            )
        return value

    if origin in (tuple, list, collections.abc.Sequence):
        if not isinstance(value, list | tuple):
            raise ParameterError(f"params: {where} is {_show(value, where)}, expected a list")
        # All items of `tuple[str, ...]` have the first type.
        item_hint = typing.get_args(hint)[0]
        items = tuple(_convert(item, item_hint, f"{where}[{i}]") for i, item in enumerate(value))
        # Numbers may repeat; names that do would count double.
        if items and all(isinstance(item, str) for item in items):
            require_distinct(items, where)
        return items

    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParameterError(f"params: {where} is {_show(value, where)}, expected a mapping")

        item_hint = typing.get_args(hint)[1]
        for key in value:
            if not isinstance(key, str):
                raise ParameterError(
                    f"params: {where} has the key {key!r}, expected a name{suggest(key, ())}"
                )
        return {key: _convert(item, item_hint, f"{where}.{key}") for key, item in value.items()}

    if hint is float:
        return _convert_to_float(value, where)

    # `isinstance` would accept True as an int.
    if hint in (int, str, bool) and type(value) is not hint:
        raise ParameterError(
            f"params: {where} is {_show(value, where)}, expected {hint.__name__}"
            f"{_explain_type(value, hint)}"
        )
    return value


def _convert_to_float(value: Any, where: str) -> float:
    # YAML's true and false are ints for Python, but not numbers for a reader of params.yaml.
    if not isinstance(value, _NUMBERS) or isinstance(value, bool):
        raise ParameterError(
            f"params: {where} is {_show(value, where)}, expected a number"
            f"{_explain_type(value, float)}"
        )
    # A comparison with .nan is always false, so it would pass most checks of a range.
    if not math.isfinite(value):
        raise ParameterError(f"params: {where} is {value!r}, expected a finite number")
    return float(value)


def _explain_type(value: Any, hint: type) -> str:
    """Return how to write a value that YAML reads as another type, or nothing."""
    if isinstance(value, bool) and hint is str:
        return suggest(value, ())
    if not isinstance(value, str) or hint not in (int, float):
        return ""

    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number) or (hint is int and number != int(number)):
        return ""

    # YAML 1.1 wants a point in the mantissa and a sign in the exponent.
    mantissa, _, exponent = f"{number:e}".partition("e")
    mantissa = mantissa.rstrip("0")
    mantissa += "0" if mantissa.endswith(".") else ""
    written = str(int(number)) if hint is int else f"{mantissa}e{int(exponent):+}"
    return f"; YAML reads it as text: write {written}"


def _show(value: Any, where: str) -> str:
    """Return a value for a message, unless its key says that it is a secret."""
    names = where.replace("[", ".").split(".")
    return "a value of another kind" if set(names) & set(_SECRET_KEYS) else repr(value)


def _convert_to_any(value: Any, options: tuple[Any, ...], where: str) -> Any:
    """Return ``value`` as the first type of a union that it fits."""
    if value is None and type(None) in options:
        return None

    # The order in the annotation decides, so `int | float` keeps 3 an int.
    errors = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(value, option, where)
        except ParameterError as error:
            errors.append(error)

    # The first option is the usual one, so its message fits best.
    raise errors[0]
