"""A property that is made once, on first use, whichever threads come first.

`functools.cached_property` has no lock from Python 3.12 on: two threads that come at once make two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class once_property(Generic[Value]):  # noqa: N801
    """Like `functools.cached_property`: kept in the object's `__dict__`, and can be assigned.

    Others who ask meanwhile wait for the one who makes it, for this object alone. What the method
    raises passes through, and the next one to ask tries again.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Value: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Self | Value:
        if instance is None:
            return self
        values = instance.__dict__
        # One lock for each object and property; `setdefault` of a dict is atomic.
        with values.setdefault(f"_making_{self._name}", threading.RLock()):
            if self._name not in values:
                values[self._name] = self._make(instance)
            return values[self._name]
