"""One object for each key, shared by everybody in the process who asks for it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """Makes an object for a key when it is first asked for, and forgets it when nobody holds it any more."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._living: weakref.WeakValueDictionary[K, V] = weakref.WeakValueDictionary()
        self._after_fork()
        renew_after_fork(self)

    def of(self, key: K) -> V:
        """The object of ``key``; hold it for as long as it is used."""
        with self._lock:  # the setdefault of a weak dictionary is not atomic, as that of a plain one is
            found = self._living.get(key)
            if found is None:
                found = self._living[key] = self._make(key)
            return found

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
