"""Refuse settings that change nothing where they are given.

A parameter dataclass says so itself: its method ``find_idle`` returns the settings that have no
effect beside the values of others, and why. Who adds a setting that another one can switch off adds
a line there.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from earshot.errors import ParameterError


def refuse_idle(parameters: Any, given: Any, where: str, *, idle: Mapping[str, str]) -> None:
    """Refuse a section that gives a setting without effect.

    A setting with its default is no mistake: it says what holds anyway, or takes back the value of
    a preset.

    Args:
        parameters: A parameter dataclass.
        given: The section from which it was made; its keys are what the user wrote.
        where: Name of the section, for example ``flow``.
        idle: Settings that change nothing -> why. A setting of a section within the section has a
            dotted name.

    Raises:
        ParameterError: Names the setting, its value and the reason.
    """
    for name, why in idle.items():
        if _is_given(given, name) and not has_default(parameters, name):
            raise ParameterError(
                f"params: {where}.{name} is {_get(parameters, name)!r}, which changes nothing: "
                f"{why}; leave it out"
            )


def find_idle(parameters: Any) -> Mapping[str, str]:
    """Return the settings of a dataclass that change nothing -> why; most have no such rule."""
    return parameters.find_idle() if hasattr(parameters, "find_idle") else {}


def list_notes(parameters: Any, where: str) -> list[str]:
    """Return what a dataclass says about values that are not taken as they are written.

    Args:
        parameters: A parameter dataclass; most have no method ``list_notes``.
        where: Name of the section.
    """
    notes = parameters.list_notes() if hasattr(parameters, "list_notes") else []
    return [f"{where}: {note}" for note in notes]


def has_default(parameters: Any, name: str) -> bool:
    """Return whether a setting has the default of its class.

    Args:
        parameters: A parameter dataclass.
        name: Of a field; dotted for one of a dataclass within the dataclass.
    """
    first, _, rest = name.partition(".")
    if rest:
        return has_default(getattr(parameters, first), rest)
    field = next(one for one in dataclasses.fields(parameters) if one.name == name)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return getattr(parameters, name) == default


def _is_given(section: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(section, Mapping) or part not in section:
            return False
        section = section[part]
    return True


def _get(parameters: Any, name: str) -> Any:
    for part in name.split("."):
        parameters = getattr(parameters, part)
    return parameters
