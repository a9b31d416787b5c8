"""The lifetime of a session or a client: whether it can still be used, and the error if it cannot."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class Lifetime:
    """The lifetime of a session, or of a client within a session.

    ``end`` ends it because of an error: the server ended the session, or the state of a model became unknown.
    ``close`` ends it because the owner closed it, and replaces the error of an earlier ``end``. From then on
    ``check`` raises a fresh copy of the error. A lifetime also ends with its ``parent``.

    The methods may be called from any thread and after a fork. There is no lock, because each field is replaced
    in one atomic step.
    """

    def __init__(self, parent: Lifetime | None = None) -> None:
        self._parent = parent
        self._ended: BaseException | None = None
        self._closed: BaseException | None = None
        self._before_use: collections.deque[Callable[[], None]] = collections.deque(maxlen=1)

    def check(self) -> None:
        """Raise the error that ended this lifetime or its parent, if one of them has ended."""
        if self._parent is not None:
            self._parent.check()
        while self._before_use:
            try:
                hook = self._before_use.popleft()
            except IndexError:  # another thread has taken it
                break
            hook()
        error = self._closed or self._ended
        if error is not None:
            raise fresh_copy(error)

    @property
    def is_open(self) -> bool:
        """Whether neither ``end`` nor ``close`` has been called. The parent does not count."""
        return self._closed is None and self._ended is None

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed is not None

    def end(self, error: BaseException) -> None:
        """End this lifetime because of ``error``. A second call has no effect."""
        self._ended = self._ended or error

    def close(self, error: BaseException) -> None:
        """End this lifetime because the owner closed it. A second call has no effect."""
        self._closed = self._closed or error

    def before_next_use(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` once, in the next ``check``. A later hook replaces it."""
        self._before_use.append(hook)


def fresh_copy(error: E) -> E:
    """Return a copy of ``error`` with the same cause, so that several places can raise it with own tracebacks."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh
