"""Whether something can still be used, and the error that says why not."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class Lifetime:
    """The life of a session, or of a client that lives within one.

    It ends once: by itself (``end``: a server ended the session, the state of a model became unknown) or
    because its owner closed it (``close``, which also replaces the error of an earlier ``end``). From then on
    ``check`` raises a fresh copy of the error. A child is over as soon as its ``parent`` is. Safe to use from
    many threads and after a fork, for it has no lock: each field is replaced in one step.
    """

    def __init__(self, parent: Lifetime | None = None) -> None:
        self._parent = parent
        self._ended: BaseException | None = None
        self._closed: BaseException | None = None
        self._before_use: collections.deque[Callable[[], None]] = collections.deque(maxlen=1)

    def check(self) -> None:
        """Raise the error that ended this, or its parent, if one did."""
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
        """Whether neither ``end`` nor ``close`` has been called; the parent is not asked."""
        return self._closed is None and self._ended is None

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed is not None

    def end(self, error: BaseException) -> None:
        """Be over because of ``error``; the first one counts."""
        self._ended = self._ended or error

    def close(self, error: BaseException) -> None:
        """Be over because the owner wants it; the first one counts."""
        self._closed = self._closed or error

    def before_next_use(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` once, at the next ``check``; a later one replaces it."""
        self._before_use.append(hook)


def fresh_copy(error: E) -> E:
    """``error`` again, with the same cause and a traceback of its own: each place that raises one adds to it."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh
