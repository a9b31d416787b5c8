"""Promises: the results of queued work, and the long polls that wait for them."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .problems import Refused
from .results import Result

_RETENTION = 600.0  # seconds a finished promise can still be asked for
_MAX_KEPT = 20_000


@dataclass(frozen=True)
class Failure:
    """Work that failed: `category` is "user" for bad input, "server" for a fault here."""

    error: str
    category: str


class Promise:
    """Resolved once, by whoever does the work; any number of threads may wait.

    Only samples are `cancellable`: dropping a training request would change what the next ones mean.
    """

    def __init__(self, request_id: str, model_id: str | None, cancellable: bool) -> None:
        self.request_id = request_id
        self.model_id = model_id
        self.cancellable = cancellable
        self.outcome: Result | Failure | None = None
        self.finished_at = 0.0
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Promise], None]] = []

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def resolve(self, outcome: Result | Failure) -> bool:
        """Set the outcome and wake every waiter; False if there already was one."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
            self.finished_at = time.monotonic()
            callbacks, self._callbacks = self._callbacks, []
        self._done.set()
        for callback in callbacks:
            callback(self)
        return True

    def when_done(self, callback: Callable[[Promise], None]) -> None:
        """Call back on resolution, or now."""
        with self._lock:
            if self.outcome is None:
                self._callbacks.append(callback)
                return
        callback(self)

    def wait(self, timeout: float) -> Result | Failure | None:
        self._done.wait(timeout)
        return self.outcome


class Promises:
    """All promises of a server, by request id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prefix = secrets.token_hex(6)
        self._count = 0
        self._live: OrderedDict[str, Promise] = OrderedDict()

    def new(self, model_id: str | None = None, *, cancellable: bool = False) -> Promise:
        with self._lock:
            self._count += 1
            promise = Promise(f"{self._prefix}-{self._count}", model_id, cancellable)
            self._live[promise.request_id] = promise
            self._forget_old()
        return promise

    def _forget_old(self) -> None:
        expired = time.monotonic() - _RETENTION
        while self._live:
            oldest = next(iter(self._live.values()))
            if not oldest.done:
                # Still at work: look behind it another time.
                if len(self._live) > _MAX_KEPT:
                    self._live.move_to_end(oldest.request_id)
                return
            if oldest.finished_at > expired and len(self._live) <= _MAX_KEPT:
                return
            del self._live[oldest.request_id]

    def get(self, request_id: str) -> Promise:
        """The promise.

        Raises:
            Refused: 410 if it is no longer kept, 404 if it never was one of ours.
        """
        with self._lock:
            promise = self._live.get(request_id)
            if promise is not None:
                return promise
            prefix, _, number = request_id.partition("-")
            if prefix == self._prefix and number.isdigit() and 0 < int(number) <= self._count:
                raise Refused(410, f"request {request_id} is no longer kept")
        raise Refused(404, f"request {request_id} is unknown")

    def fail_all(self, reason: str) -> None:
        """Resolve what is pending, so that no long poll outlives the server."""
        with self._lock:
            pending = [promise for promise in self._live.values() if not promise.done]
        for promise in pending:
            promise.resolve(Failure(reason, "server"))


class CompletionLog:
    """The finished requests of one sampling client, in order, for `retrieve_futures`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Promise] = []
        self._trimmed = 0
        self._closed = False

    def add(self, promise: Promise) -> None:
        with self._changed:
            self._entries.append(promise)
            self._changed.notify_all()

    def after(self, cursor: int, timeout: float) -> tuple[list[Promise], int]:
        """Wait for completions beyond `cursor`: `(they, the cursor after)`. Earlier ones are dropped."""
        with self._changed:
            drop = min(max(cursor - self._trimmed, 0), len(self._entries))
            del self._entries[:drop]
            self._trimmed += drop
            self._changed.wait_for(lambda: self._entries or self._closed, timeout)
            return list(self._entries), self._trimmed + len(self._entries)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
