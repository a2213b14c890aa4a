"""A property that is computed once, also after a fork while another thread computes it.

``functools.cached_property`` of Python 3.11 has one lock for all objects of a class. A process that
is forked while a thread holds it waits for ever. Python 3.12 has no such lock.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_Value = TypeVar("_Value")


class cached_property(Generic[_Value]):
    """Decorate a method without arguments, whose result becomes an attribute at the first use.

    Two threads at once may both compute it, and one of the results stays.
    """

    def __init__(self, compute: Callable[[Any], _Value]):
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "cached_property[_Value]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> _Value: ...

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        # Python looks here first from now on, because this class has no `__set__`.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
