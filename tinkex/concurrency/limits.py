"""Limits that the threads of a process share: a byte budget, and the pause after a 429."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Hashable

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.shared import Shared


class ByteBudget:
    """A semaphore that counts bytes: at most ``limit`` of them are taken at any time.

    Threads get their bytes in the order in which they ask. A request for more than ``limit`` bytes waits
    until nothing else is taken.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._after_fork()
        renew_after_fork(self)

    def acquire(self, size: int) -> None:
        """Take ``size`` bytes; block until they are free."""
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
            # Each waiting thread has an event of its own, so that only the threads whose turn it is wake
            # up. Waking thousands of threads at every release would take seconds.
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
    """A gate that a 429 shuts for a while, for every thread that passes through it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Shut the gate for ``seconds``, or for longer if an earlier call asked for longer."""
        self._until = max(self._until, self._clock() + seconds)

    def pass_through(self, wait: Callable[[float], None]) -> None:
        """Return when the gate is open; call ``wait(seconds)`` to sleep until then."""
        while True:
            left = self._until - self._clock()
            if left <= 0:
                return
            wait(left)


_pauses: Shared[Hashable, Pause] = Shared(lambda identity: Pause())


def pause_of(identity: Hashable) -> Pause:
    """Return the gate shared by all clients of this process with the same server and key.

    The caller keeps a reference to the gate for as long as it uses it, because nothing else does.
    """
    return _pauses.of(identity)
