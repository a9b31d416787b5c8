"""The poller, which waits for the results of promises."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TypeVar

from tinkex.api import futures as api
from tinkex.api.futures import Promise
from tinkex.concurrency.byte_budget import ByteBudget
from tinkex.errors import APIConnectionError, APIResponseValidationError
from tinkex.http.transport import Transport
from tinkex.polling.backoff import Backoff
from tinkex.polling.queue_state import OnQueueState, tell
from tinkex.types.flags import ServerFlags

T = TypeVar("T")

RESUBMISSIONS = 2
"""How often a request is sent again if the server forgets its promise."""


class ResultPoller:
    """Polls one server for the results of promises. Each session has a poller."""

    def __init__(self, transport: Transport, flags: ServerFlags) -> None:
        self._transport = transport
        self._flags = flags

    def wait(
        self,
        promise: Promise[T],
        submit_again: Callable[[], Promise[T]],
        *,
        abandoned: Callable[[], bool] = lambda: False,
        on_queue_state: OnQueueState | None = None,
        budget: ByteBudget | None = None,
        resubmissions: int = RESUBMISSIONS,
    ) -> T:
        """Poll until the work is done, and return its result.

        If the server has forgotten the promise, ``submit_again`` is called to send the request again. With a
        ``budget``, a large result is fetched only when the budget has room for it.

        Raises ``CancelledError`` once ``abandoned()`` is true, ``RequestFailedError`` if the work failed,
        ``APIStatusError`` for a final refusal, and another ``APIError`` if the server could not be reached or
        gave no readable answer for ``Config.outage_timeout`` seconds.
        """
        forgotten = 0
        while True:
            answer = promise.done or self._poll(promise, abandoned, on_queue_state, budget)
            if isinstance(answer, api.Done):
                value: T = answer.value
                return value
            forgotten += 1
            if forgotten > resubmissions:
                raise APIConnectionError(f"the server forgot a {promise.kind} request {forgotten} times")
            promise = submit_again()

    def _poll(
        self,
        promise: Promise[T],
        abandoned: Callable[[], bool],
        on_queue_state: OnQueueState | None,
        budget: ByteBudget | None,
    ) -> api.Done | api.Gone:
        transport, backoff = self._transport, Backoff(self._transport, self._flags)
        iteration = 0
        reserved: int | None = None
        try:
            while not abandoned():
                began = time.monotonic()
                try:
                    answer = api.retrieve(
                        transport,
                        promise,
                        iteration,
                        transport.config.poll_timeout,
                        metadata_only=budget is not None and reserved is None,
                    )
                except APIConnectionError as error:
                    pause = backoff.no_answer(error)
                except APIResponseValidationError as error:
                    pause = backoff.unreadable(error)
                else:
                    if isinstance(answer, (api.Done, api.Gone)):
                        return answer
                    if isinstance(answer, api.NotYet):
                        if on_queue_state is not None and answer.queue_state:
                            tell(on_queue_state, answer.queue_state, answer.reason)
                        pause = backoff.not_yet(time.monotonic() - began)
                    elif isinstance(answer, api.Busy):
                        pause = backoff.busy(answer.refusal)
                    elif budget is None or reserved is not None:
                        pause = backoff.unreadable(
                            APIResponseValidationError(
                                "the server announces a result again instead of sending it"
                            )
                        )
                    else:
                        budget.acquire(answer.size)
                        reserved = answer.size
                        pause = 0.0
                iteration += 1
                if pause:
                    transport.wait(pause)
            raise CancelledError
        finally:
            if budget is not None and reserved is not None:
                budget.release(reserved)
