"""The ordered queue of the requests of one model, which are numbered and sent one after the other."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from tinkex.api.futures import Promise
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.lifetime import Lifetime, fresh_copy
from tinkex.concurrency.tracebacks import forget_variables
from tinkex.errors import APIError, ClientClosedError, ClientPoisonedError, TinkerError
from tinkex.polling.queue_state import OnQueueState
from tinkex.session.session import Session
from tinkex.training.call import Call, Request, single

R = TypeVar("R")
T = TypeVar("T")
logger = logging.getLogger("tinkex")

PARALLEL_SENDS = 4
"""The most requests of one call that are sent at once, which limits the memory of their bodies."""


class RequestQueue:
    """Sends the requests of one model in the order in which they were queued.

    Calls are sent one at a time, on a thread of the session's executor. Their results are polled in parallel.
    A number is used up only when the server accepts a request with it, so a request that is cancelled before it
    is sent, or refused, leaves no gap.

    The queue is poisoned if it cannot be known whether the server accepted a request or what its outcome was, or
    if only a part of a call succeeded. A poisoned queue sends nothing more, and all later calls, sent or not,
    raise ``ClientPoisonedError``.
    """

    def __init__(self, session: Session, model_id: str) -> None:
        self.model_id = model_id
        self.checkpoint: str | None = None
        """The path of the last saved state, which the error names if the queue is poisoned."""
        self._session = session
        self._lifetime = Lifetime(session.lifetime)
        self._next = 1
        self._draining = False
        self._after_fork()
        renew_after_fork(self)

    def check(self) -> None:
        """Raise the error that closed or poisoned the queue, or ended the session, if there is one."""
        self._lifetime.check()

    def close(self, error: TinkerError) -> None:
        """Send nothing more; later calls raise ``error``."""
        self._lifetime.close(error)

    def submit(self, call: Call[T, R], observer: OnQueueState) -> APIFuture[R]:
        """Queue ``call`` behind those submitted before it; return its future.

        A call whose future is cancelled before its turn is not sent. ``observer`` is called with the queue state
        while the results are polled. Raises the errors of ``check``.
        """
        return self._enqueue(call.name, partial(self._send_call, call, observer))

    def in_turn(self, name: str, work: Callable[[Turn], R], observer: OnQueueState) -> APIFuture[R]:
        """Queue ``work``; return the future of ``work(turn)``. Later calls wait until it has returned."""
        return self._enqueue(name, partial(self._work_in_turn, work, observer))

    def run_now(self, request: Request[T]) -> T:
        """Send the first request of a new model and wait for its result, on the thread of the caller."""
        nobody: APIFuture[Any] = APIFuture()
        call = single("a request", request)
        return self._collect(call, self._send(call, nobody), nobody, None)

    def _enqueue(self, name: str, send: Callable[[APIFuture[R]], Callable[[], R]]) -> APIFuture[R]:
        self.check()
        executor = self._session.executor
        future: APIFuture[R] = APIFuture(f"{name} of model {self.model_id}", self._session.transport.trouble)
        # The call runs in the context of its caller, not in that of the call with which the thread started.
        queued = partial(contextvars.copy_context().run, self._take_turn, future, send)
        with self._lock:
            self._pending[future] = None
            self._jobs.append(queued)
            idle, self._draining = not self._draining, True
        if idle:
            executor.run_or_do(self._drain)
        return future

    # The code from here on has no nested functions. A traceback would keep the variables that such a function takes
    # from outside, even after ``forget_variables``.

    def _take_turn(
        self, future: APIFuture[R], send: Callable[[APIFuture[R]], Callable[[], R]]
    ) -> BaseException | None:
        """Send the call of ``future``, and let another thread wait for its results; return the error, if any."""
        if future.done():  # cancelled, or failed with the queue
            self._forget(future)
            return None
        executor = self._session.executor
        try:
            collect = send(future)
        except BaseException as error:
            self._forget(future)
            # This thread must go on: a done-callback of the user may wait for a later call of this queue.
            executor.run_or_do(partial(future.fail, error))
            return error
        executor.run_or_do(partial(self._settle, future, collect))
        return None

    def _settle(self, future: APIFuture[R], collect: Callable[[], R]) -> BaseException | None:
        """Learn the outcome of a call that was sent, also if its future is cancelled: later calls depend on it."""
        try:
            return future.settle(collect)
        finally:
            self._forget(future)

    def _forget(self, future: APIFuture[Any]) -> None:
        self._pending.pop(future, None)
        self._doomed.discard(future)

    def _send_call(self, call: Call[T, R], observer: OnQueueState, future: APIFuture[R]) -> Callable[[], R]:
        sent = self._send(call, future)
        if call.closing is not None:
            self.close(call.closing)
        return partial(self._collect, call, sent, future, observer)

    def _work_in_turn(
        self, work: Callable[[Turn], R], observer: OnQueueState, future: APIFuture[R]
    ) -> Callable[[], R]:
        return partial(_the_same, work(Turn(self, future, observer)))

    def _collect(
        self,
        call: Call[T, R],
        sent: Sequence[_Sent[T]],
        future: APIFuture[Any],
        observer: OnQueueState | None,
    ) -> R:
        return call.join(self._results(call, sent, future, observer))

    def _send(self, call: Call[T, Any], future: APIFuture[Any]) -> list[_Sent[T]]:
        """Send the requests of ``call`` with consecutive numbers. To be called only in the turn of the call."""
        self.check()
        requests, first = call.requests, self._next
        sent: list[_Sent[T]] = []
        errors: list[BaseException] = []

        def send_one(at: int) -> None:
            if errors:  # the call cannot succeed any more
                return
            try:
                sent.append(_Sent(requests[at], first + at, self._submit(requests[at], first + at)))
            except BaseException as error:
                errors.append(error)

        if call.parallel and len(requests) > 1:
            self._send_many(send_one, range(1, len(requests)))
            send_one(0)
        else:
            for at in range(len(requests)):
                send_one(at)
        if errors:
            closed = next((error for error in errors if isinstance(error, ClientClosedError)), None)
            if closed is not None:
                raise closed
            unknown = next((error for error in errors if _outcome_unknown(error)), None)
            if call.changes_model and (unknown is not None or sent):
                raise self._poison(
                    future,
                    unknown or errors[0],
                    f"{len(sent)} of {len(requests)} requests of one call were accepted"
                    if sent
                    else "a request may or may not have been accepted",
                )
            raise errors[0]
        self._next = first + len(requests)
        return sorted(sent, key=lambda one: one.seq_id)

    def _submit(self, request: Request[T], seq_id: int) -> Promise[T]:
        return request(self._session.transport, self.model_id, seq_id)

    def _results(
        self,
        call: Call[T, Any],
        sent: Sequence[_Sent[T]],
        future: APIFuture[Any],
        observer: OnQueueState | None,
    ) -> list[T]:
        """Return the results of the requests of ``call``. Poison the queue if one of them cannot be learned."""
        results: list[T] = []
        errors: list[Exception] = []
        for one in sent:
            try:
                results.append(self._result(one, future, observer))
            except APIError as error:
                if not call.changes_model:
                    raise
                # The other results cannot be learned either.
                raise self._poison(future, error, "the result of a request could not be learned") from error
            except (ClientClosedError, CancelledError):
                self.check()  # raises the error that closed or poisoned the queue meanwhile
                raise
            except Exception as error:
                errors.append(error)
        if errors and results and call.all_or_nothing:
            raise self._poison(
                future, errors[0], "part of a batch failed and the gradients of the rest stand"
            )
        if errors:
            raise errors[0]
        return results

    def _result(self, sent: _Sent[T], future: APIFuture[Any], observer: OnQueueState | None) -> T:
        """Return the result of one request, which is sent again with its number if the server forgot it."""
        return self._session.poller.wait(
            sent.promise,
            partial(self._submit, sent.request, sent.seq_id),
            abandoned=partial(self._doomed.__contains__, future),
            on_queue_state=observer,
        )

    def _poison(self, future: APIFuture[Any], cause: BaseException, what: str) -> ClientPoisonedError:
        """Poison the queue, because the state of the model is unknown since the call of ``future``.

        The calls that were made after it fail. Return the error to raise.
        """
        resume = (
            f"; resume from {self.checkpoint} with create_training_client_from_state_with_optimizer"
            if self.checkpoint
            else "; start over, for no state was saved by this client"
        )
        poison = ClientPoisonedError(
            f"the state of model {self.model_id} is unknown, since {what} ({cause}){resume}", self.checkpoint
        )
        poison.__cause__ = cause
        # A copy, since the traceback of an error that is raised refers to the frames of the user's functions.
        self._lifetime.end(fresh_copy(poison))
        pending = list(self._pending)
        later = pending[pending.index(future) + 1 :] if future in pending else []
        # A call whose result is polled must end its polls by itself, because all threads may be busy with polls.
        self._doomed.update(later)
        for other in later:
            self._session.executor.run_or_do(partial(_fail, other, poison))
        return poison

    def _send_many(self, send_one: Callable[[int], None], numbers: range) -> None:
        left = collections.deque(numbers)

        def work() -> None:
            with contextlib.suppress(IndexError):
                while True:
                    send_one(left.popleft())

        helpers: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # without helpers, if the system allows no more threads
            for _ in range(min(PARALLEL_SENDS, len(numbers)) - 1):
                helpers.append(self._session.executor.submit(work))
        work()
        # A helper that has not begun by now has nothing left to do.
        wait([helper for helper in helpers if not helper.cancel()])

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._draining = False
                    return
                job = self._jobs.popleft()
            try:
                forget_variables(job())
            except BaseException:
                logger.exception("a request of model %s failed", self.model_id)
            del job  # a later error's traceback would keep it

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._jobs: collections.deque[Callable[[], BaseException | None]] = collections.deque()
        self._pending: dict[Future[Any], None] = {}
        """The calls that are not finished, in the order in which they were made. Dict operations are atomic."""
        self._doomed: set[Future[Any]] = set()
        """The calls that fail because the queue was poisoned by an earlier one. Set methods are atomic."""
        self._draining = False


class Turn:
    """The turn of a call that sends several requests and waits for some of them in between."""

    def __init__(self, queue: RequestQueue, future: APIFuture[Any], observer: OnQueueState) -> None:
        self._queue = queue
        self._future = future
        self._observer = observer

    def run(self, call: Call[T, R]) -> R:
        """Send the requests of ``call`` and wait for their results."""
        queue = self._queue
        sent = queue._send(call, self._future)
        return queue._collect(call, sent, self._future, self._observer)


@dataclass(frozen=True)
class _Sent(Generic[T]):
    """A request that the server has accepted."""

    request: Request[T]
    seq_id: int
    promise: Promise[T]


def _the_same(result: R) -> R:
    return result


def _fail(future: Future[Any], error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):  # it has an outcome meanwhile
        future.set_exception(fresh_copy(error))


def _outcome_unknown(error: BaseException) -> bool:
    """Return whether the server may have accepted the request despite this error."""
    return isinstance(error, APIError) and error.sent
