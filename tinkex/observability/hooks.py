"""Hooks: functions of the user that are called with an event for every HTTP call to a server.

A hook runs on the thread that makes the call, which waits for it, so it should be quick. No lock is held
meanwhile. An exception that a hook raises is logged and goes no further.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork

logger = logging.getLogger("tinkex")

# The events are named tuples, not dataclasses, because defining a dataclass takes seven times as long, and
# this module is imported by every program.


class RequestEvent(NamedTuple):
    """A call begins. ``path`` is the part after ``/api/v1``; ``bytes_out`` is the size of the body in bytes."""

    method: str
    path: str
    bytes_out: int


class RetryEvent(NamedTuple):
    """Try number ``tries`` (from 1) of a call failed, and the next begins in ``wait`` seconds.

    ``status`` is the status of the answer, or None if there was no answer; then ``error`` says why.
    """

    method: str
    path: str
    tries: int
    wait: float
    status: int | None
    error: Exception | None


class ResponseEvent(NamedTuple):
    """A call has ended.

    ``status`` is the status of its last try, or None if that try got no answer. ``error`` is the exception
    that the call raises, or None. ``seconds`` is the time of the whole call, with all its ``tries`` and the
    waits between them. ``bytes_out`` and ``bytes_in`` are the sizes of the bodies, over all tries.
    ``request_id`` is the ``x-request-id`` header of the answer.
    """

    method: str
    path: str
    status: int | None
    seconds: float
    tries: int
    bytes_out: int
    bytes_in: int
    request_id: str | None
    error: BaseException | None


E = TypeVar("E")


class _Hooks(Generic[E]):
    """The hooks for one kind of event.

    ``functions`` is read without the lock, because it is replaced by a new tuple and never changed.
    """

    def __init__(self) -> None:
        self.functions: tuple[Callable[[E], object], ...] = ()
        self._after_fork()
        renew_after_fork(self)

    def add(self, function: Callable[[E], object]) -> Callable[[], None]:
        """Add a hook; return a function that removes it."""

        def entry(event: E) -> None:  # a new object, so that one function can be added and removed twice
            function(event)

        def remove() -> None:
            with self._lock:
                self.functions = tuple(other for other in self.functions if other is not entry)

        with self._lock:
            self.functions = (*self.functions, entry)
        return remove

    def tell(self, kind: type[E], *fields: Any) -> None:
        """Call every hook with the event ``kind(*fields)``.

        The caller checks first whether there are ``functions``, which spares it the cost of the arguments.
        """
        event = kind(*fields)
        for function in self.functions:
            try:
                function(event)
            except Exception:
                logger.exception("a hook failed")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


requests: _Hooks[RequestEvent] = _Hooks()
retries: _Hooks[RetryEvent] = _Hooks()
responses: _Hooks[ResponseEvent] = _Hooks()


def on_request(function: Callable[[RequestEvent], object]) -> Callable[[], None]:
    """Call ``function`` whenever a call to a server begins. Return a function that removes this hook."""
    return requests.add(function)


def on_retry(function: Callable[[RetryEvent], object]) -> Callable[[], None]:
    """Call ``function`` whenever a try failed and another follows. Return a function that removes this hook."""
    return retries.add(function)


def on_response(function: Callable[[ResponseEvent], object]) -> Callable[[], None]:
    """Call ``function`` whenever a call ends, answered or not. Return a function that removes this hook."""
    return responses.add(function)
