"""Frozen parameter dataclasses from the mappings of params.yaml, with errors that name the key."""

import dataclasses
import types
import typing
from collections.abc import Mapping

from earshot.errors import ParameterError

_NUMBERS = (int, float)


def build(cls: type, values: Mapping | None, where: str):
    """Make the dataclass ``cls`` from ``values``; ``where`` (for example ``spectrogram``) names the section in errors.

    Every field without a default must be there, no other key may be, and plain types must fit (an int is a float;
    a list becomes a tuple). Nested dataclasses are built in the same way.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise ParameterError(f"params: {where} is {values!r}, expected a mapping")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ParameterError(
            f"params: unknown key {where}.{unknown[0]}; known: {', '.join(sorted(fields))}"
        )
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ParameterError(f"params: missing key {where}.{name}")
    arguments = {
        name: _convert(value, hints[name], f"{where}.{name}") for name, value in values.items()
    }
    try:
        return cls(**arguments)
    except ValueError as error:  # from __post_init__: the dataclass knows its own ranges
        raise ParameterError(f"params: {where}: {error}") from None


def as_mapping(parameters) -> dict:
    """The plain (JSON-able) mapping of a parameter dataclass, fields in order."""
    return dataclasses.asdict(parameters)


def _convert(value, hint, where: str):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        errors = []
        for option in options:
            if option is type(None):
                continue
            try:
                return _convert(value, option, where)
            except ParameterError as error:
                errors.append(error)
        raise errors[0]
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ParameterError(
                f"params: {where} is {value!r}, expected one of {', '.join(map(repr, allowed))}"
            )
        return value
    if typing.get_origin(hint) in (tuple, list):
        if not isinstance(value, list | tuple):
            raise ParameterError(f"params: {where} is {value!r}, expected a list")
        inner = typing.get_args(hint)[0]
        return tuple(_convert(item, inner, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool):
        if type(value) is not hint:
            raise ParameterError(f"params: {where} is {value!r}, expected {hint.__name__}")
        return value
    if hint is float:
        raise ParameterError(f"params: {where} is {value!r}, expected a number")
    return value
