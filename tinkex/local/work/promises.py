"""Promises: results that queued work will have, and the long polls that wait for them."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tinkex.local.errors import Gone, NotFound

_RETENTION = 600.0  # seconds for which a finished promise can still be asked for
_MAX_FINISHED = 20_000  # finished promises kept at most


class Result(Protocol):
    """The result of work, ready to be sent."""

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object, without its ``type``."""

    def to_proto(self) -> bytes | None:
        """The result as a proto message, or None if this kind of result is only sent as JSON."""


@dataclass(frozen=True)
class Failure:
    """Work that failed. The ``category`` is ``user`` for bad input and ``server`` for a fault of the server."""

    error: str
    category: str


class Promise:
    """The result of one request: set once by the thread that does the work, awaited by any number of others.

    ``kind`` is the type of the request, such as ``optim_step``. Only samples are ``cancellable``, because later
    training requests build on the earlier ones.
    """

    def __init__(self, request_id: str, kind: str, model_id: str | None, *, cancellable: bool) -> None:
        self.request_id = request_id
        self.kind = kind
        self.model_id = model_id
        self.cancellable = cancellable
        self.outcome: Result | Failure | None = None
        self.finished_at: float = 0.0
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Promise], None]] = []

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done.is_set()

    def resolve(self, outcome: Result | Failure) -> bool:
        """Set the outcome and wake every waiter; does nothing and returns False if there already is one."""
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
        """Call ``callback`` with this promise once the outcome is known, which may be at once."""
        with self._lock:
            if self.outcome is None:
                self._callbacks.append(callback)
                return
        callback(self)

    def wait(self, timeout: float) -> Result | Failure | None:
        """Wait up to ``timeout`` seconds; the outcome, or None if it is still unknown."""
        self._done.wait(timeout)
        return self.outcome


class Promises:
    """All promises of a server by request id. Finished ones are forgotten after a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.prefix: str = secrets.token_hex(6)
        """The first part of every request id of this server."""
        self._count = 0
        self._held: dict[str, Promise] = {}
        self._finished: deque[Promise] = deque()
        self._id = re.compile(rf"{self.prefix}-([0-9]{{1,18}})")

    def new(self, kind: str, model_id: str | None = None, *, cancellable: bool = False) -> Promise:
        """A promise for a request of type ``kind``, on ``model_id`` if the request is one of a model's."""
        with self._lock:
            self._count += 1
            promise = Promise(f"{self.prefix}-{self._count}", kind, model_id, cancellable=cancellable)
            self._held[promise.request_id] = promise
        promise.when_done(self._keep_for_a_while)
        return promise

    def _keep_for_a_while(self, promise: Promise) -> None:
        expired = time.monotonic() - _RETENTION
        with self._lock:
            self._finished.append(promise)
            while len(self._finished) > _MAX_FINISHED or self._finished[0].finished_at < expired:
                del self._held[self._finished.popleft().request_id]

    def get(self, request_id: str) -> Promise:
        """The promise; raises ``Gone`` if it was forgotten, ``NotFound`` if this server never made it."""
        with self._lock:
            promise = self._held.get(request_id)
            count = self._count
        if promise is not None:
            return promise
        ours = self._id.fullmatch(request_id)
        if ours is not None and 0 < int(ours[1]) <= count:
            raise Gone(f"the result of request {request_id} is no longer kept")
        raise NotFound(f"request {request_id} is unknown")

    def fail_pending(self, reason: str) -> None:
        """Fail all promises whose outcome is not known, so that no long poll outlives the server."""
        with self._lock:
            pending = [promise for promise in self._held.values() if not promise.done]
        for promise in pending:
            promise.resolve(Failure(reason, "server"))
