"""Typed reading of JSON bodies: every accessor refuses a wrong type with 422, naming the field."""

from __future__ import annotations

import math
from typing import Any, TypeVar, overload

from .problems import Refused

_T = TypeVar("_T")


class _Missing:
    pass


_MISSING = _Missing()


class Fields:
    """A JSON object on its way to becoming a request.

    A field that is absent or null gives the default; one without a default is refused as missing.
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
        return self._document

    def name_of(self, name: str) -> str:
        return name if self._where == "body" else f"{self._where}.{name}"

    def refuse(self, name: str, what: str) -> Refused:
        return Refused(422, f"{self.name_of(name)}: {what}")

    def raw(self, name: str, default: Any = _MISSING) -> Any:
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
        value = self.raw(name, default)
        if name not in self:
            return value
        if isinstance(value, bool) or not (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        ):
            raise self.refuse(name, "must be an integer")
        if not low <= value <= high:
            raise self.refuse(name, f"must be within {low} and {high}, is {value}")
        return int(value)

    def number(self, name: str, default: float, *, low: float = -math.inf, high: float = math.inf) -> float:
        value = self.raw(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(name, "must be a number")
        if not math.isfinite(value):
            raise self.refuse(name, f"must be finite, is {value}")
        if not low <= value <= high:
            raise self.refuse(name, f"must be within {low} and {high}, is {value}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.raw(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def items(self, name: str, default: Any = _MISSING) -> list[Any]:
        value = self.raw(name, default)
        if not isinstance(value, list):
            raise self.refuse(name, "must be a list")
        return value

    def strings(self, name: str) -> list[str]:
        values = self.items(name, [])
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(name, "must hold strings")
        return values

    def child(self, name: str, default: Any = _MISSING) -> Fields:
        return Fields(self.raw(name, default), self.name_of(name))

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object taken as it is, or None."""
        value = self.raw(name, None)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        return value
