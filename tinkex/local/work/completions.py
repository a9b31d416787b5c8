"""The log of the finished samples of a sampling client, from which ``/retrieve_futures`` answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from tinkex.local.work.promises import Failure, Promise


class Completion(NamedTuple):
    """A finished request. The client asks for its result separately."""

    request_id: str
    failed: bool


class CompletionLog:
    """The finished requests of one sampling client, in the order in which they finished."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Completion] = []
        self._dropped = 0
        self._closed = False

    def add(self, promise: Promise) -> None:
        """Note that ``promise`` has its outcome."""
        with self._changed:
            self._entries.append(Completion(promise.request_id, isinstance(promise.outcome, Failure)))
            self._changed.notify_all()

    def after(self, cursor: int, timeout: float) -> tuple[Sequence[Completion], int]:
        """Wait up to ``timeout`` seconds for completions after ``cursor``; return them and the next cursor.

        The completions before ``cursor`` are dropped.
        """
        with self._changed:
            drop = min(max(cursor - self._dropped, 0), len(self._entries))
            del self._entries[:drop]
            self._dropped += drop
            self._changed.wait_for(lambda: self._entries or self._closed, timeout)
            return list(self._entries), self._dropped + len(self._entries)

    def close(self) -> None:
        """Wake all waiting threads, and let none wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
