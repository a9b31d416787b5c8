"""Functions of the user's that are told about every call to a server.

A hook runs on the thread that makes the call, which waits for it, and without any lock; so it should be
quick. What it raises is logged and goes no further.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork

logger = logging.getLogger("tinkex")

# Named tuples here and in ``metrics``: a dataclass takes seven times as long to define, at every import.


class RequestEvent(NamedTuple):
    """A call begins. ``path`` comes after ``/api/v1``; ``bytes_out`` is the size of its body."""

    method: str
    path: str
    bytes_out: int


class RetryEvent(NamedTuple):
    """Try number ``tries`` failed, with ``status`` or with ``error``; the next is ``wait`` seconds away."""

    method: str
    path: str
    tries: int
    wait: float
    status: int | None
    error: Exception | None


class ResponseEvent(NamedTuple):
    """A call is over. ``status`` is of its last try, None if that got no answer; ``error`` is what it raises.

    ``seconds`` is the time of the whole call, with all its ``tries`` and the waits between them.
    ``request_id`` is the server's ``x-request-id``. Bytes are those of bodies, over all tries.
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
    """Those for one kind of event. ``functions`` is replaced, never changed, and so read without a lock."""

    def __init__(self) -> None:
        self.functions: tuple[Callable[[E], object], ...] = ()
        self._after_fork()
        renew_after_fork(self)

    def add(self, function: Callable[[E], object]) -> Callable[[], None]:
        def entry(event: E) -> None:  # one of its own, so that a function can be entered twice
            function(event)

        def remove() -> None:
            with self._lock:
                self.functions = tuple(other for other in self.functions if other is not entry)

        with self._lock:
            self.functions = (*self.functions, entry)
        return remove

    def tell(self, kind: type[E], *fields: Any) -> None:
        """Make the event and call them all; to be called only where there are ``functions``."""
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
    """Call ``function`` when a call to a server begins. Returns a function that ends this."""
    return requests.add(function)


def on_retry(function: Callable[[RetryEvent], object]) -> Callable[[], None]:
    """Call ``function`` before the wait for each further try. Returns a function that ends this."""
    return retries.add(function)


def on_response(function: Callable[[ResponseEvent], object]) -> Callable[[], None]:
    """Call ``function`` when a call is over, answered or not. Returns a function that ends this."""
    return responses.add(function)
