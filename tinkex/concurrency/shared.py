"""Objects that the clients of a process share, one for each key."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """Makes an object when its key is first used, and forgets it when nobody refers to it any more."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._living: weakref.WeakValueDictionary[K, V] = weakref.WeakValueDictionary()
        self._after_fork()
        renew_after_fork(self)

    def of(self, key: K) -> V:
        """Return the object of ``key``. The caller must keep a reference to it for as long as it uses it."""
        with self._lock:  # unlike that of a plain dictionary, the setdefault of a weak one is not atomic
            found = self._living.get(key)
            if found is None:
                found = self._living[key] = self._make(key)
            return found

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
