"""Typed reading of JSON objects: a field that is missing or has a wrong type is refused with 422, by name."""

from __future__ import annotations

import math
import sys
from typing import Any, TypeVar, overload

from tinkex.local.protocol.refused import Refused

_T = TypeVar("_T")
_MAX_DEPTH = 32  # the most levels of an object that is stored unchanged


class _Missing:
    pass


_MISSING = _Missing()


class Fields:
    """The fields of a JSON object.

    Every method that reads a field returns the default if the field is absent or null. Without a default,
    such a field is refused as missing. ``where`` names the object in messages.
    """

    def __init__(self, document: Any, where: str = "body") -> None:
        if not isinstance(document, dict):
            raise Refused(422, f"{where}: must be an object")
        self._document: dict[str, Any] = document
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._document.get(name) is not None

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object, unchanged."""
        return self._document

    def name_of(self, name: str) -> str:
        """Return the name of a field in messages."""
        return name if self._where == "body" else f"{self._where}.{name}"

    def refuse(self, name: str, what: str) -> Refused:
        """The error to raise for a field that breaks a rule."""
        return Refused(422, f"{self.name_of(name)}: {what}")

    def raw(self, name: str, default: Any = _MISSING) -> Any:
        """A field of any type."""
        value = self._document.get(name)
        if value is not None:
            return value
        if default is _MISSING:
            raise self.refuse(name, "is required")
        return default

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, default: _T) -> str | _T: ...
    def text(self, name: str, default: Any = _MISSING) -> Any:
        """A string."""
        value = self.raw(name, default)
        if name in self and not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        return value

    @overload
    def integer(self, name: str, *, low: int = ..., high: int = ...) -> int: ...
    @overload
    def integer(self, name: str, default: _T, *, low: int = ..., high: int = ...) -> int | _T: ...
    def integer(
        self, name: str, default: Any = _MISSING, *, low: int = -(2**63), high: int = 2**63 - 1
    ) -> Any:
        """An integer from ``low`` to ``high``; a float without a fraction counts as one."""
        value = self.raw(name, default)
        if name not in self:
            return value
        if isinstance(value, bool) or not (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        ):
            raise self.refuse(name, "must be an integer")
        if not low <= value <= high:
            raise self.refuse(name, f"must be within {low} and {high}, is {_shown(value)}")
        return int(value)

    def number(self, name: str, default: float, *, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from ``low`` to ``high``."""
        value = self.raw(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(name, "must be a number")
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise self.refuse(name, f"must be finite, is {_shown(value)}")
        if not low <= value <= high:
            raise self.refuse(name, f"must be within {low} and {high}, is {value}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.raw(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def items(self, name: str, default: Any = _MISSING) -> list[Any]:
        """A list of anything."""
        value = self.raw(name, default)
        if not isinstance(value, list):
            raise self.refuse(name, "must be a list")
        return value

    def strings(self, name: str) -> list[str]:
        """A list of strings, by default empty."""
        values = self.items(name, [])
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(name, "must hold strings")
        return values

    def child(self, name: str, default: Any = _MISSING) -> Fields:
        """An object, as ``Fields``."""
        return Fields(self.raw(name, default), self.name_of(name))

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object to be stored unchanged, or None."""
        value = self.raw(name, None)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        if _depth(value) > _MAX_DEPTH:
            raise self.refuse(name, f"must not be nested more than {_MAX_DEPTH} levels deep")
        return value


def _depth(value: Any) -> int:
    """Return how many levels of objects and lists ``value`` has, counted up to one above the limit."""
    depth, level = 0, [value]
    while depth <= _MAX_DEPTH:
        level = [each for each in level if isinstance(each, (dict, list))]
        if not level:
            break
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _shown(value: float) -> str:
    # A long integer is not written out: Python refuses to, and nobody wants to read it.
    return str(value) if isinstance(value, float) or abs(value) < 10**30 else "too large"
