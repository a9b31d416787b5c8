"""Dataclass fields whose value is made at each access, so that nobody can change the data through it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any


class OwnList:
    """A dataclass field that holds a copy of the caller's list, and gives a new list at each access.

    So nobody can change the list later. Values that are not lists or tuples are kept as they are.
    """

    def __init__(self, name: str, default: Any) -> None:
        self._name = name
        self._default = default

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            if self._default is dataclasses.MISSING:
                raise AttributeError(self._name)  # tells ``dataclass`` that the field has no default
            return self._default
        value = instance.__dict__[self._name]
        return list(value) if isinstance(value, tuple) else value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._name] = tuple(value) if isinstance(value, list) else value


class Made(ABC):
    """The base class of descriptors that make the value of a dataclass field at each access."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            raise AttributeError(self.name)  # tells ``dataclass`` that the field has no default
        return self.make(instance)

    @abstractmethod
    def make(self, instance: Any) -> Any:
        """Return the value."""
