"""The requests of one model: numbered from 1, and run in that order, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tinkex.local.errors import Busy, Conflict, NotFound
from tinkex.local.work.promises import Failure, Promise, Promises, Result
from tinkex.local.work.workers import Task, Work, Workers

MAX_WAITING = 4096
"""How many requests of a model may wait; a further one is refused with ``Busy``."""


class OrderedQueue:
    """Runs the requests of one model by number.

    A request whose number is not due yet waits for the numbers before it. A request that comes again gets the
    promise that it got before. A number that comes again with another request is refused.
    """

    def __init__(self, workers: Workers, promises: Promises, model_id: str) -> None:
        self._workers = workers
        self._promises = promises
        self._model_id = model_id
        self._lock = threading.Lock()
        self._accepted: dict[int, tuple[bytes, str]] = {}  # number -> (fingerprint, request id)
        self._waiting: dict[int, tuple[Promise, Callable[[], Result]]] = {}
        self._highest = 0
        self._due = 1
        self._running = False
        self._closed: str | None = None

    def submit(
        self, seq_id: int | None, kind: str, fingerprint: bytes, work: Callable[[], Result]
    ) -> Promise:
        """Queue ``work`` as number ``seq_id``; None means the number after the highest one so far.

        ``fingerprint`` tells this request from others. Raises ``Conflict`` if the number stands for another request,
        ``Gone`` if the result of this very request is no longer kept, ``NotFound`` if the queue is closed, and
        ``Busy`` if too much is waiting; then the number stays free.
        """
        with self._lock:
            if seq_id is None:
                seq_id = self._highest + 1
            known = self._accepted.get(seq_id)
            if known is None:
                return self._accept(seq_id, kind, fingerprint, work)
        if known[0] != fingerprint:
            raise Conflict(
                f"seq_id: {seq_id} of model {self._model_id} was accepted before with another request"
            )
        return self._promises.get(known[1])

    def _accept(self, seq_id: int, kind: str, fingerprint: bytes, work: Callable[[], Result]) -> Promise:
        if self._closed is not None:
            raise NotFound(self._closed)
        if len(self._waiting) >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests of this model are waiting", retry_after=1)
        promise = self._promises.new(kind, self._model_id)
        self._accepted[seq_id] = (fingerprint, promise.request_id)
        self._waiting[seq_id] = (promise, work)
        self._highest = max(self._highest, seq_id)
        self._start_due()
        return promise

    def _start_due(self) -> None:
        due = None if self._running else self._waiting.pop(self._due, None)
        if due is not None:
            promise, work = due
            self._running = True
            self._workers.submit(Task(promise, lambda: _in_one_turn(work), self._finished))

    def _finished(self) -> None:
        with self._lock:
            self._running = False
            self._due += 1
            self._start_due()

    def close(self, reason: str) -> None:
        """Fail the requests that wait, and refuse new ones."""
        with self._lock:
            self._closed = reason
            waiting = [promise for promise, _ in self._waiting.values()]
            self._waiting.clear()
        for promise in waiting:
            promise.resolve(Failure(reason, "user"))


def _in_one_turn(work: Callable[[], Result]) -> Work:
    yield from ()
    return work()
