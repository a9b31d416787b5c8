"""A registry of objects that does not keep them alive."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """Remembers objects weakly: an object that nobody else uses any more drops out by itself.

    The methods may be called from any thread, and hold no lock that a fork could copy while it is held:
    each of them changes or copies the dictionary in one atomic step. ``weakref.WeakSet`` gives no such
    promise, because its iteration fails if another thread adds an object meanwhile.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, item: T) -> None:
        """Remember ``item`` for as long as it lives."""
        references, key = self._references, id(item)
        references[key] = weakref.ref(item, lambda _: references.pop(key, None))

    def discard(self, item: T) -> None:
        """Forget ``item``, if it is here."""
        self._references.pop(id(item), None)

    def all(self) -> list[T]:
        """Return the objects that are alive, in the order in which they were added."""
        found = [reference() for reference in list(self._references.values())]
        return [item for item in found if item is not None]
