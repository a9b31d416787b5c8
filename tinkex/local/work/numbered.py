"""Numbered requests: a request that is sent twice with the same number is carried out once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from typing import Any, TypeVar

from tinkex.local.errors import Busy, Conflict

_T = TypeVar("_T")
_WAIT = 60.0  # seconds that a repeated request waits for the first one to be carried out


class Numbered:
    """Remembers which request used each number. A failed request leaves its number free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[str, tuple[bytes, Future[Any]]] = {}

    def once(self, number: str, fingerprint: bytes, make: Callable[[], _T]) -> _T:
        """Return the value of ``make``, which is called once for each ``number``.

        The same request again gets the same value. ``number`` also says in messages what is numbered.
        ``fingerprint`` tells this request from others. Raises ``Conflict`` if the number was used by
        another request.
        """
        mine: Future[_T] = Future()
        with self._lock:
            first, made = self._used.setdefault(number, (fingerprint, mine))
        if first != fingerprint:
            raise Conflict(f"{number} was accepted before with another request")
        if made is not mine:
            value: _T = _awaited(number, made)
            return value
        try:
            mine.set_result(make())
        except BaseException as error:
            with self._lock:
                del self._used[number]
            mine.set_exception(error)
            raise
        return mine.result()


def _awaited(number: str, made: Future[_T]) -> _T:
    try:
        return made.result(_WAIT)
    except FutureTimeoutError:
        raise Busy(f"{number} is still being carried out", retry_after=1) from None
