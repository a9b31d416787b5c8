"""The ordered lane of one model: requests go out one after the other, numbered as they go."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import copy
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tinkex.api.futures import Promise
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.futures import APIFuture
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    ClientPoisonedError,
    TinkerError,
)
from tinkex.http.transport import Response
from tinkex.polling.queue_state import OnQueueState
from tinkex.polling.result import wait_or_resubmit
from tinkex.session.session import Session

S = TypeVar("S")
T = TypeVar("T")
logger = logging.getLogger("tinkex")
SendPart = Callable[[int], Promise]
"""Sends one request under the ``seq_id`` it is given; called again with the same one, it sends the same bytes."""

_BODY_REFUSED = frozenset({400, 415, 422})
"""Who refuses a body as it is has accepted no earlier try of it, which was the same."""
PARALLEL_SENDS = 4
"""Chunks of one call on their way at once; bounds the memory of their encoded bodies."""


@dataclass(frozen=True)
class Sent:
    """A request that the server has accepted."""

    send: SendPart
    seq_id: int
    promise: Promise


class Lane:
    """Sends the requests of one model in the order they were queued.

    Jobs run one at a time on the session's executor, which is idle when there is nothing to send. A number
    is used up only when the server accepts the request under it: one that was cancelled before it was
    sent, or refused, leaves no gap. Where it cannot be known whether a request was accepted, or only part
    of a batch was, the lane is poisoned: nothing more is sent, and everything raises ``ClientPoisonedError``.
    """

    def __init__(self, session: Session, model_id: str) -> None:
        self.session = session
        self.model_id = model_id
        self.checkpoint: str | None = None
        """The last saved state, named to the user if the lane is poisoned."""
        self._next = 1
        self._poison: ClientPoisonedError | None = None
        self._closed: TinkerError | None = None
        self._draining = False
        self._after_fork()
        renew_after_fork(self)

    def check(self) -> None:
        """Raise if nothing can be sent any more."""
        self.session.check()
        if self._closed is not None:
            raise copy.copy(self._closed)  # each with a traceback of its own
        if self._poison is not None:
            raise ClientPoisonedError(
                self._poison.message, self._poison.checkpoint
            ) from self._poison.__cause__

    def close(self, error: TinkerError) -> None:
        """Send nothing more; ``error`` says why."""
        self._closed = self._closed or error

    def submit(self, send: Callable[[], S], wait: Callable[[S], T]) -> APIFuture[T]:
        """The future of ``wait(send())``: ``send`` runs after those submitted before it, ``wait`` beside the lane.

        Nothing is sent once the future is cancelled. Raises if nothing can be sent any more.
        """
        self.check()
        future: APIFuture[T] = APIFuture()

        def job() -> None:
            if future.cancelled():
                return
            try:
                sent = send()
            except BaseException as error:
                # Beside the lane, for a done-callback of the user's may wait for what the lane does next.
                self.session.executor.run_or_do(partial(future.fail, error))
                return
            self.session.executor.run_or_do(lambda: future.fulfil(lambda: wait(sent)))

        self._queue(job)
        return future

    def send(self, parts: Sequence[SendPart], parallel: bool = False) -> list[Sent]:
        """Send the requests of one call under consecutive numbers. Only in the ``send`` of a ``submit``.

        With ``parallel`` the first goes last, so that the server sees the call whole once it can begin.
        """
        self.check()
        first = self._next
        sent: list[Sent] = []
        errors: list[BaseException] = []

        def send_one(at: int) -> None:
            try:
                sent.append(Sent(parts[at], first + at, parts[at](first + at)))
            except BaseException as error:
                errors.append(error)

        if parallel and len(parts) > 1:
            self._send_many(send_one, range(1, len(parts)))
            if not errors:
                send_one(0)
        else:
            for at in range(len(parts)):
                send_one(at)
                if errors:
                    break
        if errors:
            unknown = next((error for error in errors if _outcome_unknown(error)), None)
            if unknown is not None or sent:
                raise self.poison(
                    unknown or errors[0],
                    f"{len(sent)} of {len(parts)} requests of one call were accepted"
                    if sent
                    else "a request may or may not have been accepted",
                )
            raise errors[0]
        self._next = first + len(parts)
        return sorted(sent, key=lambda one: one.seq_id)

    def wait(
        self,
        sent: Sent,
        kind: str,
        decode: Callable[[Response], T],
        observer: OnQueueState | None = None,
    ) -> T:
        """The result of ``sent``; asks for it again, under the same number, if the server forgot its promise."""
        session = self.session
        unlearned = "the result of a request could not be learned"

        def resubmit() -> Promise:
            try:
                return sent.send(sent.seq_id)
            except APIError as error:
                raise self.poison(error, unlearned) from error

        try:
            return wait_or_resubmit(
                session.transport, session.flags, sent.promise, resubmit, kind, decode, observer
            )
        except (APIConnectionError, APIStatusError) as error:
            raise self.poison(error, unlearned) from error

    def poison(self, cause: BaseException, what: str) -> ClientPoisonedError:
        """Send nothing more, for the state of the model is unknown; the error to raise."""
        resume = (
            f"; resume from {self.checkpoint} with create_training_client_from_state_with_optimizer"
            if self.checkpoint
            else "; start over, for no state was saved by this client"
        )
        poison = ClientPoisonedError(
            f"the state of model {self.model_id} is unknown, since {what} ({cause}){resume}", self.checkpoint
        )
        poison.__cause__ = cause
        self._poison = self._poison or poison
        return poison

    def _queue(self, job: Callable[[], None]) -> None:
        # In the context of its caller, not of whoever's job the thread began with.
        job = partial(contextvars.copy_context().run, job)
        with self._lock:
            self._jobs.append(job)
            if self._draining:
                return
            self._draining = True
        self.session.executor.run_or_do(self._drain)

    def _send_many(self, send_one: Callable[[int], None], numbers: range) -> None:
        left = collections.deque(numbers)

        def work() -> None:
            with contextlib.suppress(IndexError):
                while True:
                    send_one(left.popleft())

        helpers: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # where there is no thread to be had, without
            for _ in range(min(PARALLEL_SENDS, len(numbers)) - 1):
                helpers.append(self.session.executor.submit(work))
        work()
        # One that has not begun by now has nothing left to do.
        wait([helper for helper in helpers if not helper.cancel()])

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._draining = False
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException:
                logger.exception("a request of model %s failed", self.model_id)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._jobs: collections.deque[Callable[[], None]] = collections.deque()
        self._draining = False


def _outcome_unknown(error: BaseException) -> bool:
    """Whether the server may have accepted the request all the same."""
    if isinstance(error, APIStatusError) and error.status_code in _BODY_REFUSED:
        return False
    return isinstance(error, APIError) and error.sent
