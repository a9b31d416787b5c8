"""Limits that many threads share."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Hashable

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.shared import Shared


class ByteBudget:
    """At most ``limit`` bytes at once, first come first served; one larger than the whole budget goes alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._after_fork()
        renew_after_fork(self)

    def acquire(self, size: int) -> None:
        """Wait until there is room for ``size`` bytes."""
        with self._lock:
            if not self._waiting and self._fits(size):
                self._used += size
                return
            turn = threading.Event()
            self._waiting.append((size, turn))
        turn.wait()

    def release(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._lock:
            self._used -= size
            # Only those are woken whose turn it is: to wake thousands each time would take seconds.
            while self._waiting and self._fits(self._waiting[0][0]):
                granted, turn = self._waiting.popleft()
                self._used += granted
                turn.set()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self.limit

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._waiting: collections.deque[tuple[int, threading.Event]] = collections.deque()
        self._used = 0


class Pause:
    """A gate that a 429 shuts for everyone who passes through it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Nobody passes for ``seconds``; an earlier, longer pause stands."""
        self._until = max(self._until, self._clock() + seconds)

    @property
    def is_shut(self) -> bool:
        """Whether one who came now would have to wait."""
        return self._clock() < self._until

    def pass_through(self, wait: Callable[[float], None]) -> None:
        """Return when the gate is open, waiting by ``wait(seconds)``."""
        while True:
            left = self._until - self._clock()
            if left <= 0:
                return
            wait(left)


_pauses: Shared[Hashable, Pause] = Shared(lambda identity: Pause())


def pause_of(identity: Hashable) -> Pause:
    """The gate that everyone in this process with this server and key shares; to be held while it is used."""
    return _pauses.of(identity)
