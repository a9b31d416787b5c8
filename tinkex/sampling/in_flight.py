"""The samples of one client in flight: they are numbered, submitted, polled, and cancelled here."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, TypeVar

from tinkex.api import futures as futures_api
from tinkex.api import sampling as api
from tinkex.api.futures import Promise
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.lifetime import Lifetime, fresh_copy
from tinkex.errors import APIConnectionError, ClientClosedError, RateLimitError, TinkerError
from tinkex.polling.queue_state import OnQueueState
from tinkex.sampling.completions import CompletionWatch
from tinkex.session.session import AttachedSession
from tinkex.types.retry import RetryConfig
from tinkex.types.sampling import SampleRequest, SampleResponse

T = TypeVar("T")

REQUEST_BYTES = 4096
"""The estimated size of a sample request without its prompt."""

PAUSE = 1.0
"""The pause in seconds after a 429 that does not ask for one."""
PAUSE_LARGE = 5.0
"""The pause in seconds after a 429 to a prompt of more than ``LARGE_PROMPT`` bytes."""
LARGE_PROMPT = 128 * 1024
CLONE_RANGE = 1_000_000_000
"""Each client of a shared sampling session numbers its requests from its own multiple of this."""
SUBMISSIONS = 10
"""The most submissions of one sample, if the server keeps forgetting its promise."""


class SamplesInFlight:
    """Runs the samples of one client in parallel, each on its own thread.

    ``RetryConfig.max_connections``, or the session's executor, limits how many run at once. A 429 pauses all
    samplers with the same server and key.
    """

    def __init__(
        self,
        session: AttachedSession,
        sampling_session_id: str,
        retry: RetryConfig,
        clone_id: int | None,
        count: Callable[[SampleRequest, SampleResponse], None],
    ) -> None:
        self._session = session
        self.count = count
        """Counts the tokens of a request that has its result."""
        self.sampling_session_id = sampling_session_id
        self._retry = retry
        self._lifetime = Lifetime(session.lifetime)
        self._executor = session.sampling_executor
        self._own_executor: DaemonExecutor | None = None
        if retry.max_connections is not None:
            self._executor = self._own_executor = session.start_executor(retry.max_connections, "sample")
        self._pending: set[APIFuture[Any]] = set()
        """The samples that have no outcome yet. The set needs no lock, because its methods are atomic."""
        self.progress: float = time.monotonic()
        """When a sample last got its result."""
        self._clone_id = clone_id
        self._numbers = itertools.count()
        self._watch: CompletionWatch | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    def check(self) -> None:
        """Raise the error that closed this client or ended its session, if there is one."""
        self._lifetime.check()

    def start(
        self, request: SampleRequest, finish: Callable[[SampleResponse], T], on_queue_state: OnQueueState
    ) -> APIFuture[T]:
        """Submit ``request`` on a thread; return the future of ``finish(response)``. Raises as ``check`` does."""
        self.check()
        session = self._session
        future: APIFuture[T] = APIFuture(
            f"sample of sampler {self.sampling_session_id}", session.transport.trouble
        )
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

        sample = _Sample(self, session, request, future, on_queue_state)
        self._executor.run_or_do(partial(future.fulfil, partial(_finish, finish, sample)))
        return future

    def close(self) -> None:
        """Submit no more samples, and let those without a result fail with ``ClientClosedError``."""
        closed = ClientClosedError(f"sampling client {self.sampling_session_id} was closed")
        self._lifetime.close(closed)
        for future in list(self._pending):
            future.fail(fresh_copy(closed))
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=False)

    def cancel(self, request_id: str) -> None:
        """Tell the server that a sample is not wanted any more, if it supports that."""
        if self._watch is not None:
            self._watch.give_up(request_id)

        def tell() -> None:
            try:
                if self._session.dynamic_flags().sample_cancel_enabled:
                    futures_api.cancel(self._session.transport, request_id)
            except TinkerError:
                pass  # cancelling only saves the server work

        self._session.executor.run_or_do(tell)

    def check_progress(self, began: float) -> None:
        """Raise if no request has finished for ``progress_timeout`` seconds since this one began."""
        if not self._retry.enable_stuck_detection:
            return
        if time.monotonic() - max(began, self.progress) > self._retry.progress_timeout:
            raise APIConnectionError(
                f"requests appear to be stuck: none has finished for {self._retry.progress_timeout:g} s"
            )

    def next_number(self) -> int:
        """Return the ``seq_id`` of the next request."""
        clone_id = self._identify()
        with self._lock:
            return clone_id * CLONE_RANGE + next(self._numbers)

    def completion_watch(self) -> CompletionWatch | None:
        """Return the poll for all samples of this client, or None if the server offers none."""
        if not self._session.flags.sample_use_retrieve_futures:
            return None
        clone_id = self._identify()
        with self._lock:
            if self._watch is None:
                self._watch = CompletionWatch(self._session, self.sampling_session_id, clone_id)
            return self._watch

    def _identify(self) -> int:
        """Return a number that tells this client from others of its sampling session."""
        if self._clone_id is None:
            clone_id = self._find_clone_id()
            with self._lock:
                if self._clone_id is None:
                    self._clone_id = clone_id
        return self._clone_id

    def _find_clone_id(self) -> int:
        if self._session.flags.sample_join_sampling_session:
            return api.join_sampling_session(self._session.transport, self.sampling_session_id)
        return random.SystemRandom().randrange(1, 1 << 20)

    def _after_fork(self) -> None:
        """Let a forked child find a number of its own, so that its requests differ from those of its parent."""
        self._lock = threading.Lock()
        self._clone_id = None
        self._numbers = itertools.count()
        self._watch = None


class _Sample:
    """One sample in flight. If the server forgets its promise, it is submitted again with a new number."""

    def __init__(
        self,
        client: SamplesInFlight,
        session: AttachedSession,
        request: SampleRequest,
        future: APIFuture[Any],
        on_queue_state: OnQueueState,
    ) -> None:
        self._client = client
        self._session = session
        self._request = request
        self._future = future
        self._on_queue_state = on_queue_state
        self._began = time.monotonic()

    def run(self) -> SampleResponse:
        """Block until the result is there."""
        session, client = self._session, self._client
        self._watch = client.completion_watch()
        response = session.poller.wait(
            self._submit(),
            self._submit,
            abandoned=self._abandoned,
            on_queue_state=self._on_queue_state,
            budget=session.response_budget,
            resubmissions=SUBMISSIONS - 1,
        )
        client.progress = time.monotonic()
        client.count(self._request, response)
        if self._watch is not None:
            self._watch.retrieved(self._promise.request_id)
        ids = self._promise.sample_sequence_ids
        if ids is None or len(ids) != len(response.sequences):  # some servers name none
            ids = [str(uuid.uuid4()) for _ in response.sequences]
        return response.with_sequence_ids(ids)

    def _submit(self) -> Promise[SampleResponse]:
        future = self._future
        self._promise = promise = self._send()
        future.on_cancel = partial(self._client.cancel, promise.request_id)
        if future.cancelled():  # cancelled before the server knew the request
            future.on_cancel()
        if self._watch is not None:
            self._watch.wait_for(promise.request_id, self._abandoned)
        return promise

    def _send(self) -> Promise[SampleResponse]:
        session = self._session
        number = self._client.next_number()
        size = REQUEST_BYTES + self._request.prompt.nbytes
        while True:
            session.pause.pass_through(session.transport.wait)
            session.dispatch_budget.acquire(size)
            try:
                if self._abandoned():
                    raise CancelledError
                self._client.check()
                return api.sample(session.transport, self._client.sampling_session_id, number, self._request)
            except RateLimitError as error:
                asked = session.transport.asked_wait(error.headers)
                default = PAUSE_LARGE if size > LARGE_PROMPT else PAUSE
                session.pause.shut(default if asked is None else asked)
            finally:
                session.dispatch_budget.release(size)

    def _abandoned(self) -> bool:
        self._client.check_progress(self._began)
        return self._future.done()


def _finish(finish: Callable[[SampleResponse], T], sample: _Sample) -> T:
    return finish(sample.run())
