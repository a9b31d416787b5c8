"""A budget of bytes that threads share, which bounds the memory that they use together."""

from __future__ import annotations

import collections
import threading

from tinkex.concurrency.at_fork import renew_after_fork


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
